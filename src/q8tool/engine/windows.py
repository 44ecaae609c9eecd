"""Sliding windows of Conv, ConvTranspose and pooling, from ONNX attributes to what C takes."""

from typing import NamedTuple

from q8tool.engine.graph import Node
from q8tool.engine.tensors import Tensor
from q8tool.engine.values import Declined
from q8tool.ops.padding import same_pads

__all__ = ["Window", "as_picture", "volume_windows", "window_of"]

Pair = tuple[int, int]


class Window(NamedTuple):
    """A window over [N, H, W, C]; (height, width) each, pads (top, left, bottom, right)."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    pads: tuple[int, int, int, int]


def window_of(node: Node, shape: tuple[int, ...], kernel: tuple[int, ...]) -> Window:
    """The node's window over an input of ONNX shape (N, C, W) or (N, C, H, W).

    Raises Declined for other ranks. Padding that follows from auto_pad is worked out.
    """
    spatial = len(shape) - 2
    if spatial not in (1, 2) or len(kernel) != spatial:
        raise Declined(f"windows of {spatial} dimensions have no C kernel")
    stride, dilation, pads = _attributes(node, shape, kernel)
    if spatial == 1:
        pads = (0, pads[0], 0, pads[1])
    return Window(
        _pair(kernel), _pair(stride), _pair(dilation), (pads[0], pads[1], pads[2], pads[3])
    )


def volume_windows(
    node: Node, shape: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[Window, Window]:
    """The node's window over (N, C, D, H, W): over height and width, and over depth alone."""
    if len(kernel) != 3:
        raise Declined("its kernel has not the dimensions of its input")
    stride, dilation, pads = _attributes(node, shape, kernel)
    flat = Window(
        _pair(kernel[1:]), _pair(stride[1:]), _pair(dilation[1:]),
        (pads[1], pads[2], pads[4], pads[5]),
    )  # fmt: skip
    return flat, Window((kernel[0], 1), (stride[0], 1), (dilation[0], 1), (pads[0], 0, pads[3], 0))


def _attributes(
    node: Node, shape: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Strides, dilations and pads; one of each per spatial dimension, two for pads."""
    spatial = len(kernel)
    stride = tuple(node.attributes.get("strides", (1,) * spatial))
    dilation = tuple(node.attributes.get("dilations", (1,) * spatial))
    pads = tuple(node.attributes.get("pads", (0,) * 2 * spatial))
    auto_pad = node.attributes.get("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        sizes = zip(shape[2:], kernel, stride, dilation, strict=True)
        both = [same_pads(auto_pad, *size) for size in sizes]
        pads = (*(before for before, _ in both), *(after for _, after in both))
    elif auto_pad == "VALID":
        pads = (0,) * 2 * spatial
    if min(pads) < 0:
        raise Declined("negative padding has no C kernel")
    return stride, dilation, pads


def as_picture(tensor: Tensor) -> Tensor:
    """[N, W, C] as [N, 1, W, C], [N, D, H, W, C] as [N * D, H, W, C]; [N, H, W, C] as it is."""
    if len(tensor.shape) == 3:
        return tensor.view((tensor.shape[0], 1, *tensor.shape[1:]))
    if len(tensor.shape) == 5:
        n, depth, *picture = tensor.shape
        return tensor.view((n * depth, *picture))
    return tensor


def _pair(values: tuple[int, ...]) -> Pair:
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])
