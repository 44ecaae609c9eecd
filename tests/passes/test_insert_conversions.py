"""insert_conversions: the graph that is written, and its answers in onnxruntime.

Where weights, inputs and sums are multiples of powers of two, eight bits lose nothing: the answers
must then be those of the float model, to the bit.
"""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.numerics.qparams import BIAS_LIMIT, from_range
from q8tool.numerics.rounding import dequantize, quantize
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.insert_conversions import insert_conversions
from q8tool.passes.known_ranges import known_ranges
from tests.graphs import Array, f32, i64, model, ops, random, run, weight

Range = tuple[float, float]
W = random(4, 4, 1, 1)


def converted(
    before: ir.Model, given: dict[str, Range], per_channel: bool = True
) -> tuple[ir.Model, list[str]]:
    after = before.clone()
    ranges = known_ranges(after, given)
    choice = choose_precision(after, ranges)
    changes = insert_conversions(after, choice, ranges, per_channel)
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    return after, [change.node for change in changes]


def exact(rng: np.random.Generator, *shape: int, axis: int = 0) -> Array:
    """Weights that are multiples of 1/128, the largest of each channel 127/128."""
    codes = rng.integers(-127, 128, shape)
    first = [0] * len(shape)
    for channel in range(shape[axis]):
        first[axis] = channel
        codes[tuple(first)] = 127
    return (codes / 128).astype(np.float32)


def tensor(name: str, fed: str) -> str:
    """An output of the rank that the input has; its sizes are for shape inference to find."""
    return f"float[{', '.join('abcde'[: fed.count(',') + 1])}] {name}"


