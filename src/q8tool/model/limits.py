"""Limits: sizes that no tensor of a usable model exceeds, however it is read."""

import functools
import math
import os
from collections.abc import Sequence

__all__ = ["FREE_BYTES", "MOST_DIMENSIONS", "MOST_ELEMENTS", "is_absurd", "most_bytes"]

MOST_ELEMENTS = 2**40
# numpy 1 has no more; numpy 2 has 64.
MOST_DIMENSIONS = 32
# What a file may ask for, however small it is.
FREE_BYTES = 64_000_000
# A picture of three channels becomes hundreds of channels at most; who has large pictures has a
# model that computes much of them.
_GROWTH = 100


def is_absurd(dims: Sequence[int]) -> bool:
    """Whether no tensor can have these dimensions. Empty ones do not make up for others."""
    return (
        len(dims) > MOST_DIMENSIONS
        or min(dims, default=0) < 0
        or math.prod(max(dim, 1) for dim in dims) > MOST_ELEMENTS
    )


def most_bytes(nbytes: int) -> int:
    """How large a single value may be that is computed from so many bytes of inputs and weights."""
    return min(FREE_BYTES + _GROWTH * nbytes, _machine_bytes() // 2)


@functools.cache
def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
