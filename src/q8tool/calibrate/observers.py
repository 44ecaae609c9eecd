"""Observers: what calibration keeps of a tensor while photos stream by.

    minmax            lowest and highest value of all                      2 numbers
    photo-percentile  lowest and highest of each photo; the ends that all
                      but 5 % of the photos keep to (TensorFlow's 2017
                      freeze_requantization_ranges)                        2 numbers a photo
    percentile        a histogram of fixed size; the ends that all but
                      0.005 % of the values keep to                        2048 counts
    mse               the same histogram; the range whose rounding and
                      clipping error, squared and summed, is smallest      2048 counts
    weighted-mse      the same, clipping counted twice; of few values
                      the ends and a quarter more                          2048 counts

No tensor is kept. Two observers of one method merge into what one would be that had seen all, to
the bit, so that neither order nor chunks nor the number of machines matters; the unit of
photo-percentile is the photo.

Rounding errors of many values are independent: what sums and averages later leaves little of them.
Clipping takes from the same large values in the same direction, and that stays. The least squared
error of one tensor is therefore not the least at the model's output; counting clipping more is.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from q8tool.numerics.histogram import BINS, bin_counts, bin_width

__all__ = [
    "METHODS",
    "WITH_COUNTS",
    "Histogram",
    "Method",
    "Observer",
    "WeightedMse",
    "make_observer",
    "restored_observer",
]

Method = Literal["minmax", "photo-percentile", "percentile", "mse", "weighted-mse"]
METHODS: tuple[Method, ...] = ("minmax", "photo-percentile", "percentile", "mse", "weighted-mse")
WITH_COUNTS: frozenset[Method] = frozenset({"percentile", "mse", "weighted-mse"})
"""The methods whose observers count values in bins."""

# The share of photos whose extremes photo-percentile leaves out at each end, and the share of
# values that percentile leaves out at each end.
OUTLIERS = 0.05
OUTLYING_VALUES = 5e-5
# The mse search shrinks each end in steps down to this share of the observed range.
SMALLEST_SHARE = 0.2
SEARCH_STEPS = 40
# How often weighted-mse counts clipping. Twenty networks differ by half a decibel between 1 and 4,
# some for and some against; from 8 on nearly all lose (docs/calibrate.md).
CLIPPING_WEIGHT = 2.0
# The extremes of fewer values (one per channel and photo, say) say little of what is to come.
FEW_VALUES = 10_000
# Of such an extreme, how far the range reaches.
MARGIN = 1.25


class Observer(Protocol):
    """Takes the values of one tensor, one photo at a time, and names a range in the end."""

    def update(self, values: NDArray[np.float32]) -> None:
        """Takes one photo's values: any shape, not empty, all finite."""

    def take(self, low: float, high: float, counts: NDArray[np.int64] | None) -> None:
        """Takes the lowest and the highest of one photo's values, which were looked at elsewhere.

        counts  of them over the bins that these ends call for (numerics/histogram.py); None for
                methods that need none
        """

    def range(self) -> tuple[float, float]:
        """(low, high) in real units, low <= high. Only after at least one update."""

    def merge(self, other: Any) -> None:
        """Takes what another observer of the same method has seen."""

    def to_json(self) -> dict[str, Any]:
        """What it keeps, as JSON values; restored_observer reads it."""

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Reads what to_json wrote. Raises KeyError, TypeError or ValueError for anything else."""


def make_observer(method: Method) -> Observer:
    """A fresh observer of the method."""
    return _KINDS[method]()


def restored_observer(method: Method, kept: Mapping[str, Any]) -> Observer:
    """The observer that to_json described. Raises KeyError, TypeError or ValueError otherwise."""
    observer = make_observer(method)
    observer.restore(kept)
    return observer


class MinMax:
    """The lowest and the highest value seen."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def update(self, values: NDArray[np.float32]) -> None:
        """See Observer."""
        self.take(float(values.min()), float(values.max()), None)

    def take(self, low: float, high: float, counts: NDArray[np.int64] | None) -> None:
        """See Observer."""
        self._low, self._high = min(self._low, low), max(self._high, high)

    def range(self) -> tuple[float, float]:
        """See Observer."""
        return self._low, self._high

    def merge(self, other: "MinMax") -> None:
        """See Observer."""
        self._low, self._high = min(self._low, other._low), max(self._high, other._high)

    def to_json(self) -> dict[str, Any]:
        """See Observer."""
        return {"low": self._low, "high": self._high}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """See Observer."""
        self._low, self._high = _number(kept["low"]), _number(kept["high"])
        if self._low > self._high:
            raise ValueError(f"{self._low} is above {self._high}")


