"""Conv, ConvInteger and QLinearConv on the host: any number of dimensions, any group count.

onnx.reference rounds QLinearConv after adding the zero point, which is off by one at ties; and its
plain convolution copies every window of a dilated picture. Here integers are multiplied in
float64, which is exact up to 2^53 and has a matrix product behind it.
"""

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.numerics.rounding import requantize
from q8tool.ops.codes import code_type
from q8tool.ops.windows import Windows

__all__ = ["Conv", "ConvInteger", "QLinearConv", "convolve"]

Array = NDArray[Any]

# Bytes of padding and of windows behind each other, which one product multiplies all at once.
_MOST_COPIED = 64_000_000


def convolve(x: Array, w: Array, attributes: dict[str, Any]) -> Array:
    """Sum over windows: x (N, C, ...), w (OC, C / group, ...) -> (N, OC, ...), x's type.

    attributes  auto_pad, dilations, group, pads, strides as in ONNX Conv; None means the default
    """
    names = ("auto_pad", "dilations", "pads", "strides")
    windows = Windows(
        x.shape[2:], kernel_shape=w.shape[2:], **{name: attributes.get(name) for name in names}
    )
    group = attributes.get("group") or 1
    padded = x.shape[1] * math.prod(windows.padded)
    copied = math.prod(windows.results) * group * math.prod(w.shape[1:])
    if (padded + copied) * x.shape[0] * x.itemsize > _MOST_COPIED:
        return _tap_by_tap(x, w, windows, group)
    padded_x = np.pad(x, [(0, 0), (0, 0), *windows.pads])
    strides, dilations = windows.steps
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    views = sliding_window_view(padded_x, reach, axis=tuple(range(2, x.ndim)))
    steps = [slice(None, None, step) for step in (*strides, *dilations)]
    return _products_of_groups(views[(slice(None), slice(None), *steps)], w, group)


def _tap_by_tap(x: Array, w: Array, windows: Windows, group: int) -> Array:
    """A product for each place of the window: nothing is padded, and little copied."""
    batch, per_group = x.shape[0], w.shape[1]
    inputs = x.reshape(batch, group, per_group, *x.shape[2:])
    weights = w.reshape(group, -1, *w.shape[1:])
    shape = (batch, group, weights.shape[1], *windows.results)
    sums: Array = np.zeros(shape, np.result_type(x, w))
    for place, to, values in windows.taps():
        columns = inputs[values]
        region = columns.shape[3:]
        columns = columns.reshape(batch, group, per_group, -1)
        here: Any = (..., *place)
        factors = weights[here]
        product = factors * columns if per_group == 1 else np.matmul(factors, columns)
        sums[to] += product.reshape(batch, group, -1, *region)
    return sums.reshape(batch, -1, *windows.results)


def _products_of_groups(windows: Array, w: Array, group: int) -> Array:
    """windows (N, C, out..., kernel...) times w (OC, C / group, kernel...) -> (N, OC, out...)."""
    spatial = w.ndim - 2
    batch, out = windows.shape[0], windows.shape[2 : 2 + spatial]
    per_group = windows.reshape(batch, group, w.shape[1], *windows.shape[2:])
    # (group, N, out..., C / group, kernel...), then one matrix product per group
    order = (1, 0, *range(3, 3 + spatial), 2, *range(3 + spatial, 3 + 2 * spatial))
    length = int(np.prod(w.shape[1:]))
    rows = per_group.transpose(order).reshape(group, -1, length)
    columns = w.reshape(group, -1, length).transpose(0, 2, 1)
    sums = np.matmul(rows, columns).reshape(group, batch, *out, -1)
    channels_first = np.moveaxis(np.moveaxis(sums, 0, -2).reshape(batch, *out, -1), -1, 1)
    return np.ascontiguousarray(channels_first)


def _exact_sums(
    x: Array, x_zero_point: Array | None, w: Array, w_zero_point: Array | None, attributes: Any
) -> NDArray[np.int32]:
    """int32 sums of (x - x_zero_point) * (w - w_zero_point); outside the picture x counts as 0."""
    centred = x.astype(np.float64) - (
        0 if x_zero_point is None else x_zero_point.astype(np.float64)
    )
    weights = w.astype(np.float64)
    if w_zero_point is not None:
        per_channel = w_zero_point.astype(np.float64).reshape(-1, *[1] * (w.ndim - 1))
        weights = weights - per_channel
    return convolve(centred, weights, attributes).astype(np.int64).astype(np.int32)


def _along_channels(values: Array, rank: int) -> Array:
    """One value, or one per channel, shaped for (N, C, ...)."""
    return values.reshape(-1, *[1] * (rank - 2)) if values.size > 1 else values.reshape(())


class Conv(OpRun):
    """Float convolution, all opsets."""

    def _run(
        self, x: Array, w: Array, bias: Array | None = None, **attributes: Any
    ) -> tuple[Array]:
        y = convolve(x, w, attributes)
        return ((y if bias is None else y + _along_channels(bias, x.ndim)).astype(x.dtype),)


class ConvInteger(OpRun):
    """Eight-bit codes to int32 sums."""

    def _run(
        self,
        x: Array,
        w: Array,
        x_zero_point: Array | None = None,
        w_zero_point: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array]:
        return (_exact_sums(x, x_zero_point, w, w_zero_point, attributes),)


class QLinearConv(OpRun):
    """Eight-bit codes to eight-bit codes, the bias in units of x_scale * w_scale."""

    def _run(
        self,
        x: Array,
        x_scale: Array,
        x_zero_point: Array,
        w: Array,
        w_scale: Array,
        w_zero_point: Array,
        y_scale: Array,
        y_zero_point: Array,
        bias: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array]:
        sums = _exact_sums(x, x_zero_point, w, w_zero_point, attributes)
        if bias is not None:
            sums = sums + _along_channels(bias, x.ndim)
        multiplier = _along_channels(x_scale * w_scale / y_scale, x.ndim)
        dtype = code_type(y_zero_point.dtype)
        return (requantize(sums, multiplier, int(y_zero_point.item()), dtype),)
