"""quantize_storage: embedding tables as int8, answers nearly as before."""

import numpy as np

from q8tool.model.check import check
from q8tool.passes.clean_graph import clean_graph
from q8tool.passes.quantize_storage import quantize_storage
from tests.graphs import Array, i64, model, ops, random, run, weight

TABLES = """g (int64[N,3] ids) => (float[N,3,8] y, float[N,3,8] again, float[8,600] t) {
    y = Gather(w, ids)  h = Gather(w, ids)  again = Neg(h)  t = Transpose(m)
    s = Gather(m, ids) }"""


def spread(*shape: int) -> Array:
    """Rows of very different size."""
    rows = np.float32(10) ** np.linspace(-3, 2, shape[0], dtype=np.float32)
    return np.asarray(random(*shape) * rows.reshape(-1, *[1] * (len(shape) - 1)), np.float32)


def test_tables_have_a_scale_per_row() -> None:
    weights = {"w": spread(600, 8), "m": random(600, 8)}
    before = model(TABLES, 13, **weights)
    after = before.clone()
    assert [change.node for change in quantize_storage(after)] == ["w"]
    clean_graph(after)
    check(after, "model")
    assert "w" not in after.graph.initializers
    assert weight(after, "w_q").dtype == np.int8
    np.testing.assert_array_equal(weight(after, "m"), weights["m"])
    feeds = {"ids": i64([[0, 599, -1], [7, 7, 300]])}
    rows = np.abs(weights["w"][feeds["ids"]]).max(axis=-1, keepdims=True)
    for wanted, got in zip(run(before, **feeds)[:2], run(after, **feeds)[:2], strict=True):
        assert (np.abs(wanted - got) <= rows / 254 * 1.001).all()
    assert quantize_storage(after) == []


def test_excluded_readers_keep_their_table() -> None:
    before = model(TABLES, 13, w=random(600, 8), m=random(600, 8))
    assert quantize_storage(before, frozenset([before.graph.node(0)])) == []
    assert "DequantizeLinear" not in ops(before)
