"""simplify: the passes together, on graphs as exporters write them."""

import numpy as np
import pytest

from q8tool.passes.simplify import simplify
from tests.graphs import assert_same, f32, i64, model, ops, random, u8

# Everything at once: weights as inputs, a function, Dropout, BatchNormalization, shape arithmetic.
TEXT = """<ir_version: 8, opset_import: ["": 15, "mine": 1]>
g (float[N,3,8,8] x, float[4,3,3,3] w) => (float[N,144] y) {
    c = Conv(x, w)  n = BatchNormalization(c, g, h, m, v)  r = mine.Swish(n)  d = Dropout(r)
    i = Identity(d)  s = Shape(i)  b = Gather(s, zero)
    rest = Constant<value=int64[1]{-1}>()  t = Concat<axis=0>(b, rest)  y = Reshape(i, t) }
<opset_import: ["": 15], domain: "mine">
Swish (a) => (b) { s = Sigmoid(a)  b = Mul(a, s) }"""


def test_what_an_exporter_leaves_behind_goes() -> None:
    before = model(
        TEXT, w=random(4, 3, 3, 3), g=random(4), h=random(4), m=random(4),
        v=random(4, low=0.1), zero=i64([0]),
    )  # fmt: skip
    after = before.clone()
    simplify(after)
    assert ops(after) == ["Conv", "Sigmoid", "Mul", "Reshape"]
    assert [value.name for value in after.graph.inputs] == ["x"]
    assert_same(before, after, 1e-6, x=random(2, 3, 8, 8))
    assert simplify(after) == []


def test_an_eight_bit_model_keeps_its_weights_and_conversions() -> None:
    text = """g (float[1,3,8,8] x) => (float[1,4,6,6] y) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
        w = DequantizeLinear<axis=0>(codes, ws)  y = Conv(d, w) }"""
    graph = model(
        text, s=f32(0.1), z=u8(3), ws=random(4, low=0.1),
        codes=np.ones((4, 3, 3, 3), np.int8),
    )  # fmt: skip
    before = ops(graph)
    simplify(graph)
    assert ops(graph) == before


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21])
def test_operator_sets(opset: int) -> None:
    axes = "<axes=[0]>(n)" if opset < 13 else "(n, zero)"
    text = f"""g (float[2,3,4,4] x) => (float[2,48] y) {{
        s = Shape(x)  n = Gather(s, index)  u = Unsqueeze{axes}
        t = Concat<axis=0>(u, rest)  y = Reshape(x, t) }}"""
    weights = {"index": i64(0), "rest": i64([-1]), "zero": i64([0])}
    before = model(text, opset, **weights)
    after = before.clone()
    simplify(after)
    assert ops(after) == ["Reshape"]
    assert_same(before, after, x=random(2, 3, 4, 4))


def test_a_list_of_what_shape_inference_tells() -> None:
    before = model(
        """g (float[2,8] x) => (float[2,5] y) {
        h = MatMul(x, w)  s = SplitToSequence<axis=1>(h, k)
        j = ConcatFromSequence<axis=1>(s)  y = MatMul(j, v) }""",
        w=random(8, 6), v=random(6, 5), k=np.array(4),
    )  # fmt: skip
    after = before.clone()
    simplify(after)
    assert ops(after) == ["MatMul", "Split", "Concat", "MatMul"]
    assert after.graph[2].outputs[0].shape is not None
    assert_same(before, after, x=random(2, 8))
