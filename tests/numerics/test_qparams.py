"""From ranges and weights to scale and zero point, against the formulas of docs/numerics.md."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.numerics.qparams import (
    BIAS_LIMIT,
    SMALLEST_SCALE,
    CodeType,
    QuantParams,
    bias_params,
    from_range,
    weight_params,
    widened_for_bias,
)
from q8tool.numerics.rounding import dequantize, quantize
from tests.graphs import Array, f32, random, u8

EXAMPLES = settings(max_examples=200, deadline=None, derandomize=True)
reals = st.floats(-(2.0**100), 2.0**100, allow_nan=False, width=32)


def test_the_example_of_the_contract() -> None:
    """-10..30: code 0 is -10, 255 is 30, 128 is about 10."""
    params = from_range(-10.0, 30.0)
    assert params.scale == np.float32(40 / 255)
    assert params.zero_point == 64
    real = dequantize(u8([0, 64, 128, 255]), params)
    np.testing.assert_allclose(real, [-10, 0, 10, 30], atol=40 / 255 / 2 + 1e-6)
    assert real[1] == 0.0
    np.testing.assert_array_equal(
        quantize(f32([-10, 0, 30, -99, 99]), params), [0, 64, 255, 0, 255]
    )


@given(reals, reals, st.sampled_from(["uint8", "int8", "uint16", "int16"]))
@EXAMPLES
def test_a_range_contains_zero_and_zero_is_exact(one: float, two: float, dtype: CodeType) -> None:
    params = from_range(min(one, two), max(one, two), dtype)
    low, high = params.range()
    assert low <= 0.0 <= high
    assert params.low_code <= params.zero_point <= params.high_code
    code = quantize(f32([0.0, -0.0]), params)
    np.testing.assert_array_equal(code, np.full(2, params.zero_point))
    assert (dequantize(code, params) == 0.0).all()


@given(reals, reals)
@EXAMPLES
def test_the_ends_move_by_half_a_step_at_most(one: float, two: float) -> None:
    wanted_low, wanted_high = min(one, two, 0.0), max(one, two, 0.0)
    params = from_range(min(one, two), max(one, two))
    step = float(params.scale)
    low, high = params.range()
    rounding = 1e-5 * (wanted_high - wanted_low)
    assert abs(low - wanted_low) <= 0.5 * step + rounding or step == SMALLEST_SCALE
    assert abs(high - wanted_high) <= 0.5 * step + rounding or step in (1.0, SMALLEST_SCALE)


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [
        (0.0, 255.0, 1.0, 0),
        (-255.0, 0.0, 1.0, 255),
        (-128.0, 127.0, 1.0, 128),
        (5.0, 10.0, 10 / 255, 0),  # widened to 0..10
        (-10.0, -5.0, 10 / 255, 255),
        (0.0, 0.0, 1.0, 0),
    ],
)
def test_hand_computed(low: float, high: float, scale: float, zero_point: int) -> None:
    params = from_range(low, high)
    assert params.scale == np.float32(scale)
    assert params.zero_point == zero_point
    assert params.scale.dtype == np.float32
    assert params.scale.shape == params.zero_point.shape == ()


def test_signed_codes_are_moved_by_half_their_number() -> None:
    unsigned, signed = from_range(-10, 30), from_range(-10, 30, "int8")
    assert unsigned.scale == signed.scale
    assert unsigned.zero_point == signed.zero_point + 128


@pytest.mark.parametrize(
    ("low", "high"), [(1, 0), (np.nan, 1), (0, np.nan), (-np.inf, 0), (0, np.inf)]
)
def test_what_is_no_range(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="not a range"):
        from_range(low, high)


def test_tiny_ranges_keep_a_normal_scale() -> None:
    params = from_range(0.0, 1e-40)
    assert params.scale == SMALLEST_SCALE > np.finfo(np.float32).tiny


@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_weights_are_symmetric_and_the_largest_is_127(axis: int | None) -> None:
    weights = random(4, 3, 5)
    params = weight_params(weights, axis)
    others = tuple(d for d in range(3) if d != axis) if axis is not None else None
    np.testing.assert_array_equal(params.scale, np.abs(weights).max(axis=others) / np.float32(127))
    assert params.dtype == "int8"
    assert not params.zero_point.any()
    codes = quantize(weights, params)
    assert (np.abs(codes.astype(int)).max(axis=others) == 127).all()
    assert codes.min() >= -127


def test_a_channel_of_zeros() -> None:
    params = weight_params(f32([[0, 0], [1, -254]]), 0)
    np.testing.assert_array_equal(params.scale, f32([1, 2]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        weight_params(f32([1, bad]), None)


def test_a_bias_has_the_scale_of_the_products() -> None:
    x = from_range(0.0, 255.0 / 4)
    per_channel = bias_params(x, weight_params(f32([[127.0], [254.0]]), 0))
    np.testing.assert_array_equal(per_channel.scale, f32([0.25, 0.5]))
    assert (per_channel.dtype, per_channel.axis) == ("int32", 0)
    assert bias_params(x, weight_params(f32([[127.0]]), None)).axis is None


@given(st.integers(1, 5), st.floats(2.0**-66, 2.0**66, width=32), st.integers(0, 2**31))
@EXAMPLES
def test_a_widened_scale_holds_every_bias(channels: int, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((channels, 6)) * 1e-3).astype(np.float32)
    bias = (rng.standard_normal(channels) * size).astype(np.float32)
    x = from_range(0.0, 1.0)
    first = weight_params(weights, 0)
    params = widened_for_bias(first, x, bias)
    assert (params.scale >= first.scale).all()
    codes = np.abs(bias / (params.scale.astype(np.float64) * float(x.scale)))
    assert (codes <= BIAS_LIMIT * 1.0001).all()
    # Channels that need nothing keep their precision.
    calm = np.abs(bias) < 0.99 * BIAS_LIMIT * first.scale.astype(np.float64) * float(x.scale)
    np.testing.assert_array_equal(params.scale[calm], first.scale[calm])


def test_one_scale_is_widened_for_the_largest_bias() -> None:
    x = QuantParams(np.float32(1.0), np.int32(0))  # type: ignore[arg-type]
    weights = weight_params(f32([[127.0]]), None)
    widened = widened_for_bias(weights, x, f32([0.0, 4 * BIAS_LIMIT]))
    assert widened.scale == 4.0


def same(one: QuantParams, two: QuantParams) -> bool:
    assert one.same_as(two) == two.same_as(one)
    return one.same_as(two)


def test_same_as_is_bit_for_bit() -> None:
    params = from_range(-1, 1)
    next_scale: Array = np.nextafter(params.scale, np.float32(9))
    assert same(params, from_range(-1, 1))
    assert not same(params, QuantParams(next_scale, params.zero_point))
    assert not same(params, QuantParams(params.scale, params.zero_point + 1))
    assert not same(params, from_range(-1, 1, "int8"))
    assert not same(weight_params(f32(np.eye(2)), 0), weight_params(f32(np.eye(2)), 1))
