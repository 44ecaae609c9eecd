"""Limits: sizes that no tensor of a usable model exceeds, however it is read."""

__all__ = ["MOST_DIMENSIONS", "MOST_ELEMENTS"]

MOST_ELEMENTS = 2**40
# numpy 1 has no more; numpy 2 has 64.
MOST_DIMENSIONS = 32
