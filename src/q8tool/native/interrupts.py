"""Stopping what runs: a plan of the C engine before its next step, a thread of Python anywhere.

Ctrl-C inside the C engine: Python runs a signal's handler only when C has returned, so somebody
else has to say it to C: the command line's watcher (cli/interrupts.py). One flag for the process:
an interrupt is for all that runs.
"""

from typing import Any

from q8tool.native._q8 import ffi

__all__ = ["STOP", "are_plans_stopped", "raise_in_thread", "stop_plans"]

STOP: Any = ffi.new("int *", 0)
"""1 while plans are to stop; what q8_plan_run takes."""


def stop_plans(is_wanted: bool) -> None:
    """Lets every running plan, and every one that is started, raise KeyboardInterrupt, or none."""
    STOP[0] = is_wanted


def are_plans_stopped() -> bool:
    """Whether an interrupt waits for its answer: the end, or stop_plans(False) and going on."""
    return bool(STOP[0])


def raise_in_thread(thread: int, exception: type[BaseException]) -> None:
    """Lets a thread raise the exception before its next instruction of Python.

    thread     as threading.get_ident says it
    exception  in the place of one that was asked for and has not happened yet
    """
    import ctypes  # takes longer to import than this package, and is hardly ever needed

    raised = ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