def integers(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(0, 256, shape).astype(np.float32)


CASES = {
    "Conv": ("float[1,4,5,5] x", "Conv<pads=[1,1,1,1]>(x, w, b)", (6, 4, 3, 3), 0, (6,)),
    "1D": ("float[1,4,9] x", "Conv<strides=[2]>(x, w, b)", (6, 4, 3), 0, (6,)),
    "3D": ("float[1,2,4,4,4] x", "Conv(x, w, b)", (3, 2, 2, 2, 2), 0, (3,)),
    "grouped": ("float[1,4,5,5] x", "Conv<group=2>(x, w, b)", (6, 2, 3, 3), 0, (6,)),
    "depthwise": ("float[1,4,5,5] x", "Conv<group=4>(x, w, b)", (4, 1, 3, 3), 0, (4,)),
    "transposed": ("float[1,4,5,5] x", "ConvTranspose(x, w, b)", (4, 6, 3, 3), 1, (6,)),
    "transposed, groups": (
        "float[1,4,5,5] x", "ConvTranspose<group=2>(x, w, b)", (4, 3, 2, 2), 1, (6,),
    ),
    "Gemm": ("float[3,8] x", "Gemm(x, w, b)", (8, 5), 1, (5,)),
    "Gemm, row": ("float[3,8] x", "Gemm<transB=1>(x, w, b)", (5, 8), 0, (1, 5)),
    "Gemm, one bias": ("float[3,8] x", "Gemm<transB=1>(x, w, b)", (5, 8), 0, ()),
    "Gemm, factors": ("float[3,8] x", "Gemm<alpha=0.5, beta=2.0>(x, w, b)", (8, 5), 1, (5,)),
    "MatMul": ("float[2,3,8] x", "MatMul(x, w)", (8, 5), 1, ()),
    "MatMul of a vector": ("float[8] x", "MatMul(x, w)", (8, 5), 1, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("per_channel", [True, False])
@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_what_eight_bits_hold_exactly_stays_exact(name: str, per_channel: bool, seed: int) -> None:
    fed, formula, shape, axis, bias_shape = CASES[name]
    rng = np.random.default_rng(seed)
    weights = {"w": exact(rng, *shape, axis=axis)}
    if ", b)" in formula:
        weights["b"] = (rng.integers(-9999, 9999, bias_shape) / 128).astype(np.float32)
    before = model(f"g ({fed}) => ({tensor('y', fed)}) {{ y = {formula} }}", 13, **weights)
    after, _ = converted(before, {"x": (0.0, 255.0)}, per_channel)
    assert ops(after).count("DequantizeLinear") == 2
    dims = tuple(int(size) for size in fed[fed.index("[") + 1 : fed.index("]")].split(","))
    x = integers(rng, *dims)
    np.testing.assert_array_equal(run(after, x=x)[0], run(before, x=x)[0])


@pytest.mark.parametrize("name", CASES)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_wanted_results_are_rounded_once(name: str, seed: int) -> None:
    """With the bias rounded too: real arithmetic, then one rounding to the result's codes."""
    fed, formula, shape, axis, bias_shape = CASES[name]
    rng = np.random.default_rng(seed)
    weights = {"w": exact(rng, *shape, axis=axis)}
    if ", b)" in formula:
        # Half of a 128th cannot be expressed once Gemm's alpha halves the scale: whole 64ths.
        weights["b"] = (rng.integers(-999, 999, bias_shape) / 64).astype(np.float32)
    body = f"c = {formula} r = Relu(c)"
    dims = tuple(int(size) for size in fed[fed.index("[") + 1 : fed.index("]")].split(","))
    x = integers(rng, *dims)
    clamped = model(f"g ({fed}) => ({tensor('r', fed)}) {{ {body} }}", 13, **weights)
    (real,) = run(clamped, x=x)
    body += " t = Reshape(r, one_row) y = MatMul(t, k)"
    before = model(
        f"g ({fed}) => (float[a, b] y) {{ {body} }}", 13, **weights,
        one_row=i64([1, -1]), k=np.eye(real.size, 3, dtype=np.float32),
    )  # fmt: skip
    # 513 times the weights' scale, which stays as it is then: 1 / 513 has an odd denominator.
    high = 255.0 * 513 / (256 if "alpha" in formula else 128)
    after, _ = converted(before, {"x": (0.0, 255.0), "r": (0.0, high)})
    params = from_range(0.0, high)
    expected = dequantize(quantize(real, params), params)
    np.testing.assert_allclose(run(after, x=x)[0][0], expected.ravel()[:3], atol=1e-4)


def test_each_operator_stands_between_conversions_of_its_own() -> None:
    before = model(
        "g (float[1,4,4,4] x) => (float[1,4,4,4] y) { a = Conv(x,w,b) r = Relu(a) y = Conv(r,v) }",
        13,
        w=W, b=random(4), v=random(4, 4, 1, 1, seed=1),
    )  # fmt: skip
    after, changed = converted(before, {"x": (-1.0, 1.0), "r": (0.0, 5.0)})
    assert ops(after) == [
        "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv",
        "Relu", "QuantizeLinear", "DequantizeLinear",
        "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv",
    ]  # fmt: skip
    assert len(changed) == 2
    stored = {name: weight(after, name).dtype.name for name in after.graph.initializers}
    assert {stored["w_q"], stored["v_q"]} == {"int8"}
    assert stored["b_q"] == "int32"
    assert [value.name for value in after.graph.outputs] == ["y"]


def test_data_movement_keeps_its_inputs_parameters() -> None:
    body = """a = Conv(x, w) p = Pad(a, pads) m = MaxPool<kernel_shape=[2,2]>(p)
        t = Transpose<perm=[0,1,3,2]>(m) y = Conv(t, w)"""
    before = model(
        f"g (float[1,4,4,4] x) => (float[i,j,k,l] y) {{ {body} }}", 13, w=W,
        pads=i64([0, 0, 1, 1, 0, 0, 0, 0]),
    )  # fmt: skip
    after, _ = converted(before, {"x": (-1.0, 1.0), "a": (-3.0, 4.0)})
    scales = {
        weight(after, node.inputs[1].name or "").item()
        for node in after.graph
        if node.op_type == "QuantizeLinear" and node.inputs[1] is not None
    }
    assert scales == {np.float32(2 / 255), np.float32(7 / 255)}


def test_constants_of_arithmetic_become_codes() -> None:
    before = model(
        "g (float[1,4,4,4] x) => (float[i,j,k,l] y) { m = Mul(x, k) y = Conv(m, w) }", 13,
        w=W, k=f32([[[0.5]], [[2.0]], [[-1.0]], [[0.25]]]),
    )  # fmt: skip
    after, _ = converted(before, {"x": (-1.0, 1.0), "m": (-2.0, 2.0)})
    codes = weight(after, "k_q")
    np.testing.assert_array_equal(
        codes.ravel(), quantize(f32([0.5, 2, -1, 0.25]), from_range(-1, 2))
    )


def test_readers_of_one_value_and_an_output_in_the_middle() -> None:
    body = "a = Conv(x, w) s = Mul(a, a) t = Add(s, a) y = Conv(t, w)"
    before = model(
        f"g (float[1,4,4,4] x) => (float[i,j,k,l] y, float[1,4,4,4] a) {{ {body} }}", 13, w=W
    )
    x = random(1, 4, 4, 4, low=-1.0)
    real = dict(zip("ast", run(model(
        f"g (float[1,4,4,4] x) => ({', '.join(f'float[i,j,k,l] {n}' for n in 'ast')}) {{ {body} }}",
        13, w=W,
    ), x=x), strict=True))  # fmt: skip
    given = {"x": (-1.0, 1.0)}
    given |= {name: (float(array.min()), float(array.max())) for name, array in real.items()}
    after, _ = converted(before, given)
    assert [value.name for value in after.graph.outputs] == ["y", "a"]
    assert after.graph.outputs[1].shape == before.graph.outputs[1].shape
    wanted, got = run(before, x=x), run(after, x=x)
    step = (given["a"][1] - given["a"][0]) / 255
    assert np.abs(wanted[1] - got[1]).max() < 3 * step
    assert np.abs(wanted[0] - got[0]).max() < 0.05 * np.abs(wanted[0]).max()


def test_names_that_the_graph_has_already() -> None:
    body = "x_q = Conv(x, w) x_dq = Relu(x_q) x_s = Conv(x_dq, w) w_q = Relu(x_s) y = Conv(w_q, w)"
    before = model(f"g (float[1,4,4,4] x) => (float[i,j,k,l] y) {{ {body} }}", 13, w=W)
    after, _ = converted(before, {"x": (-1.0, 1.0), "x_dq": (0.0, 4.0), "w_q": (0.0, 9.0)})
    x = random(1, 4, 4, 4, low=-1.0)
    wanted = run(before, x=x)[0]
    assert np.abs(run(after, x=x)[0] - wanted).max() < 0.05 * np.abs(wanted).max()


def test_names_of_subgraphs_are_not_shadowed() -> None:
    body = """c = Cast<to=9>(k) a = Conv(x, w) y = If(c)<
        then_branch = t () => (float[1,4,4,4] x_q) { x_q = Neg(a) },
        else_branch = e () => (float[1,4,4,4] x_dq) { x_dq = Abs(a) }>"""
    before = model(f"g (float[1,4,4,4] x) => (float[i,j,k,l] y) {{ {body} }}", 13, w=W, k=f32(1))
    after, _ = converted(before, {"x": (-1.0, 1.0)})
    assert ops(after)[:3] == ["Cast", "QuantizeLinear", "DequantizeLinear"]
    x = random(1, 4, 4, 4, low=-1.0)
    np.testing.assert_allclose(run(after, x=x)[0], run(before, x=x)[0], atol=0.1)


def test_weights_that_are_shared_are_stored_once() -> None:
    body = "a = Conv(x, w) r = Relu(a) b = Conv(r, w) y = Conv(b, w)"
    before = model(f"g (float[1,4,4,4] x) => (float[i,j,k,l] y) {{ {body} }}", 13, w=W)
    after, _ = converted(before, {"x": (-1.0, 1.0), "r": (0.0, 3.0), "b": (-5.0, 5.0)})
    assert sum(weight(after, name).dtype == np.int8 for name in after.graph.initializers) == 2
    assert "w_q" in after.graph.initializers  # and one zero point per channel


def test_a_bias_that_would_overflow_widens_its_channel_only() -> None:
    bias = f32([0.1, 2.0**33, -0.1, 0.0])
    before = model(
        "g (float[1,4,4,4] x) => (float[i,j,k,l] y) { a = Conv(x, w, b) y = Conv(a, w) }",
        13,
        w=W,
        b=bias,
    )
    after, _ = converted(before, {"x": (0.0, 1.0), "a": (-1.0, 2.0**33)})
    codes = weight(after, "b_q").astype(np.float64)
    assert np.abs(codes).max() <= BIAS_LIMIT * 1.0001
    scales = weight(after, "w_dq_s")
    plain = np.abs(W).reshape(4, -1).max(axis=1) / np.float32(127)
    np.testing.assert_array_equal(scales[[0, 2, 3]], plain[[0, 2, 3]])
    assert scales[1] > plain[1]
    np.testing.assert_allclose(codes[1] * scales[1] / 255, 2.0**33, rtol=1e-6)


def test_nothing_to_do() -> None:
    before = model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    after, changed = converted(before, {"x": (0.0, 1.0)})
    assert changed == []
    assert ops(after) == ["Relu"]
