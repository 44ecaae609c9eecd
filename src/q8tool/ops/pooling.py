"""Windows over pictures on the host: AveragePool, MaxPool, LpPool; GlobalLpPool and MaxRoiPool.

onnx.reference pads, and goes value by value where steps are not 1; its LpPool takes the mean of
what a window holds inside of the picture for the mean of all of it.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.ops.windows import Windows

__all__ = ["AveragePool", "GlobalLpPool", "LpPool", "MaxPool", "MaxRoiPool"]

Array = NDArray[Any]


class AveragePool(OpRun):
    """The mean of each window over (N, C, ...), as far as the picture or its padding goes."""

    def _run(
        self, x: Array, count_include_pad: int | None = None, **attributes: Any
    ) -> tuple[Array, ...]:
        windows = Windows(x.shape[2:], **attributes)
        counts = np.maximum(windows.counts(bool(count_include_pad)), 1)
        return ((windows.sums(x.astype(np.float64)) / counts).astype(x.dtype),)


class MaxPool(OpRun):
    """The greatest value of each window over (N, C, ...) and, if asked for, its place in x.

    A window that holds padding only has the least value of the type.
    """

    def _run(
        self, x: Array, storage_order: int | None = None, **attributes: Any
    ) -> tuple[Array, ...]:
        windows = Windows(x.shape[2:], **attributes)
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        greatest: Array = np.full((*x.shape[:2], *windows.results), least, x.dtype)
        if len(self.output) == 1:
            for _, to, values in windows.taps():
                np.maximum(greatest[to], x[values], out=greatest[to])
            return (greatest,)
        order: Literal["F", "C"] = "F" if storage_order else "C"
        inner = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:], order=order)
        planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * inner.ndim)
        place = planes * inner.size + inner
        found: Array = np.zeros(greatest.shape, np.int64)
        for _, to, values in windows.taps():
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
        sums = Windows(x.shape[2:], **attributes).sums(np.abs(x) ** power)
        return ((sums ** (1 / power)).astype(x.dtype),)


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
