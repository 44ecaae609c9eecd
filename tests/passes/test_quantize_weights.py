"""Weights only: int8 behind DequantizeLinear, or floats of 256 values."""

import zlib

import numpy as np
import pytest

from q8tool.passes.clean_graph import clean_graph
from q8tool.passes.quantize_weights import quantize_weights, round_weights, zipped_share
from tests.graphs import Array, assert_same, i64, model, ops, random, run, weight

TEXT = """g (float[1,4,8,8] x) => (float[1,5] y) {
    a = Conv(x, w, b) r = Relu(a) p = GlobalAveragePool(r) f = Flatten(p) y = MatMul(f, m) }"""
WEIGHTS = {"w": random(16, 4, 3, 3), "b": random(16), "m": random(16, 5)}


def channels(array: Array, axis: int) -> Array:
    others = tuple(d for d in range(array.ndim) if d != axis)
    return np.asarray(np.abs(array).max(axis=others, keepdims=True))


def test_int8_weights() -> None:
    before = model(TEXT, 13, **WEIGHTS)
    after = before.clone()
    assert [change.node for change in quantize_weights(after)] == ["w", "m"]
    clean_graph(after)
    assert sorted(ops(after)) == sorted([*ops(before), "DequantizeLinear", "DequantizeLinear"])
    assert weight(after, "w_q").dtype == weight(after, "m_q").dtype == np.int8
    assert set(after.graph.initializers) >= {"b"}
    assert "w" not in after.graph.initializers
    probe = after.clone()
    dequantized = {n.inputs[0].name: n.outputs[0] for n in probe.graph if n.op_type[:2] == "De"}  # type: ignore[union-attr]
    probe.graph.outputs.extend([dequantized["w_q"], dequantized["m_q"]])
    _, w, m = run(probe, x=random(1, 4, 8, 8))
    assert (np.abs(w - WEIGHTS["w"]) < channels(WEIGHTS["w"], 0) / 127).all()
    assert (np.abs(m - WEIGHTS["m"]) < channels(WEIGHTS["m"], 1) / 127).all()
    x = random(1, 4, 8, 8)
    np.testing.assert_allclose(run(after, x=x)[0], run(before, x=x)[0], atol=0.05)
    assert quantize_weights(after) == []


def test_one_scale_for_all() -> None:
    after = model(TEXT, 13, **WEIGHTS)
    quantize_weights(after, per_channel=False)
    assert weight(after, "w_dq_s").shape == ()


def test_shared_weights_stay_shared_and_excluded_nodes_keep_theirs() -> None:
    body = "a = MatMul(x, m) b = MatMul(a, m) y = MatMul(b, m)"
    before = model(f"g (float[2,16] x) => (float[2,16] y) {{ {body} }}", 13, m=random(16, 16))
    after = before.clone()
    quantize_weights(after, frozenset([list(after.graph)[1]]))
    assert ops(after).count("DequantizeLinear") == 1
    readers = [node.inputs[1].name for node in after.graph if node.op_type == "MatMul"]  # type: ignore[union-attr]
    assert readers == ["m_dq", "m", "m_dq"]


def test_embeddings() -> None:
    body = "y = Gather(table, i)"
    before = model(f"g (int64[3] i) => (float[3,16] y) {{ {body} }}", 13, table=random(100, 16))
    after = before.clone()
    assert len(quantize_weights(after)) == 1
    i = i64([5, 99, 0])
    (wanted,), (got,) = run(before, i=i), run(after, i=i)
    assert np.abs(wanted - got).max() < np.abs(wanted).max() / 100


@pytest.mark.parametrize(
    "array", [random(7, 9), random(1000), np.full((10, 10), np.inf, np.float32)]
)
def test_what_is_small_flat_or_not_finite_stays(array: Array) -> None:
    graph = model(
        f"g (float[{len(array)}] x) => (float y) {{ y = MatMul(x, m) }}", 13, m=array
    )  # fmt: skip
    assert quantize_weights(graph) == []
    assert round_weights(graph) == []


def test_rounded_weights_have_256_values_and_the_graph_is_as_it_was() -> None:
    before = model(TEXT, 13, **WEIGHTS)
    after = before.clone()
    assert [change.what for change in round_weights(after)] == ["256 values"] * 2
    assert ops(after) == ops(before)
    w, rounded = WEIGHTS["w"], weight(after, "w")
    assert np.unique(rounded).size <= 256
    width = (float(w.max()) - float(w.min())) / 256
    assert np.abs(rounded - w).max() <= width / 2 * 1.001
    # The centres of the buckets: min + width * (index + 0.5).
    index = (rounded - float(w.min())) / width - 0.5
    np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
    np.testing.assert_array_equal(weight(after, "b"), WEIGHTS["b"])
    np.testing.assert_array_equal(weight(before, "w"), w)
    assert_same(before, after, 0.05, x=random(1, 4, 8, 8))


def test_constant_weights_stay_constant() -> None:
    graph = model(
        "g (float[2,8] x) => (float[2,8] y) { y = MatMul(x, m) }",
        13,
        m=np.full((8, 8), 3.0, np.float32),
    )
    round_weights(graph)
    np.testing.assert_array_equal(weight(graph, "m"), np.full((8, 8), 3.0))


def test_levels() -> None:
    graph = model("g (float[2,8] x) => (float[2,8] y) { y = MatMul(x, m) }", 13, m=random(8, 8))
    round_weights(graph, levels=4)
    assert np.unique(weight(graph, "m")).size <= 4


def test_zipped_share() -> None:
    graph = model(TEXT, 13, **WEIGHTS)
    plain = [weight(graph, name).tobytes() for name in graph.graph.initializers]
    packed = sum(len(zlib.compress(data)) for data in plain)
    assert zipped_share(graph) == packed / sum(map(len, plain))
    before = zipped_share(graph)
    round_weights(graph)
    assert zipped_share(graph) < before
    assert zipped_share(model("g (float[2] x) => (float[2] y) { y = Relu(x) }")) == 1.0
