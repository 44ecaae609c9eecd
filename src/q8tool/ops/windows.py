"""Windows over pictures on the host, for pooling and convolution.

A tap is one place of the window. Each adds something of a slice of the picture to a slice of the
result, so that nothing is padded and taps that no window has inside of the picture cost nothing: a
window, its padding and its steps may be as large as a file says.
"""

import itertools
from collections.abc import Iterator, Sequence
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.ops.padding import same_pads

__all__ = ["Tap", "Windows"]

Array = NDArray[Any]
Part = tuple[EllipsisType | slice, ...]
Tap = tuple[tuple[int, ...], Part, Part]


class Windows:
    """The windows of a pooling or convolution over (N, C, sizes...).

    results  how many there are in each dimension
    pads     before and after each dimension
    steps    from one window to the next, and from one of its taps to the next
    padded   sizes with their padding
    """

    def __init__(
        self,
        sizes: Sequence[int],
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> None:
        rank = len(kernel_shape)
        ones = [1] * rank
        given = pads if pads and auto_pad != "VALID" else [0] * (2 * rank)
        self._sides = []
        for side in zip(
            sizes, kernel_shape, strides or ones, dilations or ones,
            zip(given[:rank], given[rank:], strict=True), strict=True,
        ):  # fmt: skip
            size, kernel, stride, dilation, around = side
            if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
                around = same_pads(auto_pad, size, kernel, stride, dilation)
            self._sides.append(
                _Side(size, kernel, stride, dilation, around, is_ceiled=bool(ceil_mode))
            )
        self.steps = tuple(strides or ones), tuple(dilations or ones)
        self.results = tuple(side.results for side in self._sides)
        self.pads = [side.pads for side in self._sides]
        self.padded = tuple(side.padded for side in self._sides)

    def taps(self) -> Iterator[Tap]:
        """Of each tap inside of the picture its place, the windows that have it, their values."""
        for sides in itertools.product(*(list(side.taps()) for side in self._sides)):
            place, to, values = zip(*sides, strict=True)
            yield place, (..., *to), (..., *values)

    def sums(self, x: Array) -> Array:
        """Of what each window holds of x (N, C, ...), padding being 0."""
        sums: Array = np.zeros((*x.shape[:2], *self.results), x.dtype)
        for _, to, values in self.taps():
            sums[to] += x[values]
        return sums

    def counts(self, with_pads: bool) -> Array:
        """How many values each window has, those of the padding counted or not."""
        counts: Array = np.ones((), np.int64)
        for side in self._sides:
            counts = counts[..., np.newaxis] * side.counts(with_pads)
        return counts


class _Side:
    """One dimension of the windows over a picture."""

    def __init__(
        self, size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int],
        *, is_ceiled: bool,
    ) -> None:  # fmt: skip
        reach = (kernel - 1) * dilation + 1
        rest = size + sum(pads) - reach
        self.results = max(0, (-(-rest // stride) if is_ceiled else rest // stride) + 1)
        if is_ceiled and (self.results - 1) * stride >= size + pads[0]:
            self.results -= 1  # a window that begins behind the picture
        self.padded = size + sum(pads)
        self._size, self.pads = size, pads
        self._kernel, self._stride, self._dilation = kernel, stride, dilation

    def taps(self) -> Iterator[tuple[int, slice, slice]]:
        """Of each tap inside of the picture the windows that have it, and where its values lie."""
        stride, dilation = self._stride, self._dilation
        # Window w has tap t at w * stride + t * dilation - before.
        least = -(-(self.pads[0] - (self.results - 1) * stride) // dilation)
        for tap in range(max(0, least), self._kernel):
            at = tap * dilation - self.pads[0]
            if at >= self._size:
                return
            first = max(0, -(at // stride))
            end = min(self.results, (self._size - 1 - at) // stride + 1)
            if first < end:
                place = at + first * stride
                yield tap, slice(first, end), slice(place, at + (end - 1) * stride + 1, stride)

    def counts(self, with_pads: bool) -> Array:
        """How many taps each window has inside of the picture, or of the padded one."""
        starts = np.arange(self.results) * self._stride - self.pads[0]
        low = -self.pads[0] if with_pads else 0
        high = self._size + (self.pads[1] if with_pads else 0)
        first = np.maximum(0, -((starts - low) // self._dilation))
        end = np.minimum(self._kernel, -((starts - high) // self._dilation))
        counts: Array = np.maximum(end - first, 0)
        return counts
