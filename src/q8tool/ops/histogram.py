"""Histogram, an operator of q8tool's own: it stands in the models that calibration runs.

    x, lowest and highest of x (scalars) -> int64 [4, BINS], whose sum over the rows is how many
    values lie in each bin (numerics/histogram.py) of the width that the ends call for

The rows are there for threads to fill.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.numerics.histogram import SHAPE, bin_counts, bin_width
from q8tool.ops.registry import OWN_DOMAIN

__all__ = ["Histogram"]


class Histogram(OpRun):
    """The operator on the host, for tensors that C does not hold."""

    op_domain = OWN_DOMAIN

    def _run(
        self, x: NDArray[Any], low: NDArray[Any], high: NDArray[Any]
    ) -> tuple[NDArray[np.int64]]:
        counts = np.zeros(SHAPE, np.int64)
        largest = max(abs(float(low.item())), abs(float(high.item())))
        # Ends that are not finite are refused by whoever reads them.
        if x.size and np.isfinite(x).all():
            counts[0] = bin_counts(x, bin_width(largest))
        return (counts,)
