"""Budget: how long one node may keep the host busy.

A file of a kilobyte can ask for a loop without end, or for a picture of millions of pixels from an
operator that walks pixel by pixel. So a node has so many seconds of processor time, and more with
every megabyte that it reads: what takes longer is not worth waiting for, or no sound model.

    within(seconds) --> watcher, a thread that looks ten times a second --> OverBudget in the node's
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from q8tool.native.interrupts import raise_in_thread

__all__ = ["SECONDS", "SECONDS_PER_MEGABYTE", "OverBudget", "allowed_seconds", "within"]

SECONDS = 4.0
# onnx.reference takes up to a fifth of a millisecond for an element.
SECONDS_PER_MEGABYTE = 60.0
# Windows over pictures are a few calls of numpy here. Those that take longer are as large as their
# picture, in files that nobody trained.
WINDOW_SECONDS_PER_MEGABYTE = 0.5
_WINDOWS = frozenset(
    (
        "AveragePool", "Col2Im", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "LpPool",
        "MaxPool", "QLinearConv",
    )
)  # fmt: skip

_LOOKS_EVERY = 0.1


class OverBudget(BaseException):
    """A node has used its time up. No Exception, for operators catch those."""


def allowed_seconds(nbytes: int, op_type: str = "") -> float:
    """Of processor time, for a node of a standard operator that reads so many bytes."""
    each = WINDOW_SECONDS_PER_MEGABYTE if op_type in _WINDOWS else SECONDS_PER_MEGABYTE
    return SECONDS + each * nbytes / 1e6


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises OverBudget once this thread has computed for so long inside the block.

    It comes between two instructions of Python: a call of numpy ends first.
    """
    task = _Task(seconds)
    _watcher.add(task)
    try:
        yield
    finally:
        _watcher.remove(task)


class _Task:
    """What a thread does inside the block."""

    def __init__(self, seconds: float) -> None:
        self.thread = threading.get_ident()
        self.is_over = False
        self._clock = _clock_of(self.thread)
        self._end = time.clock_gettime(self._clock) + seconds

    def has_time(self) -> bool:
        """Asked by the watcher."""
        return time.clock_gettime(self._clock) < self._end


def _clock_of(thread: int) -> int:
    """Of a thread's processor time; where the system has none, of the process's."""
    if hasattr(time, "pthread_getcpuclockid"):
        return time.pthread_getcpuclockid(thread)
    return time.CLOCK_PROCESS_CPUTIME_ID


class _Nothing(BaseException):
    """Stands in for what shall not be raised any more."""


def _forget_raised(thread: int) -> None:
    """Nothing is raised in this thread later on.

    What is pending is replaced and caught: where it is taken back, CPython 3.11 looks for it for
    ever, and hangs as soon as a profiler is set.
    """
    try:
        raise_in_thread(thread, _Nothing)
        while True:
            pass
    except _Nothing:
        return


class _Watcher:
    """One thread for all tasks of a process, from the first task on."""

    def __init__(self) -> None:
        self._tasks: set[_Task] = set()
        self._lock = threading.Lock()
        self._has_tasks = threading.Event()
        self._is_running = False

    def add(self, task: _Task) -> None:
        """Begins to watch."""
        with self._lock:
            self._tasks.add(task)
            self._has_tasks.set()
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="q8tool-budget", daemon=True).start()

    def remove(self, task: _Task) -> None:
        """The task has ended; what it was to be told comes too late."""
        with self._lock:
            self._tasks.discard(task)
            if not self._tasks:
                self._has_tasks.clear()
        if task.is_over:
            _forget_raised(task.thread)

    def _run(self) -> None:
        while True:
            self._has_tasks.wait()
            time.sleep(_LOOKS_EVERY)
            with self._lock:
                # Again at every look: a callback of the garbage collector swallows what it raises.
                for task in [task for task in self._tasks if not task.has_time()]:
                    task.is_over = True
                    raise_in_thread(task.thread, OverBudget)


_watcher = _Watcher()


def _after_fork() -> None:
    """The child has no such thread, and its parent's tasks are not its own."""
    global _watcher
    _watcher = _Watcher()


os.register_at_fork(after_in_child=_after_fork)
