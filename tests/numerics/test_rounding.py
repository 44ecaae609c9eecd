"""The rounding rule: exhaustive over codes, at ties, and byte for byte as onnxruntime rounds."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from q8tool.numerics.qparams import CodeType, QuantParams, from_range, weight_params
from q8tool.numerics.rounding import (
    dequantize,
    quantize,
    quantize_balanced,
    requantize,
    survives_round_trip,
)
from tests.graphs import Array, f32, i32, random

EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True)
CODES: dict[str, Array] = {
    "uint8": np.arange(256).astype(np.uint8),
    "int8": np.arange(-128, 128).astype(np.int8),
}
SCALES = [1.0, 0.5, 1 / 255, 0.1, 1 / 3, 0.7, 3e-6, 1e-30, 1e30, 123456.789, 2.0**-126, 2.0**120]


def params(scale: Any, zero_point: Any, dtype: CodeType = "uint8", axis: Any = None) -> QuantParams:
    return QuantParams(np.asarray(scale, np.float32), np.asarray(zero_point, np.int32), dtype, axis)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("scale", SCALES)
def test_all_codes_survive_at_all_zero_points(scale: float, dtype: CodeType) -> None:
    codes = CODES[dtype]
    info = np.iinfo(dtype)
    for zero_point in range(info.min, info.max + 1):
        one = params(scale, zero_point, dtype)
        np.testing.assert_array_equal(quantize(dequantize(codes, one), one), codes)


def test_ties_go_to_the_even_number_before_the_zero_point_is_added() -> None:
    halves = f32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    for zero_point in (0, 1, 100, 101):  # an odd zero point changes no rounding
        expected = np.clip(np.array([-2, -2, 0, 0, 2, 2]) + zero_point, 0, 255)
        np.testing.assert_array_equal(quantize(halves, params(1, zero_point)), expected)
    # 1 * 1/2 is a tie: rint gives 0, then the zero point 1 is added.
    np.testing.assert_array_equal(requantize(i32([1, 3, 5]), f32(0.5), 1), [1, 3, 3])


def test_saturation_infinities_and_nan() -> None:
    wild = f32([-1e30, 1e30, -np.inf, np.inf, np.nan, 3e9, -3e9])
    np.testing.assert_array_equal(quantize(wild, params(1, 7)), [0, 255, 0, 255, 0, 255, 0])
    signed = quantize(wild, params(1, 7, "int8"))
    np.testing.assert_array_equal(signed, [-128, 127, -128, 127, -128, 127, -128])


def test_rounding_has_no_bias() -> None:
    """The mean error over a whole range is far below what truncation would give (half a step)."""
    one = from_range(-10, 30)
    x = np.linspace(-9.9, 29.9, 100_001, dtype=np.float32)
    errors = dequantize(quantize(x, one), one) - x
    assert abs(float(errors.mean())) < 1e-3 * float(one.scale)
    assert float(np.abs(errors).max()) <= 0.5001 * float(one.scale)


def onnxruntime_runs(op_type: str, x: Array, one: QuantParams) -> Array:
    inputs = [x, one.scale, one.zero_point.astype(one.dtype)]
    names = ["x", "s", "z"]
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, inputs, strict=True)
    ]
    attributes: dict[str, Any] = {} if one.axis is None else {"axis": one.axis}
    node = helper.make_node(op_type, names, ["y"], **attributes)
    graph = helper.make_graph([node], "g", values, [onnx.ValueInfoProto(name="y")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data = onnx.shape_inference.infer_shapes(proto).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, dict(zip(names, inputs, strict=True)))[0]
    return result


@st.composite
def parameters(draw: st.DrawFn) -> tuple[QuantParams, Array, int]:
    """Parameters of a tensor (3, 4, 5), per tensor or along an axis, and values for it."""
    dtype: CodeType = draw(st.sampled_from(["uint8", "int8"]))
    axis = draw(st.sampled_from([None, 0, 1, 2]))
    shape = () if axis is None else ((3, 4, 5)[axis],)
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    scale = np.exp(rng.uniform(-8, 8, shape)).astype(np.float32)
    zero_point = rng.integers(info.min, info.max + 1, shape)
    x = (rng.standard_normal((3, 4, 5)) * np.exp(rng.uniform(-6, 12))).astype(np.float32)
    ties = rng.integers(-600, 600, (3, 4, 5)).astype(np.float32) / 2
    return (
        params(scale, zero_point, dtype, axis),
        np.where(rng.random(x.shape) < 0.5, x, ties),
        seed,
    )


@given(parameters())
@EXAMPLES
def test_quantize_gives_the_bytes_of_onnxruntime(case: tuple[QuantParams, Array, int]) -> None:
    one, x, _ = case
    np.testing.assert_array_equal(quantize(x, one), onnxruntime_runs("QuantizeLinear", x, one))


@given(parameters())
@EXAMPLES
def test_dequantize_gives_the_bytes_of_onnxruntime(case: tuple[QuantParams, Array, int]) -> None:
    one, _, seed = case
    info = np.iinfo(one.dtype)
    codes = np.random.default_rng(seed).integers(info.min, info.max + 1, (3, 4, 5))
    codes = codes.astype(one.dtype)
    expected = onnxruntime_runs("DequantizeLinear", codes, one)
    assert dequantize(codes, one).tobytes() == expected.tobytes()


def test_dequantize_of_every_code() -> None:
    for dtype, codes in CODES.items():
        one = params(0.1, 3, dtype)  # type: ignore[arg-type]
        expected = onnxruntime_runs("DequantizeLinear", codes, one)
        assert dequantize(codes, one).tobytes() == expected.tobytes()


def test_requantize_per_channel_saturates() -> None:
    sums = i32([[10, 10, 2**31 - 1], [-10, 7, -(2**31)]])
    result = requantize(sums, f32([1.0, 0.5, 1.0]), 3)
    np.testing.assert_array_equal(result, [[13, 8, 255], [0, 7, 0]])  # 5 + 3; rint(3.5) = 4
    assert result.dtype == np.uint8
    signed = requantize(sums, f32(1.0), -5, "int8")
    np.testing.assert_array_equal(signed, [[5, 5, 127], [-15, 2, -128]])


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 60), st.sampled_from([0, 1]))
@EXAMPLES
def test_balanced_errors_cancel_and_no_weight_moves_a_step(
    seed: int, channels: int, length: int, axis: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((channels, length)).astype(np.float32) + np.float32(0.3)
    weights = weights if axis == 0 else np.ascontiguousarray(weights.T)
    one = weight_params(weights, axis)
    codes = quantize_balanced(weights, one, axis)
    assert codes.dtype == np.int8
    assert codes.shape == weights.shape
    scale = one.scale.reshape(-1, 1) if axis == 0 else one.scale
    errors = codes.astype(np.float64) - (weights / scale).astype(np.float64)
    assert float(np.abs(errors).max()) < 1.0
    assert (np.abs(errors.sum(axis=1 - axis)) <= 0.5 + 1e-4).all()


def test_balanced_by_hand() -> None:
    unit = params(1, 0, "int8")
    # 0.4 + 0.4 + 0.3 = 1.1: one of the nearest to the middle goes up.
    np.testing.assert_array_equal(quantize_balanced(f32([[0.4, 0.4, 0.3]]), unit, 0), [[1, 0, 0]])
    # -0.6 rounds to -1, error -0.4; together -0.8: one goes back to 0.
    np.testing.assert_array_equal(quantize_balanced(f32([[-0.6, -0.6]]), unit, 0), [[0, -1]])
    exact = f32([[3, -127, 0]])
    np.testing.assert_array_equal(quantize_balanced(exact, unit, 0), exact)


def test_balancing_keeps_the_mean_of_a_channel() -> None:
    weights = random(8, 3, 3, 3, low=0.0)
    one = weight_params(weights, 0)
    codes = quantize_balanced(weights, one, 0)
    sums = dequantize(codes, one).sum(axis=(1, 2, 3), dtype=np.float64)
    wanted = weights.sum(axis=(1, 2, 3), dtype=np.float64)
    assert (np.abs(sums - wanted) <= 0.501 * one.scale).all()


@pytest.mark.parametrize(
    ("scale", "survives"),
    [
        (1.0, True), (1 / 3, True), (float(np.finfo(np.float32).tiny), True),
        (1e-40, False), (0.0, False), (np.inf, False), (np.nan, False), (3e38, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16"])
def test_which_scales_survive(scale: float, survives: bool, dtype: CodeType) -> None:
    assert survives_round_trip(params(scale, 3, dtype)) is survives


def test_one_bad_channel_is_enough() -> None:
    assert survives_round_trip(params([1, 2], [0, 5], "int8", 0))
    assert not survives_round_trip(params([1, 1e-42], [0, 0], "int8", 0))
    assert not survives_round_trip(params(1, 0, "int32"))
