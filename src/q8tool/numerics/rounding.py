"""The rounding rule: quantize, dequantize, requantize. The numpy twin of csrc/kernels/requant.h.

Round half to even, then add the zero point, then saturate. Because the rounded value is what the
zero point is added to, no bias builds up; and because division is used and not multiplication by a
reciprocal, the codes are those of the ONNX standard.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.numerics.qparams import CodeType, QuantParams

__all__ = ["dequantize", "quantize", "quantize_balanced", "requantize", "survives_round_trip"]


# How many weights quantize_balanced sorts at once.
BALANCED_AT_ONCE = 1 << 18


def quantize(x: NDArray[np.floating], params: QuantParams) -> NDArray[Any]:
    """Codes of real values: saturate(rint(x / scale) + zero_point).

    x  float32, any shape; with params.axis, that axis has one entry per scale
    returns params.dtype, shape of x. NaN gives the lowest code.
    Source: ONNX QuantizeLinear. Zero point 128, scale 2: 1 / 2 rounds to 0, 3 / 2 to 2.

    >>> quantize(np.float32([1, 3, -1000]), QuantParams(np.float32(2), np.int32(128)))
    array([128, 130,   0], dtype=uint8)
    """
    scale, zero_point = _along_axis(params, x.ndim)
    with np.errstate(over="ignore"):  # infinity saturates like any large number
        ratio = np.asarray(x, np.float32) / scale
    return _to_codes(ratio, zero_point, params.dtype)


def quantize_balanced(
    weights: NDArray[np.floating], params: QuantParams, axis: int
) -> NDArray[Any]:
    """Codes of weights whose rounding errors cancel within each output channel.

    Rounding each weight to the nearest code leaves a channel with a sum of errors that, times the
    mean of the activations, shifts the whole channel: the main loss of per-channel int8. Here the
    fewest weights, those nearest to the middle between two codes, go to the other code, until the
    errors of a channel sum to less than half a step. No weight moves by a full step or more.

    weights float32, params symmetric (int8, zero point 0), axis of the output channels. Returns
    int8, shape of weights. Source: Guo et al., SQuant, ICLR 2022 (the channel-wise step).

    >>> unit = QuantParams(np.float32(1), np.int32(0), "int8")
    >>> quantize_balanced(np.float32([[0.4, 0.4, 0.3]]), unit, axis=0)
    array([[1, 0, 0]], dtype=int8)
    """
    scale, _ = _along_axis(params, weights.ndim)
    rows = np.moveaxis(np.asarray(weights, np.float32), axis, 0)
    scales = np.moveaxis(np.broadcast_to(scale, weights.shape), axis, 0)
    codes = np.empty(rows.shape, params.dtype)
    # A few channels at a time: sorting takes many times the memory of the weights.
    step = max(1, BALANCED_AT_ONCE * rows.shape[0] // max(rows.size, 1))
    for first in range(0, rows.shape[0], step):
        part = slice(first, first + step)
        codes[part] = _balanced(rows[part] / scales[part], params.high_code)
    return np.ascontiguousarray(np.moveaxis(codes, 0, axis))


def _balanced(ratio: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """Whole numbers near ratio (channels, ...), whose errors sum to under 1/2 in each channel."""
    rows = ratio.reshape(ratio.shape[0], -1)
    codes = np.rint(rows)
    error = codes - rows
    excess = np.rint(error.sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    codes -= np.where(_largest(error * np.sign(excess), np.abs(excess)), np.sign(excess), 0.0)
    return np.clip(codes, -limit, limit).reshape(ratio.shape)


def _largest(rows: NDArray[np.float32], counts: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Marks the so many largest of each row, of equal ones the first; counts (rows, 1)."""
    wanted = counts.astype(np.intp)
    most = int(wanted.max(initial=0))
    if most == 0:
        return np.zeros(rows.shape, bool)
    size = rows.shape[1]
    # Sorting whole rows would take five times as long.
    ranked = np.sort(np.partition(rows, size - most, axis=1)[:, size - most :], axis=1)
    least = np.take_along_axis(ranked, most - np.maximum(wanted, 1), axis=1)
    above, equal = rows > least, rows == least
    missing = wanted - above.sum(axis=1, keepdims=True)
    above |= equal & (np.cumsum(equal, axis=1) <= missing)
    return np.asarray(above & (wanted > 0))


def dequantize(codes: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
    """Real values of codes: (code - zero_point) * scale, float32. Source: ONNX DequantizeLinear.

    >>> dequantize(np.uint8([0, 255]), QuantParams(np.float32(2), np.int32(128)))
    array([-256.,  254.], dtype=float32)
    """
    scale, zero_point = _along_axis(params, codes.ndim)
    centred = codes.astype(np.int32) - zero_point
    with np.errstate(over="ignore"):
        return np.asarray(centred.astype(np.float32) * scale, np.float32)


def requantize(
    accumulator: NDArray[np.int32],
    multiplier: NDArray[np.float32],
    zero_point: int,
    dtype: CodeType = "uint8",
) -> NDArray[Any]:
    """Brings int32 sums back to codes: saturate(rint(float32(accumulator) * multiplier) + zp).

    accumulator  int32, shape (..., C);  multiplier  float32, shape () or (C,), dimensionless:
    x_scale * w_scale / y_scale. Returns dtype, shape of accumulator.

    >>> requantize(np.int32([1, 3]), np.float32(0.5), 1)
    array([1, 3], dtype=uint8)
    """
    product = accumulator.astype(np.float32) * np.asarray(multiplier, np.float32)
    return _to_codes(product, np.asarray(zero_point, np.int32), dtype)


def survives_round_trip(params: QuantParams) -> bool:
    """True if dequantize then quantize returns every code unchanged: tried on all of them.

    The proof that a DequantizeLinear -> QuantizeLinear pair of equal parameters does nothing. Eight
    and sixteen bits only; False for wider codes.
    """
    if np.iinfo(params.dtype).bits > 16:
        return False
    codes = np.arange(params.low_code, params.high_code + 1).astype(params.dtype)
    for scale, zero_point in zip(params.scale.flat, params.zero_point.flat, strict=True):
        if not np.isfinite(scale) or scale < np.finfo(np.float32).tiny:
            return False
        channel = QuantParams(np.asarray(scale), np.asarray(zero_point), params.dtype)
        if not np.array_equal(quantize(dequantize(codes, channel), channel), codes):
            return False
    return True


def _along_axis(params: QuantParams, rank: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale and zero point shaped to broadcast over a tensor of this rank."""
    if params.axis is None or params.scale.ndim == 0:
        return params.scale, params.zero_point
    shape = [1] * rank
    shape[params.axis] = -1
    return params.scale.reshape(shape), params.zero_point.reshape(shape)


def _to_codes(value: NDArray[Any], zero_point: NDArray[Any], dtype: CodeType) -> NDArray[Any]:
    """Clamps in float before the conversion, as the C kernels do; NaN ends at the low end."""
    info = np.iinfo(dtype)
    low = np.asarray(int(info.min) - zero_point.astype(np.int64), np.float64)
    high = np.asarray(int(info.max) - zero_point.astype(np.int64), np.float64)
    value = np.where(np.isnan(value), low, value)
    clamped = np.clip(np.rint(value).astype(np.float64), low, high)
    codes: NDArray[Any] = (clamped.astype(np.int64) + zero_point).astype(dtype)
    return codes
