"""Ctrl-C at any moment: also while the C engine runs.

Python runs a signal's handler only when C has returned. Its own C handler, though, writes the
signal's number to the wakeup file descriptor at once; a thread that waits there stops the plans.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[None]:
    """While it is open, SIGINT stops running plans; they raise KeyboardInterrupt.

    Does nothing outside the main thread, which is the only one that gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(readable,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writable)
        watcher.join()
        os.close(readable)
        _stop_plans(False)


def _watch(readable: int) -> None:
    while numbers := os.read(readable, 64):
        if signal.SIGINT in numbers:
            _stop_plans(True)


def _stop_plans(is_wanted: bool) -> None:
    """Where no engine was imported yet, no plan runs: it must not be imported for this."""
    module = sys.modules.get("q8tool.native.interrupts")
    if module is not None:
        module.stop_plans(is_wanted)
