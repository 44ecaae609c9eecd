"""DeformConv: a convolution whose windows look where the model tells them to (Dai et al. 2017).

Each value of a window is read between four pixels, moved by its offset and weighed by its mask:
the columns of one product for each group. onnx.reference samples pixel by pixel, and needs minutes
for a layer of a detector.
"""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.ops.sampling import pixels_at, taps_along

__all__ = ["DeformConv"]

Array = NDArray[Any]


class DeformConv(OpRun):
    """x (N, C, H, W), w (OC, C / group, kh, kw) -> (N, OC, h, w).

    offset  (N, groups of offsets * kh * kw * 2, h, w), rows before columns
    mask    (N, groups of offsets * kh * kw, h, w)
    """

    def _run(
        self,
        x: Array,
        w: Array,
        offset: Array,
        bias: Array | None = None,
        mask: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array]:
        if x.ndim != 4:
            raise ValueError(f"an input of {x.ndim} dimensions instead of 4")
        group = attributes.get("group") or 1
        wide = np.result_type(x.dtype, np.float32)
        rows = w.astype(wide).reshape(group, len(w) // group, -1)
        sums = []
        for picture in range(len(x)):
            chosen = None if mask is None else mask[picture]
            columns = _columns(x[picture], w, offset[picture], chosen, attributes).astype(wide)
            sums.append(np.matmul(rows, columns.reshape(group, rows.shape[2], -1)))
        y = np.asarray(sums, wide).reshape(len(x), len(w), *offset.shape[2:])
        if bias is not None:
            y += bias.astype(wide)[:, None, None]
        return (y.astype(x.dtype),)


def _columns(
    x: Array, w: Array, offset: Array, mask: Array | None, attributes: dict[str, Any]
) -> Array:
    """What the windows over one picture read: (C, kh, kw, h, w)."""
    groups = attributes.get("offset_group") or 1
    strides = attributes.get("strides") or [1, 1]
    dilations = attributes.get("dilations") or [1, 1]
    pads = attributes.get("pads") or [0] * 4
    kernel, out = w.shape[2:], offset.shape[1:]
    if x.shape[0] % groups:
        raise ValueError(f"{x.shape[0]} channels in {groups} groups of offsets")
    moved = offset.reshape(groups, *kernel, 2, *out).astype(np.float64)
    values = x.reshape(groups, -1, *x.shape[1:])
    places = []
    for d in (0, 1):
        inside = np.arange(kernel[d]) * dilations[d]
        first = np.arange(out[d]) * strides[d] - pads[d]
        start = np.add.outer(inside, first)  # (kernel, out) of this dimension
        start = start[:, None, :, None] if d == 0 else start[None, :, None, :]
        places.append(moved[:, :, :, d] + start)
    total = np.zeros((groups, values.shape[1], *kernel, *out))
    for chosen in itertools.product(*(taps_along(at, "linear") for at in places)):
        weight = chosen[0][1] * chosen[1][1]
        total += pixels_at(values, [at for at, _ in chosen], "zeros", False) * weight[:, None]
    if mask is not None:
        total *= mask.reshape(groups, 1, *kernel, *out)
    return total
