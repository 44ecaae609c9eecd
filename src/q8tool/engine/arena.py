"""Places in the arena: offsets for buffers of known lifetimes, largest first, in the best gap."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ALIGNMENT", "Lifetime", "place"]

ALIGNMENT = 64


@dataclass(frozen=True)
class Lifetime:
    """A buffer of `bytes` bytes that is needed from step `first` to step `last`, both included."""

    bytes: int
    first: int
    last: int

    def overlaps(self, other: "Lifetime") -> bool:
        """True if both are needed at some step."""
        return self.first <= other.last and other.first <= self.last


def place(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Byte offsets, multiples of ALIGNMENT, in the order given; and the size of the arena.

    Buffers whose lifetimes overlap do not share a byte. The smallest gap that fits is taken, so
    that large ones stay for large buffers.
    """
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    size = 0
    for index in sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].bytes, i)):
        neighbours = sorted(
            (offsets[other], offsets[other] + _padded(lifetimes[other].bytes))
            for other in placed
            if lifetimes[index].overlaps(lifetimes[other])
        )
        wanted = _padded(lifetimes[index].bytes)
        offsets[index] = _best_gap(neighbours, wanted)
        placed.append(index)
        size = max(size, offsets[index] + wanted)
    return offsets, size


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
