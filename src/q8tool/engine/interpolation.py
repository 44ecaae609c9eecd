"""Interpolation along one axis of Resize: which entries make each result, and with what weights.

Coordinates, weights and edges follow the ONNX Resize specification: places says where a result
lies in the source, rounded or taps what becomes of that.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.values import Declined

__all__ = ["AxisRule", "Taps", "places", "rounded", "taps"]

Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class AxisRule(NamedTuple):
    """How one axis is resized.

    size, out        entries before and after
    scale            out / size as the node states it
    coordinates      coordinate_transformation_mode
    mode             "nearest", "linear" or "cubic";  nearest: nearest_mode
    start, end       of the region of interest, as shares of the axis: "tf_crop_and_resize" only
    cubic_a          cubic_coeff_a
    antialias        True: where the axis shrinks, weights reach over what one result stands for
    exclude_outside  True: entries beyond the edge count nothing, instead of as the edge
    beyond           what a result outside the region's source is: "tf_crop_and_resize" only
    """

    size: int
    out: int
    scale: float
    coordinates: str
    mode: str
    nearest: str
    start: float = 0.0
    end: float = 1.0
    cubic_a: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False
    beyond: float = 0.0

    @property
    def is_identity(self) -> bool:
        """True if every result is the entry of the same number."""
        is_whole = self.coordinates != "tf_crop_and_resize" or (self.start, self.end) == (0.0, 1.0)
        return self.size == self.out and abs(self.scale - 1) < 1e-6 and is_whole


class Taps(NamedTuple):
    """y[i] = offset[i] + sum of weights[i] * x[indices[i]]: indices and weights are [out, taps]."""

    indices: NDArray[np.int32]
    weights: NDArray[np.float32]
    offset: NDArray[np.float32] | None


def places(rule: AxisRule) -> NDArray[np.float64]:
    """Where each result lies in the source. Raises Declined for unknown coordinates."""
    i = np.arange(rule.out, dtype=np.float64)
    size, out, scale = rule.size, rule.out, rule.scale
    # onnx.reference takes scale * size, which need not be a whole number, for the new length.
    length = out if abs(scale * size - out) < 1e-3 else scale * size
    if rule.coordinates == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if rule.coordinates == "asymmetric":
        return i / scale
    if rule.coordinates == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if out > 1 else np.zeros(1)
    if rule.coordinates == "align_corners":
        return i * (size - 1) / (length - 1) if out > 1 else np.zeros(1)
    if rule.coordinates == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if rule.coordinates == "half_pixel_symmetric":
        adjustment = out / (scale * size)
        return size / 2 * (1 - adjustment) + (i + 0.5) / scale - 0.5
    if rule.coordinates == "tf_crop_and_resize":
        reach = (rule.end - rule.start) * (size - 1)
        steps = i * reach / (length - 1) if out > 1 else np.full(out, reach / 2)
        return rule.start * (size - 1) + steps
    raise Declined(f"coordinates '{rule.coordinates}' have no C kernel")


def rounded(place: NDArray[np.float64], nearest: str) -> NDArray[np.float64]:
    """The entries next to the places, by nearest_mode."""
    if nearest == "floor":
        return np.floor(place)
    if nearest == "ceil":
        return np.ceil(place)
    if nearest == "round_prefer_ceil":
        return np.floor(place + 0.5)
    return np.ceil(place - 0.5)


def taps(rule: AxisRule) -> Taps:
    """Entries and weights of every result. Raises Declined for modes that nobody knows."""
    place = places(rule)
    if rule.mode == "nearest":
        indices = rounded(place, rule.nearest)[:, None]
        weights = np.ones_like(indices)
    else:
        # The left neighbour, which is one before the place where that is an entry itself.
        left = np.ceil(place) - 1
        steps, shrink = _steps(rule)
        indices = left[:, None] + steps
        weights = _kernel(rule)((indices - place[:, None]) * shrink)
        if shrink < 1:
            weights /= weights.sum(axis=1, keepdims=True)
    if rule.exclude_outside:
        weights = np.where((indices < 0) | (indices >= rule.size), 0.0, weights)
        total = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(total == 0, 1.0, total)
    offset = None
    if rule.coordinates == "tf_crop_and_resize":
        is_beyond = (place < 0) | (place > rule.size - 1)
        weights = np.where(is_beyond[:, None], 0.0, weights)
        offset = np.where(is_beyond, rule.beyond, 0.0).astype(np.float32)
    clipped = np.clip(indices, 0, rule.size - 1).astype(np.int32)
    return Taps(clipped, weights.astype(np.float32), offset)


def _steps(rule: AxisRule) -> tuple[NDArray[np.float64], float]:
    """The taps as distances from the left neighbour, and how much the kernel is stretched."""
    half = 1 if rule.mode == "linear" else 2
    shrink = min(rule.scale, 1.0) if rule.antialias else 1.0
    first = int(np.floor(-half / shrink)) + 1
    return np.arange(first, 2 - first, dtype=np.float64), shrink


def _kernel(rule: AxisRule) -> Kernel:
    if rule.mode == "linear":
        return _triangle
    if rule.mode != "cubic":
        raise Declined(f"interpolation '{rule.mode}' has no C kernel")
    return lambda distance: _cubic(distance, rule.cubic_a)


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(1 - np.abs(distance), 0.0), np.float64)


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys, Cubic convolution interpolation for digital image processing, 1981, equation 4."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
