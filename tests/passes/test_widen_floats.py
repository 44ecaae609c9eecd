"""widen_floats: half precision becomes float32 inside, inputs and outputs keep their types."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from q8tool.model.check import check
from q8tool.passes.widen_floats import widen_floats
from tests.graphs import model, ops, random


def half(*shape: int) -> np.ndarray:
    return random(*shape).astype(np.float16)


def test_inside_float32_outside_half() -> None:
    text = """g (float16[1,3,6,6] x, bool[1] c)
        => (float16[1,4,4,4] y, float16[1,3,6,6] x, float16[4,1,1] b) {
        s = Constant<value = float[1] {2.0}>()  t = Cast<to=10>(s)  v = Conv(x, w)  m = Mul(v, t)
        f = Cast<to=1>(m)  h = Cast<to=10>(f)
        y = If(c) <
            then_branch = a () => (float16[1,4,4,4] p) { p = Add(h, b) },
            else_branch = e () => (float16[1,4,4,4] q) { q = Identity(h) }> }"""
    before = model(text, w=half(4, 3, 3, 3), b=half(4, 1, 1))
    after = before.clone()
    assert len(widen_floats(after)) == 1
    check(after, "model")
    assert [value.dtype for value in after.graph.inputs] == [
        ir.DataType.FLOAT16,
        ir.DataType.BOOL,
    ]
    assert [value.name for value in after.graph.outputs] == ["y", "x", "b"]
    assert {value.dtype for value in after.graph.outputs} == {ir.DataType.FLOAT16}
    assert after.graph.initializers["w"].dtype == ir.DataType.FLOAT
    for condition in (True, False):
        feeds = {"x": half(1, 3, 6, 6), "c": np.array([condition])}
        wanted, got = (
            onnxruntime.InferenceSession(ir.to_proto(item).SerializeToString()).run(None, feeds)
            for item in (before, after)
        )
        for a, b in zip(wanted, got, strict=True):
            assert a.dtype == b.dtype == np.float16
            np.testing.assert_allclose(a, b, rtol=4e-3, atol=4e-3)


def test_brain_floats_behind_a_cast() -> None:
    numbers = np.arange(12, dtype=np.float32).reshape(4, 3)
    text = """g (float[2,4] x, bfloat16[4,3] w) => (float[2,3] y) {
        f = Cast<to=1>(w)  y = MatMul(x, f) }"""
    before = model(text)
    value = before.graph.inputs.pop()
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.BFLOAT16, [4, 3], numbers.ravel())
    value.const_value = ir.serde.deserialize_tensor(tensor)
    before.graph.register_initializer(value)
    assert len(widen_floats(before)) == 1
    weights = before.graph.initializers["w"].const_value
    assert weights is not None
    np.testing.assert_array_equal(weights.numpy(), numbers)


def test_float32_and_float64_stay() -> None:
    text = "g (float[2] x, double[2] z) => (float[2] y, double[2] r) { y = Abs(x) r = Neg(z) }"
    before = model(text)
    assert widen_floats(before) == []
    assert ops(before) == ["Abs", "Neg"]


def test_doubles_of_products_become_float32() -> None:
    text = """g (double[N,6] x) => (double[N,3] y) {
        h = Gemm(x, w, b)  r = Relu(h)  k = Constant<value = double {0.5}>()  m = Mul(r, k)
        y = MatMul(m, v) }"""
    weights = {"w": random(6, 8), "b": random(8), "v": random(8, 3)}
    before = model(text, **{name: array.astype(np.float64) for name, array in weights.items()})
    after = before.clone()
    assert len(widen_floats(after)) == 1
    check(after, "model")
    assert {after.graph.inputs[0].dtype, after.graph.outputs[0].dtype} == {ir.DataType.DOUBLE}
    assert {value.dtype for value in after.graph.initializers.values()} == {ir.DataType.FLOAT}
    x = random(5, 6).astype(np.float64)
    wanted, got = (
        onnxruntime.InferenceSession(ir.to_proto(item).SerializeToString()).run(None, {"x": x})[0]
        for item in (before, after)
    )
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_doubles_beside_float32_weights_stay() -> None:
    text = """g (float[2,4] x) => (float[2,3] y) {
        z = MatMul(x, w)  d = Cast<to=11>(z)  s = Add(d, one)  y = Cast<to=1>(s) }"""
    before = model(text, w=random(4, 3), one=np.array(1.0))
    assert widen_floats(before) == []