class PhotoPercentile:
    """The extremes of each photo, without the most extreme photos."""

    def __init__(self) -> None:
        self._lows: list[float] = []
        self._highs: list[float] = []

    def update(self, values: NDArray[np.float32]) -> None:
        """See Observer."""
        self.take(float(values.min()), float(values.max()), None)

    def take(self, low: float, high: float, counts: NDArray[np.int64] | None) -> None:
        """See Observer."""
        self._lows.append(low)
        self._highs.append(high)

    def range(self) -> tuple[float, float]:
        """See Observer. The photo at rank round(count * 5 %) from either end."""
        last = len(self._lows) - 1
        skipped = min(round(len(self._lows) * OUTLIERS), last)
        return sorted(self._lows)[skipped], sorted(self._highs)[last - skipped]

    def merge(self, other: "PhotoPercentile") -> None:
        """See Observer."""
        self._lows += other._lows
        self._highs += other._highs

    def to_json(self) -> dict[str, Any]:
        """See Observer."""
        return {"lows": sorted(self._lows), "highs": sorted(self._highs)}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """See Observer."""
        self._lows = [_number(value) for value in kept["lows"]]
        self._highs = [_number(value) for value in kept["highs"]]
        if len(self._lows) != len(self._highs) or not self._lows:
            raise ValueError("there must be as many lows as highs, at least one")


class Histogram:
    """Counts over bins of a power-of-two width around zero (numerics/histogram.py).

    A value outside doubles the width, which adds neighbouring bins: an exact step, so that any
    order and any cut of the same values gives the same counts.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.width = 0.0

    def update(self, values: NDArray[np.float32]) -> None:
        """Counts finite values of any shape."""
        largest = float(np.abs(values).max(initial=0.0))
        self.take(largest, bin_counts(values, bin_width(largest)))

    def take(self, largest: float, counts: NDArray[np.int64]) -> None:
        """Adds counts over the bins that a largest magnitude calls for."""
        width = bin_width(largest)
        if width == self.width:
            self.counts += counts
            return
        counted = Histogram()
        counted.counts, counted.width = counts, width
        self.merge(counted)

    def merge(self, other: "Histogram") -> None:
        """Adds the counts of another one, exactly: the narrower bins are joined to the wider."""
        wider = Histogram()
        wider.counts, wider.width = other.counts.copy(), other.width
        self._widen(wider.width)
        wider._widen(self.width)
        self.counts += wider.counts

    def to_json(self) -> dict[str, Any]:
        """The width of a bin, the first bin that holds anything, and the counts from there on."""
        used = np.flatnonzero(self.counts)
        first, end = (int(used[0]), int(used[-1]) + 1) if used.size else (BINS // 2, BINS // 2)
        return {"width": self.width, "first": first, "counts": self.counts[first:end].tolist()}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Reads what to_json wrote. Raises KeyError, TypeError or ValueError for anything else."""
        width, first = _number(kept["width"]), kept["first"]
        counts = [_count(value) for value in kept["counts"]]
        if width < 0 or (width and np.frexp(width)[0] != 0.5):
            raise ValueError(f"width {width} is no power of two")
        if type(first) is not int or not 0 <= first <= BINS - len(counts):
            raise ValueError(f"{len(counts)} counts from bin {first} are not within {BINS}")
        self.width = width
        self.counts[first : first + len(counts)] = counts

    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin, real units."""
        return np.asarray((np.arange(BINS) - BINS // 2 + 0.5) * self.width, np.float64)

    def _widen(self, needed: float) -> None:
        """Bins of at least this width; without any width all values so far are zeros."""
        while 0.0 < self.width < needed:
            self._double()
        self.width = max(self.width, needed)

    def _double(self) -> None:
        half = BINS // 4
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(BINS, np.int64)
        self.counts[half : half + BINS // 2] = pairs
        self.width *= 2.0


class _HistogramObserver:
    """A histogram and the exact ends."""

    def __init__(self) -> None:
        self._histogram = Histogram()
        self._ends = MinMax()

    def update(self, values: NDArray[np.float32]) -> None:
        """See Observer."""
        self._histogram.update(values)
        self._ends.update(values)

    def take(self, low: float, high: float, counts: NDArray[np.int64] | None) -> None:
        """See Observer."""
        assert counts is not None
        self._histogram.take(max(abs(low), abs(high)), counts)
        self._ends.take(low, high, None)

    def merge(self, other: "_HistogramObserver") -> None:
        """See Observer."""
        self._histogram.merge(other._histogram)
        self._ends.merge(other._ends)

    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value seen."""
        return self._ends.range()

    def to_json(self) -> dict[str, Any]:
        """See Observer."""
        return {**self._ends.to_json(), **self._histogram.to_json()}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """See Observer."""
        self._histogram.restore(kept)
        self._ends.restore(kept)


