"""Unique on the host: onnx.reference looks values that are not sorted up in another tensor."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

__all__ = ["Unique"]

Array = NDArray[Any]


class Unique(OpRun):
    """Each value, or slice of an axis, once; sorted, or in the order of their first places."""

    def _run(self, x: Array, axis: int | None = None, sorted: int | None = None) -> tuple[Any, ...]:
        values, first, of, counts = np.unique(x, True, True, True, axis=axis)
        of = of.reshape(-1)
        if sorted == 0:
            order = np.argsort(first)
            places = np.empty_like(order)
            places[order] = np.arange(len(order))
            values = np.take(values, order, axis or 0)
            first, of, counts = first[order], places[of], counts[order]
        results = (values, *(found.astype(np.int64) for found in (first, of, counts)))
        return results[: len(self.onnx_node.output)]
