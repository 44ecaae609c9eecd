"""Observers: what calibration keeps of a tensor while photos stream by.

    minmax      lowest and highest value of all                        2 numbers
    percentile  lowest and highest of each photo; the ends that all but
                5 % of the photos keep to (TensorFlow's 2017
                freeze_requantization_ranges)                          2 numbers a photo
    mse         a histogram of fixed size; the range whose rounding and
                clipping error, squared and summed, is smallest         2048 counts

No tensor is kept. Results do not depend on how samples were cut into batches of one or many runs,
but for percentile, whose unit is the photo.
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["METHODS", "Histogram", "Method", "Observer", "make_observer"]

Method = Literal["minmax", "percentile", "mse"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse")

# The share of photos whose extremes percentile leaves out at each end.
OUTLIERS = 0.05
BINS = 2048
# The mse search shrinks each end in steps down to this share of the observed range.
SMALLEST_SHARE = 0.2
SEARCH_STEPS = 40


class Observer(Protocol):
    """Takes the values of one tensor, one photo at a time, and names a range in the end."""

    def update(self, values: NDArray[np.float32]) -> None:
        """Takes one photo's values: any shape, not empty, all finite."""

    def range(self) -> tuple[float, float]:
        """(low, high) in real units, low <= high. Only after at least one update."""


def make_observer(method: Method) -> Observer:
    """A fresh observer of the method."""
    kinds: dict[Method, type[MinMax] | type[Percentile] | type[Mse]] = {
        "minmax": MinMax,
        "percentile": Percentile,
        "mse": Mse,
    }
    return kinds[method]()


class MinMax:
    """The lowest and the highest value seen."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def update(self, values: NDArray[np.float32]) -> None:
        """See Observer."""
        self._low = min(self._low, float(values.min()))
        self._high = max(self._high, float(values.max()))

    def range(self) -> tuple[float, float]:
        """See Observer."""
        return self._low, self._high


class Percentile:
    """The extremes of each photo, without the most extreme photos."""

    def __init__(self) -> None:
        self._lows: list[float] = []
        self._highs: list[float] = []

    def update(self, values: NDArray[np.float32]) -> None:
        """See Observer."""
        self._lows.append(float(values.min()))
        self._highs.append(float(values.max()))

    def range(self) -> tuple[float, float]:
        """See Observer. The photo at rank round(count * 5 %) from either end."""
        last = len(self._lows) - 1
        skipped = min(round(len(self._lows) * OUTLIERS), last)
        return sorted(self._lows)[skipped], sorted(self._highs)[last - skipped]


class Histogram:
    """Counts over bins of a power-of-two width around zero.

    Bin i holds values in [(i - BINS / 2) * width, (i + 1 - BINS / 2) * width). A value outside
    doubles the width, which adds neighbouring bins: an exact step, so that any order and any cut
    of the same values gives the same counts.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.width = 0.0

    def update(self, values: NDArray[np.float32]) -> None:
        """Counts finite values of any shape."""
        largest = float(np.abs(values).max(initial=0.0))
        needed = self._width_for(largest)
        while 0.0 < self.width < needed:
            self._double()
        if self.width == 0.0 and needed > 0.0:
            zeros = self.counts.sum()
            self.counts[:] = 0
            self.counts[BINS // 2] = zeros
        self.width = max(self.width, needed)
        if self.width == 0.0:
            self.counts[BINS // 2] += values.size
            return
        bins = np.floor(values.ravel() * np.float64(1.0 / self.width)).astype(np.int64) + BINS // 2
        self.counts += np.bincount(bins, minlength=BINS)

    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin, real units."""
        return np.asarray((np.arange(BINS) - BINS // 2 + 0.5) * self.width, np.float64)

    @staticmethod
    def _width_for(largest: float) -> float:
        """The smallest power of two with which a value of this size still has a bin."""
        if largest == 0.0:
            return 0.0
        _, exponent = np.frexp(largest)
        # largest < 2^exponent, and BINS / 2 bins reach to BINS / 2 * width.
        return float(2.0 ** (int(exponent) - int(np.log2(BINS // 2))))

    def _double(self) -> None:
        half = BINS // 4
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(BINS, np.int64)
        self.counts[half : half + BINS // 2] = pairs
        self.width *= 2.0


class Mse:
    """The range with the smallest mean squared error of rounding and clipping."""

    def __init__(self) -> None:
        self._histogram = Histogram()
        self._ends = MinMax()

    def update(self, values: NDArray[np.float32]) -> None:
        """See Observer."""
        self._histogram.update(values)
        self._ends.update(values)

    def range(self) -> tuple[float, float]:
        """See Observer. Shrinks the upper, then the lower end, keeping what lowers the error."""
        low, high = self._ends.range()
        used = self._histogram.counts > 0
        counts = self._histogram.counts[used].astype(np.float64)
        centres = np.clip(self._histogram.centres()[used], low, high)
        shares = np.linspace(1.0, SMALLEST_SHARE, SEARCH_STEPS)
        if high > 0.0:
            errors = [_squared_error(centres, counts, low, high * share) for share in shares]
            high *= float(shares[int(np.argmin(errors))])
        if low < 0.0:
            errors = [_squared_error(centres, counts, low * share, high) for share in shares]
            low *= float(shares[int(np.argmin(errors))])
        return low, high


def _squared_error(
    centres: NDArray[np.float64], counts: NDArray[np.float64], low: float, high: float
) -> float:
    """Rounding error step^2 / 12 for what lies inside low..high, distance squared outside."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255.0
    outside = centres - np.clip(centres, low, high)
    # A code at exactly zero, as after Relu, has no rounding error.
    rounding = np.where((outside == 0.0) & (np.abs(centres) > step / 2), step * step / 12.0, 0.0)
    return float(np.dot(counts, outside * outside + rounding))
