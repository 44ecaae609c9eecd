"""Limits: sizes that no tensor of a usable model exceeds, however it is read."""

import functools
import os

__all__ = ["FREE_BYTES", "MOST_DIMENSIONS", "MOST_ELEMENTS", "most_bytes"]

MOST_ELEMENTS = 2**40
# numpy 1 has no more; numpy 2 has 64.
MOST_DIMENSIONS = 32
# What a file may ask for, however small it is.
FREE_BYTES = 128_000_000
# A picture of three channels becomes hundreds of channels at most; who has large pictures has a
# model that computes much of them.
_GROWTH = 1000


def most_bytes(nbytes: int) -> int:
    """How large a single value may be that is computed from so many bytes of inputs and weights."""
    return min(FREE_BYTES + _GROWTH * nbytes, _machine_bytes() // 2)


@functools.cache
def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
