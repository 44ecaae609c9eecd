"""Scatter and its kin: values written, added, multiplied or compared, at places of a tensor.

onnx.reference goes from value to value in Python, and knows Scatter of opsets 9 and 10 under its
new name only.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

__all__ = ["Scatter", "ScatterElements", "ScatterND"]

Array = NDArray[Any]

_REDUCTIONS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


class ScatterElements(OpRun):
    """data with updates at indices along an axis; of equal places the last one counts."""

    def _run(
        self,
        data: Array,
        indices: Array,
        updates: Array,
        axis: int | None = None,
        reduction: str | None = None,
    ) -> tuple[Array, ...]:
        along = (axis or 0) % max(data.ndim, 1)
        places: list[Array] = list(np.ogrid[tuple(slice(size) for size in indices.shape)])
        places[along] = indices
        return (_scattered(data, tuple(places), updates, reduction),)


class Scatter(ScatterElements):
    """ScatterElements under its name of opsets 9 and 10."""


class ScatterND(OpRun):
    """data with slices of updates where rows of indices say; the last of equal places counts."""

    def _run(
        self, data: Array, indices: Array, updates: Array, reduction: str | None = None
    ) -> tuple[Array, ...]:
        places = tuple(np.moveaxis(indices, -1, 0))
        wanted = (*indices.shape[:-1], *data.shape[len(places) :])
        if updates.shape != wanted:
            raise ValueError(f"updates of shape {updates.shape}, not {wanted}")
        if not places:  # each update is all of data
            updates = updates.reshape(-1, *data.shape)
            data, places = data[None], (np.zeros(len(updates), np.int64),)
            return (_scattered(data, places, updates, reduction)[0],)
        return (_scattered(data, places, updates, reduction),)


def _scattered(
    data: Array, places: tuple[Array, ...], updates: Array, reduction: str | None
) -> Array:
    """A copy of data with updates at the places; negative ones count from the end."""
    result = data.copy()
    if reduction in (None, "none"):
        result[places] = updates
    else:
        _REDUCTIONS[str(reduction)].at(result, places, updates)
    return result
