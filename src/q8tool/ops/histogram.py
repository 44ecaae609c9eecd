"""Ends and Histogram, operators of q8tool's own: they stand in the models that calibration runs.

x        -> Ends       float32 [4, 3]: lowest, highest and sum of stretches of x (numerics/ends.py)
x, ends  -> Histogram  int64 [BINS]: how many values lie in each bin (numerics/histogram.py) of the
                       width that the ends call for; C counts some of many values
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.numerics.ends import ends_of, joined_ends
from q8tool.numerics.histogram import BINS, bin_counts, bin_width
from q8tool.ops.registry import OWN_DOMAIN

__all__ = ["Ends", "Histogram"]


class Ends(OpRun):
    """The operator on the host, for tensors that C does not hold."""

    op_domain = OWN_DOMAIN

    def _run(self, x: NDArray[Any]) -> tuple[NDArray[np.float32]]:
        return (ends_of(x),)


class Histogram(OpRun):
    """The operator on the host, for tensors that C does not hold: all values are counted."""

    op_domain = OWN_DOMAIN

    def _run(self, x: NDArray[Any], ends: NDArray[Any]) -> tuple[NDArray[np.int64]]:
        low, high, _ = joined_ends(ends)
        # Ends that are not finite are refused by whoever reads them.
        if x.size and np.isfinite(x).all():
            return (bin_counts(x, bin_width(max(abs(low), abs(high)))),)
        return (np.zeros(BINS, np.int64),)
