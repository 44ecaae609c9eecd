"""Windows over pictures on the host: AveragePool, MaxPool, LpPool; GlobalLpPool and MaxRoiPool.

A tap is one place of the window. Each adds a slice of the picture to a slice of the result, so that
nothing is padded and taps that no window has inside of the picture cost nothing: a window may be as
large as a file says. onnx.reference pads, and goes value by value where steps are not 1; its LpPool
takes the mean of what a window holds inside of the picture for the mean of all of it.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.ops.padding import same_pads

__all__ = ["AveragePool", "GlobalLpPool", "LpPool", "MaxPool", "MaxRoiPool"]

Array = NDArray[Any]


class AveragePool(OpRun):
    """The mean of each window over (N, C, ...), as far as the picture or its padding goes."""

    def _run(
        self, x: Array, count_include_pad: int | None = None, **attributes: Any
    ) -> tuple[Array, ...]:
        windows = _Windows(x.shape[2:], **attributes)
        counts = np.maximum(windows.counts(bool(count_include_pad)), 1)
        return ((windows.sums(x.astype(np.float64)) / counts).astype(x.dtype),)


class MaxPool(OpRun):
    """The greatest value of each window over (N, C, ...) and, if asked for, its place in x.

    A window that holds padding only has the least value of the type.
    """

    def _run(
        self, x: Array, storage_order: int | None = None, **attributes: Any
    ) -> tuple[Array, ...]:
        windows = _Windows(x.shape[2:], **attributes)
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        greatest: Array = np.full((*x.shape[:2], *windows.results), least, x.dtype)
        if len(self.output) == 1:
            for to, values in windows.taps():
                np.maximum(greatest[to], x[values], out=greatest[to])
            return (greatest,)
        order: Literal["F", "C"] = "F" if storage_order else "C"
        inner = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:], order=order)
        planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * inner.ndim)
        place = planes * inner.size + inner
        found: Array = np.zeros(greatest.shape, np.int64)
        for to, values in windows.taps():
            is_greater = x[values] > greatest[to]
            np.copyto(greatest[to], x[values], where=is_greater)
            np.copyto(found[to], place[values], where=is_greater)
        return greatest, found


class GlobalLpPool(OpRun):
    """(sum |x| ^ p) ^ (1 / p) of each channel's picture: (N, C, ...) -> (N, C, 1, ...)."""

    def _run(self, x: Array, p: float | None = None) -> tuple[Array, ...]:
        power = p or 2
        sums = np.sum(np.abs(x) ** power, axis=tuple(range(2, x.ndim)), keepdims=True)
        return ((sums ** (1 / power)).astype(x.dtype),)


class LpPool(OpRun):
    """(sum |x| ^ p) ^ (1 / p) of windows over (N, C, ...); padding counts as 0."""

    def _run(self, x: Array, p: float | None = None, **attributes: Any) -> tuple[Array, ...]:
        power = p or 2
        sums = _Windows(x.shape[2:], **attributes).sums(np.abs(x) ** power)
        return ((sums ** (1 / power)).astype(x.dtype),)


class _Windows:
    """The windows of a pooling over (N, C, sizes...).

    results  how many there are in each dimension
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
        self.results = tuple(side.results for side in self._sides)

    def taps(self) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Of each tap inside of the picture the windows that have it, and their values of it."""
        every = (slice(None), slice(None))
        for sides in itertools.product(*(list(side.taps()) for side in self._sides)):
            yield (*every, *(to for to, _ in sides)), (*every, *(values for _, values in sides))

    def sums(self, x: Array) -> Array:
        """Of what each window holds of x (N, C, ...), padding being 0."""
        sums: Array = np.zeros((*x.shape[:2], *self.results), x.dtype)
        for to, values in self.taps():
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
        self._size, self._pads = size, pads
        self._kernel, self._stride, self._dilation = kernel, stride, dilation

    def taps(self) -> Iterator[tuple[slice, slice]]:
        """Of each tap inside of the picture the windows that have it, and where its values lie."""
        stride, dilation = self._stride, self._dilation
        # Window w has tap t at w * stride + t * dilation - before.
        least = -(-(self._pads[0] - (self.results - 1) * stride) // dilation)
        for tap in range(max(0, least), self._kernel):
            at = tap * dilation - self._pads[0]
            if at >= self._size:
                return
            first = max(0, -(at // stride))
            end = min(self.results, (self._size - 1 - at) // stride + 1)
            if first < end:
                place = at + first * stride
                yield slice(first, end), slice(place, at + (end - 1) * stride + 1, stride)

    def counts(self, with_pads: bool) -> Array:
        """How many taps each window has inside of the picture, or of the padded one."""
        starts = np.arange(self.results) * self._stride - self._pads[0]
        low = -self._pads[0] if with_pads else 0
        high = self._size + (self._pads[1] if with_pads else 0)
        first = np.maximum(0, -((starts - low) // self._dilation))
        end = np.minimum(self._kernel, -((starts - high) // self._dilation))
        counts: Array = np.maximum(end - first, 0)
        return counts


class MaxRoiPool(OpRun):
    """X (N, C, H, W), rois (R, 5) of picture x1 y1 x2 y2 -> (R, C, height, width) of maxima.

    Corners are rounded to pixels, both included; a bin without pixels is 0. Source: Girshick, Fast
    R-CNN, ICCV 2015 (arXiv:1504.08083), section 2.1, as onnxruntime has it.
    """

    def _run(
        self,
        x: Array,
        rois: Array,
        pooled_shape: Sequence[int] = (),
        spatial_scale: float | None = None,
    ) -> tuple[Array, ...]:
        scale = 1.0 if spatial_scale is None else spatial_scale
        result = np.zeros((len(rois), x.shape[1], *pooled_shape), x.dtype)
        for region, (picture, *corners) in enumerate(rois.tolist()):
            left, top, right, bottom = (_rounded(corner * scale) for corner in corners)
            rows = _bins(top, bottom, pooled_shape[0], x.shape[2])
            columns = _bins(left, right, pooled_shape[1], x.shape[3])
            for (i, lines), (j, pixels) in itertools.product(enumerate(rows), enumerate(columns)):
                held = x[int(picture)][:, lines, pixels]
                if held.size:
                    result[region, :, i, j] = held.max(axis=(1, 2))
        return (result,)


def _rounded(number: float) -> int:
    """To the nearest, halves away from 0."""
    return int(np.copysign(np.floor(abs(number) + 0.5), number))


def _bins(first: int, last: int, count: int, size: int) -> list[slice]:
    """The pixels of each bin, as far as the picture goes."""
    width = max(last - first + 1, 1) / count
    starts = (int(np.floor(i * width)) + first for i in range(count))
    ends = (int(np.ceil((i + 1) * width)) + first for i in range(count))
    return [slice(*np.clip(place, 0, size)) for place in zip(starts, ends, strict=True)]
