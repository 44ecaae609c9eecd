"""One case in a process of its own: what it answered, and whether that is allowed.

The process is a fork, so that nothing is imported again; it has 10 seconds of processor time and
may use four times the file and 500 MB.
"""

import os
import resource
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Answer", "ask"]

SECONDS = 10
# Of the wall clock, for what waits instead of computing; other processes may slow a case down.
MOST_SECONDS = 90
FREE_BYTES = 500 << 20
# Where a case is stopped before it takes the machine down.
MOST_BYTES = 6 << 30
ALLOWED = (0, 2, 5)


@dataclass(frozen=True)
class Answer:
    """How a case ended.

    finding   "" if all is well; else one line: what is wrong
    text      what it wrote to stderr
    """

    code: int
    finding: str
    text: str


def ask(case: Callable[[], int], file_bytes: int, log: Path) -> Answer:
    """Runs case, which returns an exit code, in a child; log receives what it prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _run(case, log)
    ended = os.pidfd_open(child)
    if not select.select([ended], [], [], MOST_SECONDS)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    _, status, usage = os.wait4(child, 0)
    text = log.read_text(encoding="utf-8", errors="replace")
    code = os.waitstatus_to_exitcode(status)
    return Answer(code, _finding(code, usage.ru_maxrss << 10, file_bytes, text), text)


def _finding(code: int, used: int, file_bytes: int, text: str) -> str:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"hangs: longer than {SECONDS} s"
    if code < 0:
        return f"crashes: {signal.Signals(-code).name}"
    lines = [line for line in text.splitlines() if line.startswith(("error: ", "Traceback"))]
    if code not in ALLOWED or any(line.startswith("Traceback") for line in lines):
        return f"code {code}: {lines[-1] if lines else text.strip()[-200:]}"
    if used > 4 * file_bytes + FREE_BYTES:
        return f"takes {used >> 20} MB for a file of {file_bytes} bytes"
    if code and len(lines) != 1:
        return f"code {code} with {len(lines)} messages"
    return ""


def _run(case: Callable[[], int], log: Path) -> None:
    code = 99
    try:
        warnings.simplefilter("ignore")  # as errors, in a test, they would end the case
        sys.stdout = sys.stderr = log.open("w", encoding="utf-8")
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stdout.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        code = case()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)
