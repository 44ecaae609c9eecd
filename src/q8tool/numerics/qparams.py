"""Quantization parameters: from a range, or from weights, to scale and zero point.

real = scale * (code - zero_point). The rules are those of docs/numerics.md: a range always
contains 0, and 0.0 is an exact code. Activations are uint8 and asymmetric, weights int8 and
symmetric per output channel, biases int32 at the product of the scales.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

CodeType = Literal["uint8", "int8", "uint16", "int16", "int32"]

# The smallest scale whose reciprocal-free arithmetic stays among normal float32 numbers.
SMALLEST_SCALE = np.float32(2.0**-100)
# A bias may use this much of int32; the rest is left to the products that are added to it.
BIAS_LIMIT = 2.0**30


class QuantParams(NamedTuple):
    """How the codes of one tensor stand for real numbers.

    scale       float32, shape () or (channels,), > 0; real units per code
    zero_point  int32, same shape, within dtype's range: the code of 0.0
    dtype       of the codes
    axis        the channel axis, None if one scale serves the whole tensor
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    dtype: CodeType = "uint8"
    axis: int | None = None

    @property
    def low_code(self) -> int:
        """The lowest code that dtype holds."""
        return int(np.iinfo(self.dtype).min)

    @property
    def high_code(self) -> int:
        """The highest code that dtype holds."""
        return int(np.iinfo(self.dtype).max)

    def range(self) -> tuple[float, float]:
        """The lowest and highest real value that any channel can represent."""
        scale, zero_point = self.scale.astype(np.float64), self.zero_point.astype(np.float64)
        low = scale * (self.low_code - zero_point)
        high = scale * (self.high_code - zero_point)
        return float(low.min()), float(high.max())

    def same_as(self, other: "QuantParams") -> bool:
        """True if both give every code the same meaning, bit for bit."""
        return (
            self.dtype == other.dtype
            and self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


def from_range(low: float, high: float, dtype: CodeType = "uint8") -> QuantParams:
    """Parameters whose codes cover low..high, widened to contain 0.

    The zero point is the rounded code of 0.0, so that 0.0 is exact and both ends move by at most
    half a step. An empty range (0..0) gets scale 1. Raises ValueError for NaN, infinite or
    inverted ends. Source: gemmlowp's quantization document, nudged zero point; ONNX
    DynamicQuantizeLinear uses the same formula.

    >>> p = from_range(-10.0, 30.0)
    >>> round(float(p.scale), 4), int(p.zero_point)
    (0.1569, 64)
    """
    if not (np.isfinite(low) and np.isfinite(high)) or low > high:
        raise ValueError(f"not a range: {low}..{high}")
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    info = np.iinfo(dtype)
    scale = np.float32((high - low) / (int(info.max) - int(info.min)))
    if scale == 0.0:
        scale = np.float32(1.0)
    scale = max(scale, SMALLEST_SCALE)
    code_of_zero = np.rint(np.float64(int(info.min)) - low / np.float64(scale))
    zero_point = np.int32(np.clip(code_of_zero, info.min, info.max))
    return QuantParams(np.asarray(scale, np.float32), np.asarray(zero_point, np.int32), dtype)


def weight_params(weights: NDArray[np.floating], axis: int | None) -> QuantParams:
    """Symmetric int8 parameters of weights: scale = max |w| / 127, zero point 0.

    axis  the output-channel axis, or None for one scale. A channel of zeros gets scale 1.
    Raises ValueError if a weight is NaN or infinite.
    """
    others = None if axis is None else tuple(d for d in range(weights.ndim) if d != axis)
    largest = np.abs(weights).max(axis=others, initial=0.0).astype(np.float32)
    if not np.isfinite(largest).all():
        raise ValueError("weights hold NaN or infinity")
    scale = np.asarray(largest / np.float32(127.0), np.float32)
    scale = np.where(scale == 0.0, np.float32(1.0), np.maximum(scale, SMALLEST_SCALE))
    scale = np.asarray(scale, np.float32)
    return QuantParams(scale, np.zeros(scale.shape, np.int32), "int8", axis)


def bias_params(x: QuantParams, weights: QuantParams) -> QuantParams:
    """Parameters of an int32 bias that is added to the products of x and weights."""
    scale = np.asarray(x.scale * weights.scale, np.float32)
    axis = 0 if scale.ndim else None
    return QuantParams(scale, np.zeros(scale.shape, np.int32), "int32", axis)


def widened_for_bias(
    weights: QuantParams, x: QuantParams, bias: NDArray[np.floating]
) -> QuantParams:
    """Weight parameters whose scale is raised where the bias would leave int32.

    A channel with tiny weights and a large bias has a product scale in which the bias overflows;
    its weights give up precision that they do not use. bias: (channels,), real units.
    """
    needed = np.abs(bias).astype(np.float64) / (BIAS_LIMIT * np.float64(x.scale))
    if weights.scale.ndim == 0:
        needed = needed.max(initial=0.0)
    scale = np.asarray(np.maximum(weights.scale, needed), np.float32)
    return QuantParams(scale, weights.zero_point, weights.dtype, weights.axis)
