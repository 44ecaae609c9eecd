"""insert_dynamic: ranges at run time; the answers are those of the formula in float64."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.numerics.qparams import weight_params
from q8tool.numerics.rounding import dequantize, quantize_balanced
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.insert_dynamic import insert_dynamic
from tests.graphs import Array, f32, model, ops, random, run, weight

CHAIN = ["DynamicQuantizeLinear", "ConvInteger", "Cast", "Mul", "Mul", "Add"]


def dynamic(before: ir.Model, per_channel: bool = True) -> ir.Model:
    after = before.clone()
    choice = choose_precision(after, ())
    changes = insert_dynamic(after, choice, per_channel)
    assert len(changes) == len([u for u in choice.units if u.form == "dynamic"])
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    return after


def tensor(name: str, fed: str) -> str:
    """An output of the rank that the input has; its sizes are for shape inference to find."""
    return f"float[{', '.join('abcde'[: fed.count(',') + 1])}] {name}"


def rounded(x: Array) -> Array:
    """x after the codes that DynamicQuantizeLinear gives it."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = np.float32((high - low) / 255)
    zero = np.rint(-low / scale)
    return np.asarray((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale, np.float32)


CASES = {
    "Conv": ("float[2,4,5,5] x", "Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)", (6, 4, 3, 3), 0),
    "1D": ("float[2,4,9] x", "Conv(x, w, b)", (6, 4, 3), 0),
    "grouped": ("float[2,4,5,5] x", "Conv<group=2>(x, w, b)", (6, 2, 3, 3), 0),
    "Gemm": ("float[3,8] x", "Gemm(x, w, b)", (8, 6), 1),
    "Gemm, transposed": ("float[3,8] x", "Gemm<transB=1, alpha=2.0, beta=0.5>(x, w, b)", (6, 8), 0),
    "MatMul": ("float[2,3,8] x", "MatMul(x, w)", (8, 6), 1),
    "MatMul of a vector": ("float[8] x", "MatMul(x, w)", (8, 6), 1),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_answer_is_that_of_rounded_input_and_weights(name: str, per_channel: bool) -> None:
    fed, formula, shape, axis = CASES[name]
    w, b = random(*shape), random(6)
    weights = {"w": w, "b": b} if "b)" in formula else {"w": w}
    text = f"g ({fed}) => ({tensor('y', fed)}) {{ y = {formula} }}"
    before = model(text, 13, **weights)
    after = dynamic(before, per_channel)
    params = weight_params(w, axis if per_channel else None)
    oracle = model(
        text, 13, **{**weights, "w": dequantize(quantize_balanced(w, params, axis), params)}
    )
    dims = tuple(int(size) for size in fed[fed.index("[") + 1 : fed.index("]")].split(","))
    x = random(*dims, seed=3)
    expected = run(oracle, x=rounded(x))[0]
    np.testing.assert_allclose(run(after, x=x)[0], expected, rtol=1e-4, atol=1e-4)
    assert after.graph.outputs[0].name == "y"


def test_the_nodes_and_their_names() -> None:
    before = model(
        "g (float[1,4,4,4] x) => (float[i,j,k,l] y) { c = Conv(x, w, b) y = Relu(c) }", 13,
        w=random(4, 4, 1, 1), b=random(4),
    )  # fmt: skip
    after = dynamic(before)
    assert ops(after) == [*CHAIN, "Relu"]
    for node in after.graph:
        assert node.name in ("", None) or node.op_type == "Relu" or len(node.outputs) == 3 or (
            node.outputs[0].name in (node.name, "c")
        )  # fmt: skip
    assert weight(after, "w_q").dtype == np.int8
    assert weight(after, "c_ws").shape == weight(after, "c_b").shape == (1, 4, 1, 1)


def test_without_a_bias_there_is_no_addition() -> None:
    after = dynamic(
        model("g (float[2,4] x) => (float[i,j] y) { y = MatMul(x, w) }", 13, w=random(4, 3))
    )
    assert ops(after) == ["DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul"]


def test_readers_of_one_tensor_share_its_codes() -> None:
    body = "a = Conv(x, w) b = Conv(x, v) y = Add(a, b)"
    after = dynamic(
        model(
            f"g (float[1,4,4,4] x) => (float[i,j,k,l] y) {{ {body} }}", 13,
            w=random(4, 4, 1, 1), v=random(4, 4, 1, 1, seed=1),
        )
    )  # fmt: skip
    assert ops(after).count("DynamicQuantizeLinear") == 1
    assert ops(after).count("ConvInteger") == 2


def test_an_input_of_zeros_gives_the_bias() -> None:
    text = "g (float[1,4] x) => (float[i,j] y) { y = Gemm(x, w, b) }"
    after = dynamic(model(text, 13, w=random(4, 3), b=f32([1, -2, 3])))
    np.testing.assert_array_equal(run(after, x=np.zeros((1, 4), np.float32))[0], [[1, -2, 3]])


def test_a_result_that_is_output_and_read_on() -> None:
    text = "g (float[1,4] x) => (float[i,j] y, float[1,3] a) { a = Gemm(x, w) y = Relu(a) }"
    before = model(text, 13, w=random(4, 3))
    after = dynamic(before)
    assert [value.name for value in after.graph.outputs] == ["y", "a"]
    assert after.graph.outputs[1].shape == before.graph.outputs[1].shape
    x = random(1, 4)
    y, a = run(after, x=x)
    np.testing.assert_array_equal(y, np.maximum(a, 0))
    np.testing.assert_allclose(a, run(before, x=x)[1], atol=0.1)


def test_convtranspose_stays_float() -> None:
    text = "g (float[1,4,3,3] x) => (float[i,j,k,l] y) { y = ConvTranspose(x, w) }"
    assert ops(dynamic(model(text, 13, w=random(4, 2, 2, 2)))) == ["ConvTranspose"]


def test_depthwise_convolutions_stay_float() -> None:
    text = "g (float[1,4,3,3] x) => (float[i,j,k,l] y) { y = Conv<group=4>(x, w) }"
    assert ops(dynamic(model(text, 13, w=random(4, 1, 2, 2)))) == ["Conv"]
    # Two channels per group are no longer depthwise.
    text = text.replace("group=4", "group=2")
    assert "ConvInteger" in ops(dynamic(model(text, 13, w=random(4, 2, 2, 2))))
