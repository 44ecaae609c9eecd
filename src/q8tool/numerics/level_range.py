"""Level range: where an input takes few known values, the range whose codes lie closest to them.

Pixels 0..255 become (pixel - 127.5) / 127.5: 256 values over -1..1, none of them 0. A grid of 256
codes over -1..1 that holds 0 lies half a step beside every one of them, and each rounds to one of
two codes equally far. A grid that is a little wider meets some and misses others: a third of the
noise.
"""

import numpy as np
from numpy.typing import NDArray

from q8tool.numerics.qparams import from_range
from q8tool.numerics.rounding import dequantize, quantize

__all__ = ["level_range"]

# Each end is moved out by up to a step, in eighths.
SHIFTS = np.arange(9) / 8.0


def level_range(levels: NDArray[np.float32]) -> tuple[float, float]:
    """The range, at most a step wider at each end, with the smallest squared error of the levels.

    levels  the values that occur, equally likely, any shape; real units

    >>> level_range(np.arange(256, dtype=np.float32))
    (0.0, 255.0)
    """
    low, high = min(float(levels.min()), 0.0), max(float(levels.max()), 0.0)
    step = (high - low) / 255.0
    ends = [
        (low - float(below) * step if low < 0.0 else low, high + float(above) * step)
        for below in SHIFTS
        for above in SHIFTS
    ]
    errors = [_squared_error(levels, *one) for one in ends]
    return ends[int(np.argmin(errors))]


def _squared_error(levels: NDArray[np.float32], low: float, high: float) -> float:
    params = from_range(low, high)
    apart = dequantize(quantize(levels, params), params).astype(np.float64) - levels
    return float(np.square(apart).mean())
