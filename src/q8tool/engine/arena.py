"""Places in the arena: offsets for buffers of known lifetimes, largest first, in the best gap."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["ALIGNMENT", "Lifetime", "place"]

ALIGNMENT = 64


class Lifetime(NamedTuple):
    """A buffer of `bytes` bytes that is needed from step `first` to step `last`, both included."""

    bytes: int
    first: int
    last: int


def place(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Byte offsets, multiples of ALIGNMENT, in the order given; and the size of the arena.

    Buffers whose lifetimes overlap do not share a byte. The smallest gap that fits is taken, so
    that large ones stay for large buffers.
    """
    order = sorted(range(len(lifetimes)), key=lambda index: (-lifetimes[index].bytes, index))
    first = np.array([lifetimes[index].first for index in order])
    last = np.array([lifetimes[index].last for index in order])
    # Of those placed so far, in that order.
    starts, stops = np.zeros((2, len(order)), np.int64)
    offsets = [0] * len(lifetimes)
    for rank, index in enumerate(order):
        (neighbours,) = np.nonzero((first[:rank] <= last[rank]) & (first[rank] <= last[:rank]))
        taken = sorted(zip(starts[neighbours].tolist(), stops[neighbours].tolist(), strict=True))
        wanted = _padded(lifetimes[index].bytes)
        offsets[index] = _best_gap(taken, wanted)
        starts[rank], stops[rank] = offsets[index], offsets[index] + wanted
    return offsets, int(stops.max(initial=0))


def _padded(count: int) -> int:
    return max(-(-count // ALIGNMENT), 1) * ALIGNMENT


def _best_gap(taken: Sequence[tuple[int, int]], wanted: int) -> int:
    """Start of the smallest gap between the taken ranges that holds `wanted` bytes."""
    best, best_size, end = -1, -1, 0
    for start, stop in taken:
        gap = start - end
        if gap >= wanted and (best < 0 or gap < best_size):
            best, best_size = end, gap
        end = max(end, stop)
    return best if best >= 0 else end
