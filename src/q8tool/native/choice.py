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
