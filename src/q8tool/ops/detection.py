"""Operators of detection heads: onnx.reference refuses part of what they may be given."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from q8tool.native import kept_boxes

__all__ = ["GatherElements", "NonMaxSuppression"]

Array = NDArray[Any]


class GatherElements(OpRun):
    """One entry of an axis per index; onnx.reference stops at 64 entries."""

    def _run(self, data: Array, indices: Array, axis: int | None = None) -> tuple[Array, ...]:
        along = (axis or 0) % data.ndim
        places = np.where(indices < 0, indices + data.shape[along], indices)
        # The other axes of data may be longer than those of the indices.
        used = [slice(None) if d == along else slice(n) for d, n in enumerate(indices.shape)]
        return (np.take_along_axis(data[tuple(used)], places, along),)


class NonMaxSuppression(OpRun):
    """Greedy suppression per class: best score first, boxes that overlap a better one go.

    boxes (batch, n, 4), scores (batch, classes, n) -> int64 (kept, 3): batch, class, box.
    Limits may be left out, scalars or arrays of one element. onnx.reference wants all of them as
    arrays, and compares box by box in Python.
    """

    def _run(
        self,
        boxes: Array,
        scores: Array,
        most: Array | None = None,
        iou_threshold: Array | None = None,
        score_threshold: Array | None = None,
        center_point_box: int | None = None,
    ) -> tuple[Array, ...]:
        limit = int(_number(most, 0))
        iou, lowest = _number(iou_threshold, 0.0), _number(score_threshold, -np.inf)
        is_centered = bool(center_point_box)
        found = [np.empty((0, 3), np.int64)]
        for batch, classes in enumerate(scores):
            for index, row in enumerate(classes):
                kept = kept_boxes(boxes[batch], row, limit, iou, lowest, is_centered=is_centered)
                places = np.full((len(kept), 2), (batch, index), np.int64)
                found.append(np.concatenate([places, kept[:, None]], axis=1))
        return (np.concatenate(found),)


def _number(value: Array | None, default: float) -> float:
    return default if value is None or not value.size else float(value.ravel()[0])
