"""quantize_storage: embedding tables as int8, answers nearly as before."""

from pathlib import Path

import numpy as np
import pytest

from q8tool import Session
from q8tool.model import io
from q8tool.model.check import check
from q8tool.passes.clean_graph import clean_graph
from q8tool.passes.quantize_storage import quantize_storage
from q8tool.pipelines import quantize
from tests.graphs import Array, assert_same, i64, model, ops, random, run, weight

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


TIED = """g (int64[3] ids) => (float[3,600] y) {
    e = Gather(table, ids)  h = Relu(e)  t = Transpose(table)  y = MatMul(h, t) }"""
TIED_ROWS = TIED.replace("t = Transpose(table)  y = MatMul(h, t)", "y = Gemm<transB=1>(h, table)")


@pytest.mark.parametrize("text", [TIED, TIED_ROWS])
@pytest.mark.parametrize("with_data", [True, False])
def test_tied_weights_are_stored_once(text: str, with_data: bool, tmp_path: Path) -> None:
    table = random(600, 32)
    before = model(text, 13, table=table)
    io.save(before, tmp_path / "float.onnx", force=True)
    samples = np.random.default_rng(1).integers(0, 600, (12, 3))
    np.savez(tmp_path / "ids.npz", ids=samples)
    quantize.run(
        quantize.Options(
            tmp_path / "float.onnx", tmp_path / "q.onnx",
            data=tmp_path / "ids.npz" if with_data else None, allow_slower=True,
        )
    )  # fmt: skip
    after = io.load(tmp_path / "q.onnx")
    stored = [v.const_value for v in after.graph.initializers.values() if v.const_value is not None]
    assert sum(tensor.size >= table.size for tensor in stored) == 1
    wanted, got = run(before, ids=samples[0])[0], run(after, ids=samples[0])[0]
    assert np.abs(wanted - got).max() < 0.05 * np.abs(wanted).max()
    session = Session(after, strict=True)
    np.testing.assert_allclose(session.run({"ids": samples[0]})["y"], got, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("excluded", [False, True])
def test_weights_of_float_products_are_stored_as_codes(excluded: bool) -> None:
    text = "g (float[1,16,5,5] x) => (float[1,8,7,7] y) { y = ConvTranspose(x, w) }"
    before = model(text, 13, w=spread(16, 8, 3, 3))
    after = before.clone()
    changes = quantize_storage(after, frozenset([after.graph.node(0)] if excluded else []))
    assert len(changes) == (not excluded)
    assert ops(after) == ["ConvTranspose"] if excluded else ["DequantizeLinear", "ConvTranspose"]
    assert_same(before, after, 0.0 if excluded else 0.02, x=random(1, 16, 5, 5))


def test_few_weights_of_depthwise_convolutions_stay_float() -> None:
    text = "g (float[1,256,5,5] x) => (float[1,256,3,3] y) { y = Conv<group=256>(x, w) }"
    assert quantize_storage(model(text, 13, w=random(256, 1, 3, 3))) == []
