"""LpPool, GlobalLpPool and MaxRoiPool on the host.

onnx.reference has an LpPool only, which takes the mean of what a window holds inside of the picture
for the mean of all of it.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.ops.padding import same_pads

__all__ = ["GlobalLpPool", "LpPool", "MaxRoiPool"]

Array = NDArray[Any]


class GlobalLpPool(OpRun):
    """(sum |x| ^ p) ^ (1 / p) of each channel's picture: (N, C, ...) -> (N, C, 1, ...)."""

    def _run(self, x: Array, p: float | None = None) -> tuple[Array, ...]:
        power = p or 2
        sums = np.sum(np.abs(x) ** power, axis=tuple(range(2, x.ndim)), keepdims=True)
        return ((sums ** (1 / power)).astype(x.dtype),)


class LpPool(OpRun):
    """(sum |x| ^ p) ^ (1 / p) of windows over (N, C, ...); padding counts as 0."""

    def _run(
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        p: float | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array, ...]:
        rank, power = len(kernel_shape), p or 2
        ones = [1] * rank
        given = pads if pads and auto_pad != "VALID" else [0] * (2 * rank)
        sides = []
        for window in zip(
            x.shape[2:], kernel_shape, strides or ones, dilations or ones,
            zip(given[:rank], given[rank:], strict=True), strict=True,
        ):  # fmt: skip
            size, kernel, stride, dilation, around = window
            if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
                around = same_pads(auto_pad, size, kernel, stride, dilation)
            sides.append(_Side(size, kernel, stride, dilation, around, is_ceiled=bool(ceil_mode)))
        margins = [(0, 0), (0, 0), *(side.margin for side in sides)]
        powers: Array = np.pad(np.abs(x) ** power, margins)
        sums: Array = np.zeros((*x.shape[:2], *(side.results for side in sides)), powers.dtype)
        for taps in itertools.product(*(range(size) for size in kernel_shape)):
            places = tuple(side.places(tap) for side, tap in zip(sides, taps, strict=True))
            sums += powers[(slice(None), slice(None), *places)]
        return ((sums ** (1 / power)).astype(x.dtype),)


class _Side:
    """One dimension of a window over a picture."""

    def __init__(
        self, size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int],
        *, is_ceiled: bool,
    ) -> None:  # fmt: skip
        reach = (kernel - 1) * dilation + 1
        rest = size + sum(pads) - reach
        self.results = max(0, (-(-rest // stride) if is_ceiled else rest // stride) + 1)
        if is_ceiled and (self.results - 1) * stride >= size + pads[0]:
            self.results -= 1  # a window that begins behind the picture
        self._stride, self._dilation = stride, dilation
        after = (self.results - 1) * stride + reach - size - pads[0]
        self.margin = pads[0], max(pads[1], after)

    def places(self, tap: int) -> slice:
        """Where the windows' values of one tap lie."""
        first = tap * self._dilation
        return slice(first, first + (self.results - 1) * self._stride + 1, self._stride)


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
