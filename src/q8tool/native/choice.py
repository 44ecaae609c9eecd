"""The steps of a plan that compare, choose and look up elements.

The methods stand one to one for the functions of csrc/q8.h, as those of plan.py do.
"""

from q8tool.native._q8 import lib
from q8tool.native.arguments import enum_code
from q8tool.native.movement import MovingPlan

__all__ = ["ChoosingPlan"]


class ChoosingPlan(MovingPlan):
    """A plan that can choose between elements; see Plan."""

    def compare(self, op: str, a: int, b: int, y: int) -> range:
        """1 (uint8) where a op b holds: "equal", "less", "less_equal"; with broadcasting."""
        code = enum_code("COMPARE", op)
        return self._add(lib.q8_plan_add_compare, code, a, b, y, writes=[y])

    def where(self, condition: int, a: int, b: int, y: int) -> range:
        """Elements of a where the condition (uint8) is not 0, else of b; with broadcasting."""
        return self._add(lib.q8_plan_add_where, condition, a, b, y, writes=[y])

    def lookup_elements(
        self, x: int, indices: int, y: int, updates: int | None = None, *, axis: int, op: str = ""
    ) -> range:
        """Elements along an axis, read, or written over x with op "" or "add", "mul", ..."""
        code = enum_code("", op) if op else -1
        places = (x, indices, -1 if updates is None else updates, y, axis, code)
        return self._add(lib.q8_plan_add_lookup_elements, *places, writes=[y])

    def lookup_blocks(
        self,
        x: int,
        indices: int,
        y: int,
        updates: int | None = None,
        *,
        batch_rank: int = 0,
        op: str = "",
    ) -> range:
        """Blocks that rows of indices name, read, or written over x: q8_plan_add_lookup_blocks."""
        code = enum_code("", op) if op else -1
        places = (x, indices, -1 if updates is None else updates, y, batch_rank, code)
        return self._add(lib.q8_plan_add_lookup_blocks, *places, writes=[y])

    def top(
        self,
        x: int,
        values: int,
        indices: int,
        *,
        outer: int,
        axis: int,
        inner: int,
        k: int,
        is_largest: bool,
    ) -> range:
        """The k greatest or least elements along the axis, in order, and their int64 indices."""
        numbers = (outer, axis, inner, k, is_largest)
        writes = [values, indices]
        return self._add(lib.q8_plan_add_top, x, values, indices, *numbers, writes=writes)

    def running_sum(
        self,
        x: int,
        y: int,
        *,
        outer: int,
        axis: int,
        inner: int,
        is_exclusive: bool,
        is_reverse: bool,
    ) -> range:
        """Sums along the axis up to each element, without it, or from the end."""
        numbers = (outer, axis, inner, is_exclusive, is_reverse)
        return self._add(lib.q8_plan_add_running_sum, x, y, *numbers, writes=[y])
