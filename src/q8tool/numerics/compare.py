"""How far two tensors of answers are apart: the figures that every report quotes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["max_abs_difference", "relative_difference", "sqnr_db", "top1_agreement", "top_k"]


def sqnr_db(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Signal to quantization noise in decibels: 10 log10(sum reference^2 / sum difference^2).

    inf if both are equal, -inf if the reference is all zeros and the other is not. NaN counts as
    the worst: -inf.
    """
    signal = float(np.sum(np.square(reference, dtype=np.float64)))
    noise = float(np.sum(np.square(reference.astype(np.float64) - other)))
    if noise == 0.0:
        return float("inf")
    if not np.isfinite(noise) or signal == 0.0:
        return float("-inf")
    return float(10.0 * np.log10(signal / noise))


def max_abs_difference(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference of two arrays of one shape; 0 for empty ones, inf where one is NaN."""
    if reference.size == 0:
        return 0.0
    a, b = reference.astype(np.float64), other.astype(np.float64)
    difference = np.abs(a - b)
    difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return float(np.nan_to_num(difference, nan=np.inf).max())


def relative_difference(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """max_abs_difference in units of the reference's range (its largest absolute value)."""
    difference = max_abs_difference(reference, other)
    if difference == 0.0:
        return 0.0
    finite = np.abs(reference[np.isfinite(reference)].astype(np.float64))
    largest = float(finite.max(initial=0.0))
    return difference / largest if largest > 0.0 else float("inf")


def top_k(scores: NDArray[Any], k: int) -> NDArray[np.intp]:
    """Indices of the k greatest scores of each row, best first; ties go to the lower index.

    scores (..., classes) -> (..., min(k, classes))
    """
    return np.argsort(-scores, axis=-1, kind="stable")[..., :k]


def top1_agreement(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """The share of rows of (rows, classes) whose greatest entry is at the same index, 0..1."""
    rows = reference.reshape(-1, reference.shape[-1]).argmax(axis=-1)
    return float(np.mean(rows == other.reshape(-1, other.shape[-1]).argmax(axis=-1)))
