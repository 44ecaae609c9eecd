"""Ctrl-C at any moment: within a second, also while C runs.

Python runs a signal's handler only when C has returned. Its own C handler, though, writes the
signal's number to the wakeup file descriptor at once; a thread that waits there stops the plans,
so that they raise KeyboardInterrupt. Where neither that nor Python's own one ends the command in
time (one call of a library takes long, or lost the exception), the thread removes the temporary
files and ends the process.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["INTERRUPTED", "MESSAGE", "Interrupts"]

INTERRUPTED = 130
MESSAGE = "interrupted; nothing half-written remains"
# What the command has for its own way out.
_SECONDS = 0.5
_PAUSE = 0.02


class Interrupts:
    """The interrupts of one command.

    came  there was one, and nobody took it for the wish to go on with less (search does)
    """

    def __init__(self) -> None:
        self.came = False
        self._was_raised = False
        self._ended = threading.Event()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """While it is open, SIGINT raises KeyboardInterrupt, also in plans, and ends what goes on.

        Does nothing outside the main thread, which is the only one that gets signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        readable, writable = os.pipe()
        os.set_blocking(writable, False)
        before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        handler = signal.signal(signal.SIGINT, self._raise)
        hooks = sys.unraisablehook, sys.excepthook
        sys.unraisablehook, sys.excepthook = _without_interrupts(*hooks)
        watcher = threading.Thread(target=self._watch, args=(readable,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._ended.set()
            signal.signal(signal.SIGINT, handler)
            sys.unraisablehook, sys.excepthook = hooks
            signal.set_wakeup_fd(before)
            os.close(writable)
            watcher.join()
            os.close(readable)
            _of("q8tool.native.interrupts", "stop_plans", False)

    def _raise(self, *unused: object) -> None:
        """Python's handler: once, so that the clearing up is not interrupted as well."""
        self._note()
        if not self._was_raised:
            self._was_raised = True
            raise KeyboardInterrupt

    def _note(self) -> None:
        if not self.came:
            self.came = True
            _of("q8tool.native.interrupts", "stop_plans", True)

    def _watch(self, readable: int) -> None:
        """The thread: lives as long as the other end of the pipe is open."""
        while numbers := os.read(readable, 64):
            if signal.SIGINT in numbers and not self._ended.is_set():
                self._note()
                self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if self._ended.wait(_PAUSE):
                return
            if _of("q8tool.native.interrupts", "are_plans_stopped") is False:
                self.came = self._was_raised = False
                return
        _of("q8tool.model.files", "remove_temporaries")
        os.write(2, f"error: {MESSAGE}\n".encode())
        os._exit(INTERRUPTED)


def _without_interrupts(
    unraisable: Callable[[Any], object], printed: Callable[..., object]
) -> tuple[Callable[[Any], object], Callable[..., object]]:
    """Both hooks, silent where KeyboardInterrupt is lost: the thread sees to that one.

    Python itself loses it in callbacks that cannot raise, extensions in C print it and raise
    another one instead (import_array of numpy does).
    """

    def show_unraisable(lost: Any) -> None:
        if lost.exc_type is not KeyboardInterrupt:
            unraisable(lost)

    def show_printed(kind: type[BaseException], *rest: Any) -> None:
        if kind is not KeyboardInterrupt:
            printed(kind, *rest)

    return show_unraisable, show_printed


def _of(module: str, function: str, *arguments: Any) -> Any:
    """The call; None where nobody imported the module, which then has nothing to do."""
    found = sys.modules.get(module)
    call = getattr(found, function, None)
    return None if call is None else call(*arguments)
