"""A node's time: what computes for too long is stopped, wherever it is, and nothing else is."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from q8tool.errors import UnsupportedError
from q8tool.ops import budget
from q8tool.ops.host import HostOperator
from tests.build import node


def forever() -> None:
    """Without a call: nothing but Python's own instructions."""
    while True:
        pass


def test_what_computes_for_too_long_is_stopped() -> None:
    started = time.thread_time()
    with pytest.raises(budget.OverBudget), budget.within(0.1):
        forever()
    assert 0.1 <= time.thread_time() - started < 1


def test_an_operator_that_catches_everything_is_stopped_as_well() -> None:
    def stubborn() -> None:
        try:
            forever()
        except Exception:
            forever()

    with pytest.raises(budget.OverBudget), budget.within(0.05):
        stubborn()


def test_time_that_others_take_does_not_count() -> None:
    with budget.within(0.05):
        time.sleep(0.3)
        list(map(str, range(100)))


def test_each_thread_has_its_own_time() -> None:
    ended: list[str] = []

    def run(name: str, seconds: float) -> None:
        try:
            with budget.within(seconds):
                until = time.thread_time() + 0.5
                while time.thread_time() < until:
                    pass
                ended.append(name)
        except budget.OverBudget:
            ended.append(f"{name} stopped")

    threads = [threading.Thread(target=run, args=args) for args in (("a", 0.1), ("b", 60.0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["a stopped", "b"]


def test_who_ends_in_the_last_moment_is_not_stopped_later() -> None:
    """Blocks that end about when the watcher looks; what comes comes inside of them."""
    for microseconds in range(0, 3000, 50):
        with contextlib.suppress(budget.OverBudget), budget.within(microseconds / 1e6):
            until = time.thread_time() + 0.002
            while time.thread_time() < until:
                pass
        for _ in range(100):
            pass
    time.sleep(0.2)


PROFILED = """
import sys
from q8tool.ops.budget import OverBudget, within
try:
    with within(0.05):
        while True:
            pass
except OverBudget:
    pass
calls = []
def called():
    return 1
sys.setprofile(lambda frame, event, argument: calls.append(event))
for _ in range(1000):
    called()
sys.setprofile(None)
assert len(calls) >= 2000
"""


def test_a_profiler_works_after_somebody_was_stopped() -> None:
    """CPython 3.11 hung: an exception that is taken back is looked for at every instruction."""
    subprocess.run([sys.executable, "-c", PROFILED], check=True, timeout=60)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_has_a_watcher_of_its_own() -> None:
    with budget.within(1.0):
        child = os.fork()
        if child == 0:
            try:
                with budget.within(0.05):
                    forever()
            except budget.OverBudget:
                os._exit(7)
            os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_megabyte_gives_more_time() -> None:
    assert budget.allowed_seconds(0) == budget.SECONDS
    assert budget.allowed_seconds(2_000_000) - budget.SECONDS == 2 * budget.SECONDS_PER_MEGABYTE


# Where it comes in a callback of the garbage collector it is swallowed there, and comes again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_node_that_takes_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point by point in Python: so many of them take a minute."""
    monkeypatch.setattr(budget, "SECONDS", 0.1)
    monkeypatch.setattr(budget, "SECONDS_PER_MEGABYTE", 0.1)
    size = {"output_height": 500, "output_width": 500}
    item = node("RoiAlign", "x rois indices", "y", mode="max", **size)
    item.name = "regions"
    operator = HostOperator(item, ["x", "rois", "indices"], {"": 16})
    rois = np.asarray([[0, 0, 7, 7]], np.float32)
    with pytest.raises(UnsupportedError, match=r"'regions' \(RoiAlign\) takes too long"):
        operator.run([np.ones((1, 1, 8, 8), np.float32), rois, np.zeros(1, np.int64)])


def test_a_window_as_large_as_its_picture() -> None:
    """4 x 10^9 multiply-adds of half a megabyte, in a file of a few hundred bytes."""
    inputs = {"x": np.ones((1, 1, 65536), np.float32), "w": np.ones((1, 1, 65536), np.float32)}
    item = node("ConvTranspose", "x w", "y")
    item.name = "wide"
    operator = HostOperator(item, ["x", "w"], {"": 13})
    started = time.thread_time()
    with pytest.raises(UnsupportedError, match=r"'wide' \(ConvTranspose\) takes too long"):
        operator.run(list(inputs.values()))
    assert time.thread_time() - started < 8
