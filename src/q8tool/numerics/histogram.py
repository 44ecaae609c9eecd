"""Counts of values over bins of a power-of-two width around zero.

Bin i of BINS holds values in [(i - BINS / 2) * width, (i + 1 - BINS / 2) * width). Bins of two
widths nest, so that counts of different values add up exactly whatever their widths.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "bin_counts", "bin_width"]

BINS = 2048


def bin_width(largest: float) -> float:
    """The smallest power of two with which a value of this size still has a bin; 0 for 0."""
    if largest == 0.0:
        return 0.0
    _, exponent = math.frexp(largest)
    # largest < 2^exponent, and BINS / 2 bins reach to BINS / 2 * width.
    return math.ldexp(2.0 / BINS, exponent)


def bin_counts(values: NDArray[np.floating[Any]], width: float) -> NDArray[np.int64]:
    """How many of the values, finite and within the bins, lie in each; (BINS,). Width 0: zeros."""
    if width == 0.0:
        counts = np.zeros(BINS, np.int64)
        counts[BINS // 2] = values.size
        return counts
    bins = np.floor(values.ravel() * np.float64(1.0 / width)).astype(np.int64) + BINS // 2
    return np.bincount(bins, minlength=BINS).astype(np.int64)