class Percentile(_HistogramObserver):
    """The range without the most extreme values."""

    def range(self) -> tuple[float, float]:
        """See Observer. The outer edges of the bins up to which the share of values is reached."""
        low, high = self._ends.range()
        counts, width = self._histogram.counts, self._histogram.width
        if width == 0.0:
            return low, high
        skipped = OUTLYING_VALUES * int(counts.sum())
        first = int(np.argmax(np.cumsum(counts) > skipped))
        last = BINS - int(np.argmax(np.cumsum(counts[::-1]) > skipped))
        middle = BINS // 2
        return max(low, (first - middle) * width), min(high, (last - middle) * width)


class Mse(_HistogramObserver):
    """The range with the smallest mean squared error of rounding and clipping."""

    clipping_weight = 1.0

    def range(self) -> tuple[float, float]:
        """See Observer. Shrinks the upper, then the lower end, keeping what lowers the error."""
        low, high = self._ends.range()
        centres, counts = self._values()
        shares = np.linspace(1.0, SMALLEST_SHARE, SEARCH_STEPS)
        if high > 0.0:
            errors = [self._error(centres, counts, low, high * share) for share in shares]
            high *= float(shares[int(np.argmin(errors))])
        if low < 0.0:
            errors = [self._error(centres, counts, low * share, high) for share in shares]
            low *= float(shares[int(np.argmin(errors))])
        return low, high

    def error(self, low: float, high: float) -> float:
        """What range() minimizes, for these ends: a mean over all values, squared real units."""
        centres, counts = self._values()
        return self._error(centres, counts, low, high) / max(float(counts.sum()), 1.0)

    def _values(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The middles of the bins that hold something, within the ends, and their counts."""
        used = self._histogram.counts > 0
        centres = self._histogram.centres()
        centres[BINS // 2] = 0.0  # where exact zeros are, which have no error
        return (
            np.clip(centres[used], *self._ends.range()),
            self._histogram.counts[used].astype(np.float64),
        )

    def _error(
        self,
        centres: NDArray[np.float64],
        counts: NDArray[np.float64],
        low: float,
        high: float,
    ) -> float:
        """Squared: rounding error for what lies inside low..high, weighted distance outside.

        Rounding leaves step^2 / 12; what is closer to 0 than half a step becomes 0.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        step = (high - low) / 255.0
        outside = centres - np.clip(centres, low, high)
        squares = np.square(centres)
        rounding = np.where(squares > step * step / 4.0, step * step / 12.0, squares)
        inside = np.where(outside == 0.0, rounding, 0.0)
        return float(np.dot(counts, self.clipping_weight * outside * outside + inside))


class WeightedMse(Mse):
    """The same where clipping counts more than rounding, and few values are not all there are."""

    clipping_weight = CLIPPING_WEIGHT

    def range(self) -> tuple[float, float]:
        """See Observer. Of few values the ends, and what others may reach beyond them."""
        if self._histogram.counts.sum() >= FEW_VALUES:
            return super().range()
        low, high = self._ends.range()
        return low * (MARGIN if low < 0.0 else 1.0), high * (MARGIN if high > 0.0 else 1.0)


def _number(value: object) -> float:
    if type(value) not in (int, float) or not np.isfinite(value):  # type: ignore[call-overload]
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)  # type: ignore[arg-type]


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


_KINDS: dict[Method, type[Observer]] = {
    "minmax": MinMax,
    "photo-percentile": PhotoPercentile,
    "percentile": Percentile,
    "mse": Mse,
    "weighted-mse": WeightedMse,
}
