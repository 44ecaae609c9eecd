"""Ends of a tensor: lowest and highest value, and a sum that is NaN if one of the values is.

In rows, which threads fill; a row without values has the ends infinity and -infinity.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHAPE", "ends_of", "joined_ends"]

SHAPE = (4, 3)


def ends_of(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The ends of values of any shape, (4, 3): all in the first row."""
    ends = np.tile(np.array([np.inf, -np.inf, 0.0], np.float32), (SHAPE[0], 1))
    if values.size:
        with np.errstate(invalid="ignore"):  # inf - inf
            ends[0] = np.fmin.reduce(values, None), np.fmax.reduce(values, None), values.sum()
    return ends


def joined_ends(ends: NDArray[np.float32]) -> tuple[float, float, float]:
    """(low, high, sum) of all rows; low is above high where there are no values."""
    lows, highs, sums = ends.T.tolist()
    return min(lows), max(highs), sum(sums)
