"""Convolution and products by their formula, in int64 or float64: what C is held to."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Geometry", "conv", "float_result", "random_geometry", "requantized"]

Array = npt.NDArray[Any]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """A convolution of [N, H, W, C] to [N, OH, OW, OC]."""

    x_shape: tuple[int, int, int, int]
    y_shape: tuple[int, int, int, int]
    kernel: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def weights_shape(self) -> tuple[int, int, int, int]:
        return (self.y_shape[3], *self.kernel, self.x_shape[3] // self.groups)

    @property
    def window(self) -> dict[str, Any]:
        """Keyword arguments of Plan.conv and Plan.conv_f32."""
        return {
            "stride": self.stride,
            "pad": self.pad,
            "dilation": self.dilation,
            "groups": self.groups,
        }


def random_geometry(rng: np.random.Generator, kind: str) -> Geometry:
    """A small geometry, often with uneven padding; kind is "dense", "grouped", "depthwise" or

    lines     dense, with windows whose lines are neighbours in memory, often wider than the picture
    square    depthwise, with the windows that light networks have
    winograd  3x3, stride 1 and sixteens of channels, in pictures of some tiles of 4 x 4
    """

    def pick(*values: int) -> int:
        return int(rng.choice(values))

    kernel = (pick(1, 1, 2, 3, 5), pick(1, 1, 2, 3, 7))
    stride = (pick(1, 1, 2, 3), pick(1, 1, 2, 4))
    dilation = (pick(1, 1, 2), pick(1, 1, 3))
    size = (pick(1, 4, 9, 16), pick(1, 3, 8, 21, 70))
    if kind == "square":
        kernel, stride, dilation = (pick(3, 5),) * 2, (pick(1, 2),) * 2, (1, 1)
    if kind == "lines":
        kernel, dilation = (pick(1, 3), pick(2, 3, 5, 7)), (pick(1, 2), 1)
        size = (pick(1, 4, 9), pick(1, 2, 3, 7, 30))
    if kind == "winograd":
        kernel, stride, dilation = (3, 3), (1, 1), (1, 1)
        size = (pick(4, 8, 11), pick(9, 16, 21))
    pads = [(pick(0, 1, 2), pick(0, 1, 2, 3)) for _ in range(2)]
    groups = {"dense": 1, "lines": 1, "winograd": 1, "grouped": pick(2, 3)}.get(kind)
    groups = groups or pick(2, 5, 17, 64, 100)
    is_depthwise = kind in ("depthwise", "square")
    channels = groups if is_depthwise else groups * pick(1, 3, 4, 8, 20, 33, 64)
    if kind == "lines":
        channels = pick(12, 16, 20)
    if kind == "winograd":
        channels = pick(16, 32, 80)
    outputs = groups if is_depthwise else groups * pick(1, 2, 7, 16, 65)
    out = []
    for axis in range(2):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        left = size[axis] + sum(pads[axis]) - reach
        out.append(max(left, 0) // stride[axis] + 1)
    batch = pick(1, 1, 2)
    return Geometry(
        (batch, *size, channels),
        (batch, out[0], out[1], outputs),
        kernel,
        stride,
        (pads[0][0], pads[1][0]),
        dilation,
        groups,
    )


def conv(x: Array, weights: Array, geometry: Geometry) -> Array:
    """Sums of products: x and weights int64 or float64, zero points already subtracted."""
    g = geometry
    n, oh, ow, outputs = g.y_shape
    room = [
        (g.pad[a], g.y_shape[a + 1] * g.stride[a] + g.kernel[a] * g.dilation[a]) for a in (0, 1)
    ]
    padded = np.pad(x, [(0, 0), *room, (0, 0)])
    y = np.zeros((n, oh, ow, g.groups, outputs // g.groups), x.dtype)
    split = weights.reshape(g.groups, -1, *weights.shape[1:])
    for kh in range(g.kernel[0]):
        for kw in range(g.kernel[1]):
            top, left = kh * g.dilation[0], kw * g.dilation[1]
            seen = padded[:, top:, left:][:, :: g.stride[0], :: g.stride[1]][:, :oh, :ow]
            seen = seen.reshape(n, oh, ow, g.groups, -1)
            y += np.einsum("nhwgc,goc->nhwgo", seen, split[:, :, kh, kw])
    return y.reshape(g.y_shape)


def requantized(
    acc: Array, multiplier: npt.ArrayLike, zero_point: int, limits: Pair = (0, 255)
) -> Array:
    """Codes of accumulators: docs/numerics.md."""
    value = acc.astype(np.float32) * np.asarray(multiplier, np.float32)
    codes: Array = np.clip(
        np.rint(value.astype(np.float64)) + zero_point, limits[0], limits[1]
    ).astype(np.uint8)
    return codes


def float_result(acc: Array, scale: Array, bias: Array, low: float, high: float) -> Array:
    """Floats of accumulators, each operation rounded to float32."""
    value: Array = acc.astype(np.float32) * scale + bias
    assert value.dtype == np.float32
    return np.clip(value, np.float32(low), np.float32(high))
