"""GridSample: values of pictures between their pixels, at places that the model computes.

onnx.reference goes from value to value in Python, and knows only the names that opset 20 gave to
the ways of interpolation. Here pictures and volumes take a few numpy operations.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

__all__ = ["GridSample", "pixels_at", "taps_along"]

Array = NDArray[Any]

_NEW_NAMES = {"bilinear": "linear", "bicubic": "cubic"}
_CUBIC_A = -0.75


class GridSample(OpRun):
    """X (N, C, H, W), grid (N, h, w, 2) of x and y in -1..1 -> (N, C, h, w); volumes alike."""

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
        sizes = X.shape[2:]
        if grid.shape[0] != X.shape[0] or grid.shape[-1] != len(sizes):
            raise ValueError(f"a grid of shape {grid.shape} for an input of shape {X.shape}")
        total = np.zeros((*X.shape[:2], *grid.shape[1:-1]), np.float64)
        if not X.size or not grid.size:
            return (total.astype(X.dtype),)
        taps = []
        for place, size in enumerate(sizes):
            places = _places(grid[..., len(sizes) - 1 - place], size, aligned)
            if mode == "nearest":
                places = np.rint(places)
            if mode != "cubic":  # of which each pixel is moved inside, not the place between them
                places = _inside(places, size, padding, aligned)
            taps.append(taps_along(places, mode))
        for chosen in itertools.product(*taps):
            pixels = pixels_at(X, [at for at, _ in chosen], padding, aligned)
            total += pixels * np.prod([weight for _, weight in chosen], axis=0)[:, None]
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


def taps_along(places: Array, mode: str) -> list[tuple[Array, Array]]:
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


def pixels_at(pictures: Array, places: Sequence[Array], padding: str, aligned: bool) -> Array:
    """Pixels (N, C, ...) at whole places (N, ...); those outside are 0, or as the padding says."""
    sizes = pictures.shape[2:]
    inside = np.ones(places[0].shape, np.bool_)
    if padding == "zeros":
        for at, size in zip(places, sizes, strict=True):
            inside &= (at >= 0) & (at < size)
    else:
        moved = zip(places, sizes, strict=True)
        places = [_inside(at, size, padding, aligned).astype(np.int64) for at, size in moved]
    samples = np.arange(len(pictures)).reshape(-1, *[1] * (places[0].ndim - 1))
    clipped = [np.clip(at, 0, size - 1) for at, size in zip(places, sizes, strict=True)]
    index: tuple[Any, ...] = (samples, slice(None), *clipped)
    found = np.moveaxis(pictures[index], -1, 1)
    return np.asarray(np.where(inside[:, None], found, 0), np.float64)
