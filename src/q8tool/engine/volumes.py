"""Convolutions over volumes (N, C, D, H, W) as convolutions over pictures.

    x [N, D, H, W, C]  ->  [N * depth, H, W, KD * C]        each place with the KD layers it reads
    w [OC, C, KD, KH, KW]  ->  [OC, KH, KW, KD * C]

The sum over the kernel's depth becomes part of the sum over channels, so that every kernel for
pictures, eight-bit or float, serves volumes. Within a group layers come first, then channels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.lowering import Lowering
from q8tool.engine.tensors import Tensor, contiguous_strides, new_tensor
from q8tool.engine.windows import Window

__all__ = ["layers_beside", "layers_beside_weights"]

Array = NDArray[Any]


def layers_beside(
    lowering: Lowering,
    x: Tensor,
    line: Window,
    depth: int,
    groups: int,
    empty: "np.generic | Tensor",
) -> Tensor:
    """x [N, D, H, W, C] as [N * depth, H, W, KD * C].

    line   the window along the depth alone (its height)
    depth  of the result
    empty  what lies beyond the first and last layer: a number, or a tensor of one number
    """
    n, layers, height, width, channels = x.shape
    kernel, step, apart, before = line.kernel[0], line.stride[0], line.dilation[0], line.pads[0]
    if kernel == 1 and step == 1 and before == 0 and depth == layers:
        return x.view((n * depth, height, width, channels))
    y = new_tensor(x.dtype, (n * depth, height, width, kernel * channels))
    ranges = [_inside(k * apart - before, step, depth, layers) for k in range(kernel)]
    if any(last - first < depth for first, last in ranges):
        _fill(lowering, y, empty)
    pixels, part = height * width, channels // groups
    x_strides = [layers * pixels * channels, step * pixels * channels, channels, part, 1]
    long = kernel * channels
    y_strides = [depth * pixels * long, pixels * long, long, kernel * part, 1]
    for k, (first, last) in enumerate(ranges):
        if first >= last:
            continue
        layer = first * step + k * apart - before
        lowering.copy(
            x, y, [n, last - first, pixels, groups, part], x_strides, y_strides,
            x_offset=layer * pixels * channels, y_offset=first * pixels * long + k * part,
        )  # fmt: skip
    return y


def layers_beside_weights(array: Array) -> Array:
    """(OC, C / groups, KD, KH, KW) -> (OC, KH, KW, KD * C / groups), contiguous."""
    moved = array.transpose(0, 3, 4, 2, 1)
    return np.ascontiguousarray(moved.reshape(*moved.shape[:3], -1))


def _inside(offset: int, step: int, depth: int, layers: int) -> tuple[int, int]:
    """The places p, first to before last, whose layer p * step + offset exists."""
    first = max(0, -(offset // step))
    last = min(depth, (layers - 1 - offset) // step + 1)
    return first, max(first, last)


def _fill(lowering: Lowering, y: Tensor, empty: "np.generic | Tensor") -> None:
    if isinstance(empty, Tensor):
        nothing = [0] * len(y.shape)
        lowering.copy(empty, y, y.shape, nothing, contiguous_strides(y.shape))
    else:
        lowering.emit("fill", {}, {"y": y}, value=empty)
