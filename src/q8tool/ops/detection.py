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


# Boxes of which overlaps are kept for all classes: their square is memory in bytes.
_MOST_KEPT = 8192


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
            orders = [np.argsort(-row, kind="stable") for row in classes]
            orders = [
                order[row[order] > lowest] for order, row in zip(orders, classes, strict=True)
            ]
            overlaps = _Overlaps(corners, iou, is_asked_again=len(orders) > 1)
            for index, order in enumerate(orders):
                kept += [(batch, index, box) for box in _suppressed(overlaps, order, limit)]
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


class _Overlaps:
    """Which boxes overlap others by no more than a limit.

    is_asked_again  whether several classes ask about the same boxes: answers are kept, if the
                    boxes are few enough
    """

    def __init__(self, corners: Array, limit: float, *, is_asked_again: bool) -> None:
        self._corners, self._limit = corners, limit
        sides = corners[:, 2:] - corners[:, :2]
        self._areas = sides[:, 0] * sides[:, 1]
        self._keeps = is_asked_again and len(corners) <= _MOST_KEPT
        self._found: dict[int, Array] = {}

    def is_apart(self, box: int, others: Array) -> Array:
        """For each of the others whether it may stay beside the box."""
        if not self._keeps:
            return np.asarray(self._share(box, others) <= self._limit)
        if box not in self._found:
            self._found[box] = self._share(box, slice(None)) <= self._limit
        return np.asarray(self._found[box][others])

    def _share(self, box: int, others: Array | slice) -> Array:
        """Intersection over union."""
        best, corners = self._corners[box], self._corners[others]
        low, high = np.maximum(corners[:, :2], best[:2]), np.minimum(corners[:, 2:], best[2:])
        common = np.clip(high - low, 0.0, None).prod(axis=1)
        union = self._areas[others] + self._areas[box] - common
        share = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
        return np.asarray(share)


def _suppressed(overlaps: _Overlaps, order: Array, limit: int) -> list[int]:
    """Indices of the boxes that stay, best first."""
    kept: list[int] = []
    while order.size and len(kept) < limit:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[overlaps.is_apart(best, order)]
    return kept
