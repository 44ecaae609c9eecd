"""How far two tensors of answers are apart: the figures that every report quotes."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "expected_agreement",
    "max_abs_difference",
    "relative_difference",
    "sqnr_db",
    "top1_agreement",
    "top_k",
]

_PIECE = 1 << 20


def sqnr_db(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Signal to quantization noise in decibels: 10 log10(sum reference^2 / sum difference^2).

    inf if both are equal, -inf if the reference is all zeros and the other is not. NaN of the other
    counts as the worst: -inf; so does an infinity that only one has. What is NaN in the reference,
    where nothing would be right, and infinities that both have, such as masked scores, say nothing.
    """
    signal = noise = 0.0
    for wanted, got in _pieces(reference, other):
        power = float(np.sum(np.square(wanted)))
        if not np.isfinite(power):
            told = ~(np.isnan(wanted) | (np.isinf(wanted) & (wanted == got)))
            wanted, got = wanted[told], got[told]
            power = float(np.sum(np.square(wanted)))
        signal += power
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, and counts as such
            noise += float(np.sum(np.square(wanted - got)))
    if noise == 0.0:
        return float("inf")
    if not np.isfinite(noise) or signal == 0.0:
        return float("-inf")
    return float(10.0 * np.log10(signal / noise))


def max_abs_difference(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference of two arrays of one shape; 0 for empty ones, inf where one is NaN."""
    return max((_largest_difference(a, b) for a, b in _pieces(reference, other)), default=0.0)


def relative_difference(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Largest difference over the largest reference magnitude; share of differing integers.

    Infinite for other shapes or types; NaN equals NaN.
    """
    if reference.shape != other.shape or reference.dtype != other.dtype:
        return math.inf
    if reference.size == 0:
        return 0.0
    if reference.dtype.kind in "iubOSU":
        return float(np.mean(reference != other))
    apart, largest = 0.0, float(np.finfo(np.float32).tiny)
    for wanted, got in _pieces(reference, other):
        differs = (wanted != got) & ~(np.isnan(wanted) & np.isnan(got))
        if not np.isfinite(wanted[differs]).all() or not np.isfinite(got[differs]).all():
            return math.inf
        apart = max(apart, float(np.abs(wanted[differs] - got[differs]).max(initial=0.0)))
        largest = max(largest, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)))
    return apart / largest


def top_k(scores: NDArray[Any], k: int) -> NDArray[np.intp]:
    """Indices of the k greatest scores of each row, best first; ties go to the lower index.

    scores (..., classes) -> (..., min(k, classes))
    """
    return np.argsort(-scores, axis=-1, kind="stable")[..., :k]


def top1_agreement(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """The share of rows of (rows, classes) whose greatest entry is at the same index, 0..1."""
    rows = reference.reshape(-1, reference.shape[-1]).argmax(axis=-1)
    return float(np.mean(rows == other.reshape(-1, other.shape[-1]).argmax(axis=-1)))


def expected_agreement(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """The share of rows whose greatest entry should stay the greatest, 0..1, by how noisy rows are.

    reference, other  logits or log-probabilities, (rows, classes), at least two classes

    For each row the margin between the reference's first and second entry; over all rows the mean
    square of how much that margin differs in the other. If the differences are normal, a row keeps
    its first entry with probability Phi(margin / deviation). Counting says 0 or 1 for each row;
    this says how narrowly, and is steadier where rows are few.
    """
    order = np.argsort(-reference, axis=-1, kind="stable")[:, :2]
    wanted = np.take_along_axis(reference.astype(np.float64), order, axis=-1)
    got = np.take_along_axis(other.astype(np.float64), order, axis=-1)
    margins, differences = wanted[:, 0] - wanted[:, 1], got[:, 0] - got[:, 1]
    deviation = math.sqrt(float(np.mean(np.square(differences - margins))))
    if not math.isfinite(deviation):
        return 0.0
    if deviation == 0.0:
        return 1.0
    return float(np.mean([0.5 * (1.0 + math.erf(m / deviation / math.sqrt(2.0))) for m in margins]))


def _largest_difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    with np.errstate(invalid="ignore"):  # inf - inf
        difference = np.abs(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.where(same, 0.0, np.nan_to_num(difference, nan=np.inf)).max())


def _pieces(a: NDArray[Any], b: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Both as float64, some entries at a time: answers may be as large as memory allows."""
    flat = a.reshape(-1), b.reshape(-1)
    for start in range(0, a.size, _PIECE):
        first, second = (part[start : start + _PIECE].astype(np.float64) for part in flat)
        yield first, second
