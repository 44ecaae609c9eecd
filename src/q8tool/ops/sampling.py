"""GridSample: values of pictures between their pixels, at places that the model computes.

onnx.reference goes from value to value in Python, and knows only the names that opset 20 gave to
the ways of interpolation. Here pictures take a few numpy operations; volumes go to onnx.reference.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.ops.op_grid_sample import GridSample as ReferenceGridSample

__all__ = ["GridSample"]

Array = NDArray[Any]

_NEW_NAMES = {"bilinear": "linear", "bicubic": "cubic"}
_CUBIC_A = -0.75


class GridSample(ReferenceGridSample):
    """X (N, C, H, W), grid (N, h, w, 2) of x and y in -1..1 -> (N, C, h, w)."""

    def _run(
        self,
        X: Array,
        grid: Array,
        mode: str | None = None,
        padding_mode: str | None = None,
        align_corners: int | None = None,
    ) -> tuple[Array, ...]:
        mode = _NEW_NAMES.get(mode or "linear", mode or "linear")
        padding = padding_mode or "zeros"
        aligned = bool(align_corners)
        if X.ndim != 4 or not X.size or not grid.size:
            found = super()._run(X, grid, mode, padding, aligned)  # type: ignore[no-untyped-call]
            shape = (*X.shape[:2], *grid.shape[1:-1])
            return (np.asarray(found[0], X.dtype).reshape(shape),)
        rows = _places(grid[..., 1], X.shape[2], aligned)
        columns = _places(grid[..., 0], X.shape[3], aligned)
        if mode == "nearest":
            rows, columns = np.rint(rows), np.rint(columns)
        if mode != "cubic":  # of which each pixel is moved inside, not the place between them
            rows = _inside(rows, X.shape[2], padding, aligned)
            columns = _inside(columns, X.shape[3], padding, aligned)
        total = np.zeros((*X.shape[:2], *grid.shape[1:3]), np.float64)
        for row, row_weight in _taps(rows, mode):
            for column, column_weight in _taps(columns, mode):
                pixels = _pixels(X, row, column, padding, aligned)
                total += pixels * (row_weight * column_weight)[:, None]
        return (total.astype(X.dtype),)


def _places(coordinates: Array, size: int, aligned: bool) -> Array:
    """-1..1 as positions of pixels: the centres of the outer ones, or their outer edges."""
    wide = coordinates.astype(np.float64) + 1.0
    return wide * (size - 1) / 2.0 if aligned else (wide * size - 1.0) / 2.0


def _inside(places: Array, size: int, padding: str, aligned: bool) -> Array:
    """Positions moved into the picture, where the padding says so."""
    if padding == "border":
        return np.clip(places, 0, size - 1)
    if padding != "reflection":
        return places
    low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
    if high == low:
        return np.zeros_like(places)
    turned = np.mod(places - low, 2 * (high - low))
    return low + np.minimum(turned, 2 * (high - low) - turned)


def _taps(places: Array, mode: str) -> list[tuple[Array, Array]]:
    """Pixels along one axis that a value is made of, each with its weight."""
    if mode == "nearest":
        return [(places.astype(np.int64), np.ones_like(places))]
    low = np.floor(places)
    part = places - low
    first = low.astype(np.int64)
    if mode == "linear":
        return [(first, 1 - part), (first + 1, part)]
    distances = (1 + part, part, 1 - part, 2 - part)
    return [(first + n, _cubic(d)) for n, d in zip((-1, 0, 1, 2), distances, strict=True)]


def _cubic(distance: Array) -> Array:
    """Keys' cubic convolution."""
    a, d = _CUBIC_A, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, far)


def _pixels(pictures: Array, rows: Array, columns: Array, padding: str, aligned: bool) -> Array:
    """(N, C, h, w): the pixels at whole positions; those outside are 0, or as the padding says."""
    height, width = pictures.shape[2:]
    if padding == "zeros":
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    else:
        rows = _inside(rows, height, padding, aligned).astype(np.int64)
        columns = _inside(columns, width, padding, aligned).astype(np.int64)
        inside = np.ones(rows.shape, np.bool_)
    samples = np.arange(len(pictures))[:, None, None]
    found = pictures[
        samples, :, np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    ].transpose(0, 3, 1, 2)
    return np.asarray(np.where(inside[:, None], found, 0), np.float64)
