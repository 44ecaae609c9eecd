"""center_attention: the same answers, and values whose mean is 0."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.passes.center_attention import center_attention, centered_values
from tests.graphs import Array, assert_same, f32, i64, proto, random, run

HEAD = "s = Softmax<axis=-1>(q)"
TAIL = "p = MatMul(s, v) t = Transpose<perm=[0,2,1,3]>(p) r = Reshape(t, back) o = MatMul(r, w2)"
SINGLE = f"""a = MatMul(x, w) b = Add(a, bias) c = Reshape(b, heads)
    v = Transpose<perm=[0,2,1,3]>(c) {HEAD} {TAIL} y = Add(bias2, o)"""
JOINT = f"""a = MatMul(x, w3) b = Add(bias3, a) c = Reshape(b, three)
    d = Transpose<perm=[2,0,3,1,4]>(c)
    e, f, g = Split<axis=0>(d, ones) v = Squeeze(g, zero) k = Squeeze(e, zero) m = Squeeze(f, zero)
    h = Add(k, m) {HEAD} {TAIL} y = Add(o, bias2)"""
FOUND = """heads2 = Constant<value = int64[4] {0, 7, 2, 3}>() """ + SINGLE.replace(
    "heads)", "heads2)"
)
WEIGHTS: dict[str, Array] = {
    "w": random(5, 6), "bias": random(6) * 3, "w3": random(5, 18), "bias3": random(18) * 3,
    "w2": random(6, 4), "bias2": random(4), "heads": i64([0, 7, 2, 3]),
    "three": i64([0, 7, 3, 2, 3]), "back": i64([0, 7, 6]), "ones": i64([1, 1, 1]), "zero": i64([0]),
}  # fmt: skip


def attention(body: str, outputs: str = "float[n,7,4] y") -> ir.Model:
    text = f"g (float[n,7,5] x, float[n,2,7,7] q) => ({outputs}) {{ {body} }}"
    found = proto(text, 17, **WEIGHTS)
    return ir.from_proto(onnx.shape_inference.infer_shapes(found))


@pytest.mark.parametrize("body", [SINGLE, JOINT, FOUND])
def test_same_answers_and_centered_values(body: str) -> None:
    graph = attention(body)
    before, feeds = graph.clone(), {"x": random(3, 7, 5), "q": random(3, 2, 7, 7, seed=1) * 4}
    assert centered_values(graph) == ["b"]
    mean = values_of(graph, "b", feeds).mean(axis=(0, 1), dtype=np.float64)
    changes = center_attention(graph, {"b": mean})
    assert {"b", "v", "p", "r"} <= {change.node for change in changes}
    assert "o" not in {change.node for change in changes}
    assert_same(before, graph, 1e-5, **feeds)
    by_channel = values_of(graph, "v", feeds).mean(axis=(0, 2))
    np.testing.assert_allclose(by_channel, 0.0, atol=1e-5)
    assert np.abs(values_of(before, "v", feeds).mean(axis=(0, 2))).max() > 1.0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Softmax<axis=-1>", "Softmax<axis=2>"),  # columns sum to 1
        ("Softmax<axis=-1>", "Sigmoid"),
        ("y = Add(bias2, o)", "y = Identity(o)"),  # nowhere to put the mean
        ("b = Add(a, bias)", "b = Identity(a)"),
        ("v = Transpose<perm=[0,2,1,3]>(c)", "v = Transpose<perm=[0,2,1,3]>(c) z = Neg(c)"),
        ("v = Transpose<perm=[0,2,1,3]>(c)", "u = Transpose<perm=[0,2,1,3]>(c) v = Relu(u)"),
        ("t = Transpose<perm=[0,2,1,3]>(p)", "t = Transpose<perm=[0,3,1,2]>(p)"),  # tokens mix
    ],
)
def test_what_is_not_understood_is_left_alone(old: str, new: str) -> None:
    assert old in SINGLE
    outputs = "float[n,7,4] y, float z" if "z =" in new else "float[n,7,4] y"
    graph = attention(SINGLE.replace(old, new), outputs)
    assert centered_values(graph) == []
    assert center_attention(graph, {"b": np.ones(6)}) == []


def test_without_a_mean_nothing_changes() -> None:
    assert center_attention(attention(SINGLE), {}) == []


def values_of(graph: ir.Model, name: str, feeds: dict[str, Array]) -> Array:
    """By onnxruntime, the value as an output of its own."""
    copy = graph.clone()
    copy.graph.outputs.append(next(v for n in copy.graph for v in n.outputs if v.name == name))
    return f32(run(copy, **feeds)[-1])
