"""Scores: probabilities from what a classifier's output holds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["probabilities"]

# How far the sum of probabilities may be from 1 where only the values tell them from logits.
_SUM_TOLERANCE = 0.02


def probabilities(
    scores: NDArray[Any], are_probabilities: bool = False
) -> tuple[NDArray[np.float64], bool]:
    """A row of scores as probabilities, and whether softmax had to be applied (logits).

    are_probabilities  the model says so; else values from 0 that sum to 1 are taken for some
    """
    values = scores.astype(np.float64)
    sums_to_one = values.min() >= 0.0 and abs(float(values.sum()) - 1.0) < _SUM_TOLERANCE
    if are_probabilities or sums_to_one:
        return values, False
    powers = np.exp(values - values.max())
    return powers / powers.sum(), True
