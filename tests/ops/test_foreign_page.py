"""The page names every operator of onnxruntime that is read, and no other."""

from q8tool.model import (
    foreign_attention,
    foreign_float,
    foreign_integer,
    foreign_packed,
    foreign_qlinear,
)
from tests.ops.foreign_page import BECOMES


def test_all_that_are_read() -> None:
    families = (
        foreign_attention, foreign_float, foreign_integer, foreign_packed, foreign_qlinear
    )  # fmt: skip
    assert set(BECOMES) == {name for family in families for name in family.REPLACE}
