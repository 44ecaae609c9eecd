"""ConvTranspose and Col2Im on the host: windows that are added to the picture they were cut from.

Value m of a line, multiplied by weight k, comes to place m * stride + k * dilation - begin. So all
places of one k are a slice of the picture, and all places of one m too; the loop runs over
whichever are fewer. onnx.reference walks value by value, and mixes up groups.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.ops.padding import split_padding

__all__ = ["Col2Im", "ConvTranspose"]

Array = NDArray[Any]
Index = tuple[Any, ...]

# The dimensions before those of the picture.
_LEADING: Index = (...,)


class _Line(NamedTuple):
    """One dimension: `windows` windows of `kernel` values on a picture of `size` values."""

    windows: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    size: int

    @property
    def reach(self) -> int:
        """How many places a window spans."""
        return (self.kernel - 1) * self.dilation + 1

    def of_value(self, place: int) -> tuple[slice, slice]:
        """Which windows have this value inside of the picture, and where."""
        return _inside(place * self.dilation - self.begin, self.stride, self.windows, self.size)

    def of_window(self, place: int) -> tuple[slice, slice]:
        """Which values of this window are inside of the picture, and where."""
        return _inside(place * self.stride - self.begin, self.dilation, self.kernel, self.size)


def _inside(first: int, step: int, count: int, size: int) -> tuple[slice, slice]:
    """Which of `count` places, `step` apart from `first` on, a line has; and these places."""
    start = max(0, -(first // step))
    stop = max(start, min(count, -((first - size) // step)))
    return slice(start, stop), slice(first + start * step, first + stop * step, step)


def _is_by_values(lines: Sequence[_Line]) -> bool:
    """Whether a window has fewer values than there are windows."""
    return math.prod(line.kernel for line in lines) <= math.prod(line.windows for line in lines)


def _by_values(lines: Sequence[_Line]) -> Iterator[tuple[Index, Index, Index]]:
    """(place in the window, the windows that have it inside of the picture, where they do)."""
    return _combined([[line.of_value(k) for k in range(line.kernel)] for line in lines])


def _by_windows(lines: Sequence[_Line]) -> Iterator[tuple[Index, Index, Index]]:
    """(number of the window, its places inside of the picture, where they are)."""
    return _combined([[line.of_window(m) for m in range(line.windows)] for line in lines])


def _combined(
    lines: Sequence[Sequence[tuple[slice, slice]]],
) -> Iterator[tuple[Index, Index, Index]]:
    """Every combination of what is not empty."""
    inside = [
        [(place, *found) for place, found in enumerate(line) if found[0].start < found[0].stop]
        for line in lines
    ]
    for chosen in itertools.product(*inside):
        places, few, there = zip(*chosen, strict=True)
        yield places, few, there


class ConvTranspose(OpRun):
    """Float sums of all opsets, any number of dimensions and groups."""

    def _run(
        self, x: Array, w: Array, bias: Array | None = None, **attributes: Any
    ) -> tuple[Array]:
        group = attributes.get("group") or 1
        lines = _lines_of_transposed(x.shape[2:], w.shape[2:], attributes)
        wide = np.result_type(x.dtype, np.float32)
        given = x.astype(wide).reshape(x.shape[0], group, -1, *x.shape[2:])
        weights = w.astype(wide).reshape(group, given.shape[2], *w.shape[1:])
        size = [line.size for line in lines]
        y = np.zeros((x.shape[0], group, w.shape[1], *size), wide)
        if _is_by_values(lines):
            for place, windows, places in _by_values(lines):
                y[_LEADING + places] += _one_weight(
                    weights[_LEADING + place], given[_LEADING + windows]
                )
        else:
            for place, values, places in _by_windows(lines):
                y[_LEADING + places] += _one_value(
                    given[_LEADING + place], weights[_LEADING + values]
                )
        y = y.reshape(x.shape[0], -1, *size)
        if bias is not None:
            y += bias.astype(wide).reshape(-1, *[1] * len(size))
        return (y.astype(x.dtype),)


def _one_weight(weight: Array, x: Array) -> Array:
    """weight (G, C, OC) times x (N, G, C, ...) -> (N, G, OC, ...)."""
    columns: Array = np.matmul(weight.swapaxes(1, 2), x.reshape(*x.shape[:3], -1))
    return columns.reshape(*columns.shape[:3], *x.shape[3:])


def _one_value(x: Array, weights: Array) -> Array:
    """x (N, G, C) times weights (G, C, OC, ...) -> (N, G, OC, ...)."""
    rows: Array = np.matmul(x.swapaxes(0, 1), weights.reshape(*weights.shape[:2], -1))
    return rows.swapaxes(0, 1).reshape(*x.shape[:2], *weights.shape[2:])


def _lines_of_transposed(
    counts: Sequence[int], kernel: Sequence[int], attributes: dict[str, Any]
) -> list[_Line]:
    """The dimensions of a ConvTranspose (its attributes: ONNX ConvTranspose)."""
    extra = attributes.get("output_padding") or [0] * len(counts)
    auto_pad = attributes.get("auto_pad") or "NOTSET"
    sizes = attributes.get("output_shape")
    if auto_pad == "VALID":
        attributes = {**attributes, "pads": None}
    lines = []
    for d, (line, after) in enumerate(_unsized_lines(kernel, attributes)):
        whole = line.stride * (counts[d] - 1) + extra[d] + line.reach
        if sizes or auto_pad.startswith("SAME"):
            size = sizes[d] if sizes else counts[d] * line.stride
            begin, _ = split_padding(auto_pad, max(0, whole - size))
        else:
            size, begin = whole - line.begin - after, line.begin
        if size < 0:
            raise ValueError("more padding than picture")
        lines.append(line._replace(windows=counts[d], begin=begin, size=size))
    return lines


def _unsized_lines(
    kernel: Sequence[int], attributes: dict[str, Any]
) -> Iterator[tuple[_Line, int]]:
    """Dimensions without count and size, each with the padding behind it."""
    rank = len(kernel)
    strides = attributes.get("strides") or [1] * rank
    dilations = attributes.get("dilations") or [1] * rank
    pads = attributes.get("pads") or [0] * 2 * rank
    if min(*strides, *dilations, 1) < 1:
        raise ValueError("a stride or a dilation below 1")
    before, after = pads[:rank], pads[rank:]
    every = zip(kernel, strides, dilations, before, after, strict=True)
    for values, stride, dilation, begin, end in every:
        yield _Line(0, values, stride, dilation, begin, 0), end


def _lines_of_columns(
    sizes: Sequence[int], kernel: Sequence[int], attributes: dict[str, Any]
) -> Iterator[_Line]:
    """The dimensions of a Col2Im (its attributes: ONNX Col2Im)."""
    for size, (line, after) in zip(sizes, _unsized_lines(kernel, attributes), strict=True):
        count = (line.begin + size + after - line.reach) // line.stride + 1
        yield line._replace(windows=count, size=size)


class Col2Im(OpRun):
    """The columns of windows (N, C * values, windows), added up to pictures (N, C, ...)."""

    def _run(
        self, columns: Array, image_shape: Array, block_shape: Array, **attributes: Any
    ) -> tuple[Array]:
        size, kernel = image_shape.tolist(), block_shape.tolist()
        lines = list(_lines_of_columns(size, kernel, attributes))
        batch, channels = len(columns), columns.shape[1] // math.prod(kernel)
        counts = [line.windows for line in lines]
        given = columns.reshape(batch, channels, *kernel, *counts)
        y = np.zeros((batch, channels, *size), columns.dtype)
        first: Index = (slice(None), slice(None))
        if _is_by_values(lines):
            for place, windows, places in _by_values(lines):
                y[_LEADING + places] += given[first + place + windows]
        else:
            for place, values, places in _by_windows(lines):
                y[_LEADING + places] += given[first + values + place]
        return (y,)
