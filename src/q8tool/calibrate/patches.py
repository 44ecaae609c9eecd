"""Patches: what single results of a Conv, Gemm or MatMul are computed from.

x (N, C, H, W) --chosen places--> (groups, C / groups * taps, places): columns that, times a row of
the weights, give one result each.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.graph import constant, get_int, get_ints, get_string

__all__ = ["Patches", "patches_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Patches:
    """The window of an operator, as the standard's Conv has it.

    kernel     empty where rows of x are what is multiplied
    automatic  SAME_UPPER or SAME_LOWER instead of pads
    """

    groups: int = 1
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    automatic: str = ""

    def cut(self, x: Array, count: int, seed: int, outside: int = 0) -> Array:
        """Columns at up to count places, spread over all; the same seed, the same places.

        x  (N, C, ...) floats or codes; outside: what padding reads. Returns x's type, (groups,
        inputs, places).
        """
        if not self.kernel:
            rows = x.reshape(-1, x.shape[-1])
            return rows[_places(len(rows), count, seed)].T[None]
        index, is_outside = _reads(self, (x.shape[0], *x.shape[2:]), count, seed)
        # Channel by channel: what a channel's places read lies close together.
        planes = x.swapaxes(0, 1).reshape(x.shape[1], -1)
        found = planes.take(index, axis=1)  # (C, taps, places)
        if is_outside is not None:
            found[:, is_outside] = outside
        inputs = found.shape[0] // self.groups * found.shape[1]
        return found.reshape(self.groups, inputs, index.shape[1])

    def extent(self, shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
        """Padding before each dimension of a picture, and the number of results along it."""
        rank, before, sizes = len(shape), list[int](), list[int]()
        for axis, size in enumerate(shape):
            stride = self.strides[axis]
            reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1
            if self.automatic:
                results = -(-size // stride)
                total = max(0, (results - 1) * stride + reach - size)
                before.append(total // 2 if self.automatic == "SAME_UPPER" else -(-total // 2))
            else:
                results = (size + self.pads[axis] + self.pads[axis + rank] - reach) // stride + 1
                before.append(self.pads[axis])
            sizes.append(results)
        return before, sizes


def patches_of(node: ir.Node) -> Patches | None:
    """The patches of a Conv, Gemm or MatMul or their integer forms; None for another operator."""
    if node.op_type in ("Gemm", "MatMul", "MatMulInteger"):
        return Patches()
    if node.op_type not in ("Conv", "ConvInteger"):
        return None
    weights = node.inputs[1]
    assert weights is not None
    shape = _shape_of(weights)
    rank = len(shape) - 2
    automatic = get_string(node, "auto_pad", "NOTSET")
    return Patches(
        get_int(node, "group", 1),
        tuple(shape[2:]),
        tuple(get_ints(node, "strides", [1] * rank)),
        tuple(get_ints(node, "dilations", [1] * rank)),
        tuple(get_ints(node, "pads", [0] * 2 * rank)) if automatic != "VALID" else (0,) * 2 * rank,
        automatic if automatic.startswith("SAME") else "",
    )


def _shape_of(weights: ir.Value) -> tuple[int, ...]:
    array = constant(weights)
    if array is None:
        producer = weights.producer()
        assert producer is not None
        array = constant(producer.inputs[0])
    assert array is not None
    return array.shape


@lru_cache(maxsize=64)
def _reads(
    patches: Patches, shape: tuple[int, ...], count: int, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_] | None]:
    """Where in planes of this shape, (N, H, W), the chosen places read, (taps, places).

    And which of it is padding; None for nothing. Kept for the other model's planes.
    """
    begins, sizes = patches.extent(shape[1:])
    places = _places(shape[0] * math.prod(sizes), count, seed)
    index, *positions = np.unravel_index(places, (shape[0], *sizes))
    taps = np.indices(patches.kernel).reshape(len(patches.kernel), -1)
    is_outside = np.zeros((taps.shape[1], len(places)), bool)
    for axis, size in enumerate(shape[1:]):
        steps = taps[axis] * patches.dilations[axis] - begins[axis]
        at = positions[axis] * patches.strides[axis] + steps[:, None]
        is_outside |= (at < 0) | (at >= size)
        index = index * size + at.clip(0, size - 1)
    return index, is_outside if is_outside.any() else None


def _places(total: int, count: int, seed: int) -> NDArray[np.intp]:
    """One place in each of count equal parts of the total; all places where there are fewer."""
    if total <= count:
        return np.arange(total)
    random = np.random.default_rng(seed)
    return np.asarray((np.arange(count) + random.random(count)) * (total / count), np.intp)
