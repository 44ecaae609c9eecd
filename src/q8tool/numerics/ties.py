"""Ties: scales for which no sum of products falls half way between two codes.

    code = rint(acc * multiplier) + zero_point,  multiplier = x_scale * w_scale / y_scale

acc * multiplier is computed in float32, by every runtime in an order of its own. Where it ends
within an error of a half, runtimes round it to different codes, and a code in a million is enough:
layer by layer more follow. But multiples of a / b with an odd b never come closer to a half than
1 / (2 b). Such a fraction is within a thousandth of any multiplier; with b up to 2047 the distance
is more than ten times float32's error at code 255. Below 1 / 2047 it is 1 / b for a larger b.
"""

import numpy as np
from numpy.typing import NDArray

from q8tool.numerics.qparams import QuantParams

__all__ = ["above", "without_ties"]

# The largest denominator, but for multipliers that are smaller than one over it.
LARGEST = 2047
# How many numerators are tried, from the largest down.
TRIED = 32


def above(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least fractions a / b, b odd, that are found from each ratio on up; shape of ratios.

    At most 2 / 1024 larger, for ratios from 1 / 2047 to 1; below, at most twice the ratio.

    >>> above(np.array([0.3, 1 / 3])).round(6)
    array([0.300049, 0.333333])
    """
    most = np.maximum(1.0, np.floor(ratios * LARGEST))
    best = np.full(ratios.shape, np.inf)
    for less in range(TRIED):
        numerator = np.maximum(most - less, 1.0)
        # A part in 10^9 more: what is such a fraction but for its last place stays.
        denominator = np.floor(numerator / ratios * (1.0 + 1e-9))
        denominator -= denominator % 2 == 0
        fraction = numerator / np.maximum(denominator, 1.0)
        best = np.where((denominator >= 1.0) & (fraction < best), fraction, best)
    return np.where(np.isfinite(best), best, ratios)


def without_ties(weights: QuantParams, x: QuantParams, y: QuantParams) -> QuantParams:
    """Weight parameters with scales raised so far that sums of x's products have no ties in y."""
    ratio = np.float64(x.scale) * np.asarray(weights.scale, np.float64) / np.float64(y.scale)
    raised = above(ratio) * np.float64(y.scale) / np.float64(x.scale)
    return weights._replace(scale=np.asarray(raised, np.float32))
