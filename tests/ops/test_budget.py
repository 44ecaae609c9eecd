"""A node's time: what computes for too long is stopped, wherever it is, and nothing else is."""

import cProfile
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from q8tool.errors import UnsupportedError
from q8tool.ops import budget
from q8tool.ops.host import HostOperator
from tests.build import node


def steps() -> Iterator[int]:
    """Ever on; each takes a call."""
    while True:
        yield 1


def count() -> None:
    for _ in steps():
        pass


def test_what_computes_for_too_long_is_stopped() -> None:
    started = time.thread_time()
    with pytest.raises(budget.OverBudget), budget.within(0.1):
        count()
    assert 0.1 <= time.thread_time() - started < 1
    assert sys.getprofile() is None


def test_an_operator_that_catches_everything_is_stopped_as_well() -> None:
    def stubborn() -> None:
        try:
            count()
        except Exception:
            count()

    with pytest.raises(budget.OverBudget), budget.within(0.05):
        stubborn()


def test_time_that_others_take_does_not_count() -> None:
    with budget.within(0.05):
        time.sleep(0.1)
        list(map(str, range(100)))


def test_what_is_profiled_has_no_budget() -> None:
    profile = cProfile.Profile()
    profile.enable()
    try:
        with budget.within(0.0):
            list(map(str, range(1000)))
        assert sys.getprofile() is not None
    finally:
        profile.disable()


def test_a_megabyte_gives_more_time() -> None:
    assert budget.allowed_seconds(0) == budget.SECONDS
    assert budget.allowed_seconds(2_000_000) - budget.SECONDS == 2 * budget.SECONDS_PER_MEGABYTE


def test_a_node_that_takes_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point by point in Python: so many of them take a minute."""
    monkeypatch.setattr(budget, "SECONDS", 0.1)
    monkeypatch.setattr(budget, "SECONDS_PER_MEGABYTE", 0.1)
    item = node("GridSample", "x grid", "y")
    item.name = "warp"
    operator = HostOperator(item, ["x", "grid"], {"": 20})
    with pytest.raises(UnsupportedError, match=r"'warp' \(GridSample\) takes too long"):
        operator.run([np.ones((1, 1, 8, 8), np.float32), np.zeros((1, 500, 500, 2), np.float32)])
