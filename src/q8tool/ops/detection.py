"""Operators of detection heads: onnx.reference refuses part of what they may be given."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

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
        kept: list[tuple[int, int, int]] = []
        for batch, classes in enumerate(scores):
            corners = _corners(boxes[batch], bool(center_point_box))
            for index, row in enumerate(classes):
                order = np.argsort(-row, kind="stable")
                best = _suppressed(corners, order[row[order] > lowest], limit, iou)
                kept += [(batch, index, box) for box in best]
        return (np.array(kept, np.int64).reshape(-1, 3),)


def _number(value: Array | None, default: float) -> float:
    return default if value is None or not value.size else float(value.ravel()[0])


def _corners(boxes: Array, is_centered: bool) -> Array:
    """(n, 4) as low y, low x, high y, high x; centred boxes are x, y, width, height."""
    if is_centered:
        middle, half = boxes[:, [1, 0]], boxes[:, [3, 2]] / 2
        return np.concatenate([middle - half, middle + half], axis=1)
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _suppressed(corners: Array, order: Array, limit: int, iou: float) -> list[int]:
    """Indices of the boxes that stay, best first."""
    kept: list[int] = []
    sides = corners[:, 2:] - corners[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    while order.size and len(kept) < limit:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(corners[order, :2], corners[best, :2])
        high = np.minimum(corners[order, 2:], corners[best, 2:])
        common = np.clip(high - low, 0.0, None).prod(axis=1)
        union = areas[order] + areas[best] - common
        overlaps = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
        order = order[overlaps <= iou]
    return kept
