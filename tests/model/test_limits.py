"""Sizes that no tensor has."""

import pytest

from q8tool.model.limits import FREE_BYTES, is_absurd, most_bytes


@pytest.mark.parametrize(
    ("dims", "absurd"),
    [
        ([], False),
        ([0], False),
        ([2**40], False),
        ([2**40 + 1], True),
        ([2**20, 2**20], False),
        ([2**20, 2**21], True),
        ([0, 2**41], True),  # numpy counts so, too
        ([3, -1], True),
        ([1] * 32, False),
        ([1] * 33, True),
    ],
)
def test_dimensions(dims: list[int], absurd: bool) -> None:
    assert is_absurd(dims) == absurd


def test_what_may_be_computed_grows_with_what_is_given() -> None:
    assert most_bytes(0) == FREE_BYTES
    assert most_bytes(1000) == FREE_BYTES + 100_000
    assert most_bytes(2**60) == most_bytes(2**61)  # the machine has no more
