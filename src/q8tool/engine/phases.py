"""ConvTranspose by phases: each place in a cell as wide as the stride is a channel of its own.

    x [N, H, W, C] -> convolution -> [N, H, W, SH * SW * OC] -> places -> [N, H * SH, W * SW, OC]

Places that lie apart by the stride see the same weights, a few of the kernel's: a kernel of 4 at
stride 2 is four kernels of 2. Nothing is multiplied with the zeros between spread values.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.lowering import Lowering
from q8tool.engine.tensors import Tensor, contiguous_strides
from q8tool.engine.windows import Window

__all__ = ["Phases", "phases_of"]

Array = NDArray[Any]


class _Side(NamedTuple):
    """One dimension; begin: how many values of the result's beginning are cut off."""

    kernel: int
    stride: int
    begin: int

    @property
    def last_tap(self) -> int:
        """How many steps of the stride the furthest source lies before a place."""
        return (self.kernel - 1 - self.begin) // self.stride

    def weights(self) -> Array:
        """[stride, taps]: which value of the kernel each phase has at each tap; -1: none."""
        first_tap = -((self.stride - 1 + self.begin) // self.stride)
        taps = np.arange(self.last_tap, first_tap - 1, -1)
        found = self.stride * taps + np.arange(self.stride)[:, None] + self.begin
        return np.where((found >= 0) & (found < self.kernel), found, -1)


class Phases:
    """How a transposed convolution over pictures becomes a plain one; height, then width."""

    def __init__(self, sides: tuple[_Side, _Side]) -> None:
        self._sides = sides

    @property
    def count(self) -> int:
        """Phases, each with all output channels."""
        return self._sides[0].stride * self._sides[1].stride

    def window(self) -> Window:
        """Of the plain convolution."""
        rows, columns = (side.weights().shape[1] for side in self._sides)
        pads = self._sides[0].last_tap, self._sides[1].last_tap
        return Window((rows, columns), (1, 1), (1, 1), (*pads, 0, 0))

    def arranged(self, weights: Array) -> Array:
        """(C, OC, W) or (C, OC, H, W) -> [phases * OC, taps, taps, C]; 0 where there is none."""
        picture = weights if weights.ndim == 4 else weights[:, :, None, :]
        padded = np.pad(picture, ((0, 0), (0, 0), (0, 1), (0, 1)))
        rows, columns = (side.weights() for side in self._sides)
        found = padded[:, :, rows[:, None, :, None], columns[None, :, None, :]]
        channels, outputs, *_ = found.shape
        ordered = found.transpose(2, 3, 1, 4, 5, 0)
        return np.ascontiguousarray(
            ordered.reshape(self.count * outputs, rows.shape[1], columns.shape[1], channels)
        )

    def shape(self, y: Tensor) -> tuple[int, ...]:
        """What the plain convolution gives for a result y [N, H, W, OC]."""
        n, h, w, channels = y.shape
        return n, h // self._sides[0].stride, w // self._sides[1].stride, self.count * channels

    def lay_out(self, lowering: Lowering, x: Tensor, y: Tensor) -> None:
        """Puts the phases where they belong."""
        n, h, w, channels = y.shape
        tall, wide = (side.stride for side in self._sides)
        steps = contiguous_strides((n, h // tall, w // wide, tall, wide, channels))
        dims = (n, h // tall, tall, w // wide, wide, channels)
        order = (0, 1, 3, 2, 4, 5)
        lowering.copy(x, y, dims, [steps[axis] for axis in order], contiguous_strides(dims))


def phases_of(window: Window, pads: tuple[int, int], size: tuple[int, ...]) -> Phases | None:
    """The phases of a transposed window; None where they would not pay, or do not fit the result.

    pads  before the spread picture, for the turned kernel
    size  of the result, one or two dimensions
    """
    strides = window.stride
    wide = size if len(size) == len(strides) else (1, *size)
    remainders = [extent % stride for extent, stride in zip(wide, strides, strict=True)]
    is_plain = strides == (1, 1) or window.dilation != (1, 1)
    has_gaps = window.kernel[0] < strides[0] or window.kernel[1] < strides[1]
    if is_plain or has_gaps or any(remainders):
        return None
    sides = [
        _Side(kernel, stride, kernel - 1 - pad)
        for kernel, stride, pad in zip(window.kernel, strides, pads, strict=True)
    ]
    return Phases((sides[0], sides[1]))
