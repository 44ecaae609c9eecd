"""Budget: how long one node may keep the host busy.

A file of a kilobyte can ask for a loop without end, or for a picture of millions of pixels from an
operator that walks pixel by pixel. So a node has so many seconds of processor time, and more with
every megabyte that it reads: what takes longer is not worth waiting for, or no sound model.

Python tells a profiler of every call, and so it tells us; where somebody profiles already, there is
no budget.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["SECONDS", "SECONDS_PER_MEGABYTE", "OverBudget", "allowed_seconds", "within"]

SECONDS = 4.0
# onnx.reference takes up to a fifth of a millisecond for an element.
SECONDS_PER_MEGABYTE = 60.0
# Calls between two looks at the clock.
_CALLS = 32


class OverBudget(BaseException):
    """A node has used its time up. No Exception, for operators catch those."""


def allowed_seconds(nbytes: int) -> float:
    """Of processor time, for a node that reads so many bytes."""
    return SECONDS + SECONDS_PER_MEGABYTE * nbytes / 1e6


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises OverBudget once this thread has computed for so long inside the block."""
    if sys.getprofile() is not None:
        yield
        return
    sys.setprofile(_watch(time.thread_time() + seconds))
    try:
        yield
    finally:
        sys.setprofile(None)


def _watch(end: float) -> Callable[[Any, str, Any], None]:
    """A profiler that raises OverBudget."""
    left = _CALLS

    def watch(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            left = _CALLS
            if time.thread_time() > end:
                raise OverBudget

    return watch
