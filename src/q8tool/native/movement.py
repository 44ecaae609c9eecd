"""The steps of a plan that move data: copies, gathers, interpolation, changes of type.

The methods stand one to one for the functions of csrc/q8.h, as those of plan.py do.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from q8tool.native._q8 import ffi, lib
from q8tool.native.arguments import Arguments, enum_code
from q8tool.native.base import PlanBase

__all__ = ["MovingPlan"]


class MovingPlan(PlanBase):
    """A plan that can move data; see Plan."""

    def copy(
        self,
        x: int,
        y: int,
        *,
        dims: Sequence[int],
        x_strides: Sequence[int],
        y_strides: Sequence[int],
        x_offset: int = 0,
        y_offset: int = 0,
        table: npt.ArrayLike | None = None,
    ) -> range:
        """Strided copy, offsets and strides in elements: q8_plan_add_copy."""
        arguments = Arguments()
        rank = [len(dims)]
        descriptor: Any = ffi.new("q8_copy *")
        descriptor.x, descriptor.y, descriptor.rank = x, y, len(dims)
        descriptor.dims = arguments.pointer(dims, np.int64, rank, "dims")
        descriptor.x_offset, descriptor.y_offset = x_offset, y_offset
        descriptor.x_strides = arguments.pointer(x_strides, np.int64, rank, "x_strides")
        descriptor.y_strides = arguments.pointer(y_strides, np.int64, rank, "y_strides")
        descriptor.table = arguments.pointer(table, np.uint8, [256], "table")
        return self._add(lib.q8_plan_add_copy, descriptor, writes=[y])

    def fill(self, y: int, value: np.generic) -> range:
        """Every element of y becomes `value`, a numpy scalar of y's type."""
        arguments = Arguments()
        pointer = arguments.bytes_of(np.asarray(value))
        return self._add(lib.q8_plan_add_fill, y, pointer, writes=[y])

    def gather(
        self, x: int, y: int, *, outer: int, axis: int, inner: int, indices: npt.ArrayLike
    ) -> range:
        """Rows by constant indices, y[o, i, n] = x[o, indices[i], n]; x is [outer, axis, inner]."""
        arguments = Arguments()
        count = np.size(indices)
        pointer = arguments.pointer(np.ravel(indices), np.int64, [count], "indices")
        return self._add(
            lib.q8_plan_add_gather, x, y, outer, axis, inner, count, pointer, writes=[y]
        )

    def gather_at(
        self, x: int, indices: int, y: int, *, outer: int, axis: int, inner: int
    ) -> range:
        """Rows by the indices of a tensor, int32 or int64; a run refuses what the axis has not."""
        function = lib.q8_plan_add_gather_at
        return self._add(function, x, indices, y, outer, axis, inner, writes=[y])

    def resize(
        self,
        x: int,
        y: int,
        *,
        low_h: npt.ArrayLike,
        high_h: npt.ArrayLike,
        low_w: npt.ArrayLike,
        high_w: npt.ArrayLike,
        fraction_h: npt.ArrayLike,
        fraction_w: npt.ArrayLike,
    ) -> range:
        """Separable interpolation of [N, H, W, C]: q8_plan_add_resize; arrays are [OH] and [OW]."""
        arguments = Arguments()
        height, width = self._dims(y, 4)[1:3]
        descriptor: Any = ffi.new("q8_resize *")
        descriptor.x, descriptor.y = x, y
        descriptor.low_h = arguments.pointer(low_h, np.int32, [height], "low_h")
        descriptor.high_h = arguments.pointer(high_h, np.int32, [height], "high_h")
        descriptor.low_w = arguments.pointer(low_w, np.int32, [width], "low_w")
        descriptor.high_w = arguments.pointer(high_w, np.int32, [width], "high_w")
        descriptor.fraction_h = arguments.pointer(fraction_h, np.float32, [height], "fraction_h")
        descriptor.fraction_w = arguments.pointer(fraction_w, np.float32, [width], "fraction_w")
        return self._add(lib.q8_plan_add_resize, descriptor, writes=[y])

    def resample(
        self,
        x: int,
        y: int,
        *,
        outer: int,
        axis: int,
        inner: int,
        indices: npt.NDArray[np.int32],
        weights: npt.ArrayLike,
        offset: npt.ArrayLike | None = None,
    ) -> range:
        """Weighted sums along one axis of x as [outer, axis, inner]: q8_plan_add_resample.

        indices, weights  [count, taps];  offset  None or [count]
        """
        arguments = Arguments()
        count, taps = indices.shape
        descriptor: Any = ffi.new("q8_resample *")
        descriptor.x, descriptor.y = x, y
        descriptor.outer, descriptor.axis, descriptor.inner = outer, axis, inner
        descriptor.count, descriptor.taps = count, taps
        descriptor.indices = arguments.pointer(indices, np.int32, indices.shape, "indices")
        descriptor.weights = arguments.pointer(weights, np.float32, indices.shape, "weights")
        descriptor.offset = arguments.pointer(offset, np.float32, [count], "offset")
        return self._add(lib.q8_plan_add_resample, descriptor, writes=[y])

    def grid_sample(
        self, x: int, grid: int, y: int, *, is_nearest: bool, padding: str, is_aligned: bool
    ) -> range:
        """Pictures [N, C, H, W] at places [N, h, w, 2]; padding "zeros", "border", "reflection"."""
        how = (is_nearest, enum_code("PAD", padding), is_aligned)
        return self._add(lib.q8_plan_add_grid_sample, x, grid, y, *how, writes=[y])

    def cast(self, x: int, y: int) -> range:
        """Values of x in the type of y, rounded as C does."""
        return self._add(lib.q8_plan_add_cast, x, y, writes=[y])
