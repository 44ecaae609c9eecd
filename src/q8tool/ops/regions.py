"""RoiAlign: the means of a picture's regions, in a grid of bins each.

Bilinear samples of a region lie on a lattice, so that their mean is two products: a weight for each
line, one for each column. onnx.reference takes Python from sample to sample, and moves regions of
models before opset 16 by half a pixel, which they did not know.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.ops.op_roi_align import RoiAlign as ReferenceRoiAlign

__all__ = ["RoiAlign"]

Array = NDArray[Any]

# The first opset in which regions are moved by half a pixel.
_FIRST_MOVED = 16
# Of a region, in one direction; of the maximum, in both. A region as wide as its picture has one
# for each pixel.
_MOST_SAMPLES = 1 << 20


class RoiAlign(ReferenceRoiAlign):
    """X (N, C, H, W), rois (R, 4) of x1 y1 x2 y2, pictures (R,) -> (R, C, height, width)."""

    def _run(
        self,
        X: Array,
        rois: Array,
        batch_indices: Array,
        coordinate_transformation_mode: str | None = None,
        mode: str | None = None,
        output_height: int | None = None,
        output_width: int | None = None,
        sampling_ratio: int | None = None,
        spatial_scale: float | None = None,
    ) -> tuple[Array, ...]:
        how = (coordinate_transformation_mode or "half_pixel").lower()
        if self.run_params["opsets"].get("", _FIRST_MOVED) < _FIRST_MOVED:
            how = "output_half_pixel"
        height, width = output_height or 1, output_width or 1
        ratio = sampling_ratio or 0
        scale = 1.0 if spatial_scale is None else spatial_scale
        moved = how == "half_pixel"
        ends = rois.astype(np.float64) * scale - (0.5 if moved else 0.0)
        if (mode or "avg").lower() != "avg":
            for left, top, right, bottom in ends:
                across = width * _samples(left, right, width, ratio, moved)
                _refuse_excess(across * height * _samples(top, bottom, height, ratio, moved))
            words = (how, mode, height, width, ratio, scale)
            found = super()._run(X, rois, batch_indices, *words)  # type: ignore[no-untyped-call]
            return tuple(found)
        result = np.zeros((len(batch_indices), X.shape[1], height, width), X.dtype)
        for region, (picture, (left, top, right, bottom)) in enumerate(
            zip(batch_indices.tolist(), ends, strict=True)
        ):
            rows = _weights(top, bottom, height, X.shape[2], ratio, moved)
            columns = _weights(left, right, width, X.shape[3], ratio, moved)
            used = np.flatnonzero(rows.any(0))
            if used.size:
                lines = slice(used[0], used[-1] + 1)
                result[region] = rows[:, lines] @ X[picture][:, lines] @ columns.T
        return (result,)


def _weights(start: float, end: float, bins: int, size: int, ratio: int, moved: bool) -> Array:
    """(bins, size): how much each of size pixels counts in each bin's mean.

    ratio  samples of a bin, 0: as many as it has pixels. Samples more than one pixel outside
           count as 0.
    """
    length = _length(start, end, moved)
    samples = _samples(start, end, bins, ratio, moved)
    _refuse_excess(bins * samples)
    weights = np.zeros((bins, size), np.float64)
    if samples < 1:
        return weights
    at = np.arange(bins)[:, None] + (np.arange(samples) + 0.5) / samples
    places = start + at * (length / bins)
    counted = (places >= -1.0) & (places <= size)
    inside = np.clip(places, 0.0, size - 1.0)
    lower = np.floor(inside).astype(np.int64)
    share = inside - lower
    rows = np.broadcast_to(np.arange(bins)[:, None], places.shape)
    np.add.at(weights, (rows, lower), (1.0 - share) * counted / samples)
    np.add.at(weights, (rows, np.minimum(lower + 1, size - 1)), share * counted / samples)
    return weights


def _length(start: float, end: float, moved: bool) -> float:
    return end - start if moved else max(end - start, 1.0)


def _samples(start: float, end: float, bins: int, ratio: int, moved: bool) -> int:
    """Of each bin; 0 of a region that ends before it starts."""
    return ratio if ratio > 0 else max(int(np.ceil(_length(start, end, moved) / bins)), 0)


def _refuse_excess(samples: int) -> None:
    if samples > _MOST_SAMPLES:
        raise ValueError(f"a region asks for {samples:.0e} samples")
