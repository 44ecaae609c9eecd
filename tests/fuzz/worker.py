"""Cases in processes of their own: what each answered, and whether that is allowed.

A process is a fork, so that nothing is imported again. It runs one case after the other, for a fork
takes longer than most cases; one that dies is followed by a fresh one for the cases behind. A case
has 10 seconds of processor time and may use four times the file and 500 MB. It ends with 0 or, as
the file is the cause, with 5.
"""

import json
import math
import os
import resource
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

__all__ = ["ALLOWED", "Answer", "Case", "ask", "ask_each"]

SECONDS = 10
# Of the wall clock, for what waits instead of computing; other processes may slow a case down.
MOST_SECONDS = 600
FREE_BYTES = 500 << 20
EMPTY_BYTES = 128 << 20
# Where a case is stopped before it takes the machine down.
MOST_BYTES = 6 << 30
ALLOWED = frozenset({0, 5})

# Writes its file and lets it be read: the exit code, and the file's size.
Case = Callable[[], tuple[int, int]]


@dataclass(frozen=True)
class Answer:
    """How a case ended.

    finding   "" if all is well; else one line: what is wrong
    text      what it wrote to stderr
    """

    code: int
    finding: str
    text: str


def ask(case: Case, log: Path, allowed: Collection[int] = ALLOWED) -> Answer:
    """Runs one case in a child; log receives what it prints. Other codes are findings."""
    return next(ask_each([case], log, allowed))


def ask_each(
    cases: Sequence[Case], log: Path, allowed: Collection[int] = ALLOWED
) -> Iterator[Answer]:
    """The answer of each case in turn."""
    done = 0
    while done < len(cases):
        for answer in _of_one_child(cases[done:], log, allowed):
            done += 1
            yield answer


def _of_one_child(cases: Sequence[Case], log: Path, allowed: Collection[int]) -> Iterator[Answer]:
    """Answers of the first cases, up to the one that the child died of."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run_all(cases, log, writing)
    os.close(writing)
    answered = 0
    with os.fdopen(reading, "rb", buffering=0) as lines:  # for select knows of no buffer
        while answered < len(cases) and (line := _line(lines)).endswith(b"\n"):
            yield _judged(allowed, **json.loads(line))
            answered += 1
    if answered < len(cases):
        os.kill(child, signal.SIGKILL)  # it may be dead already, and is there until waited for
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if answered < len(cases):
        text = log.read_text(encoding="utf-8", errors="replace")
        yield Answer(code, _death(code), text)


def _line(lines: RawIOBase) -> bytes:
    """What the child says of its next case; nothing if it died or takes too long."""
    ready = select.select([lines], [], [], MOST_SECONDS)[0]
    return lines.readline() if ready else b""


def _death(code: int) -> str:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"hangs: longer than {SECONDS} s"
    return f"crashes: {signal.Signals(-code).name}" if code < 0 else f"exits with {code}"


def _judged(allowed: Collection[int], code: int, used: int, size: int, text: str) -> Answer:
    lines = [line for line in text.splitlines() if line.startswith(("error: ", "Traceback"))]
    finding = ""
    if code not in allowed or any(line.startswith("Traceback") for line in lines):
        finding = f"code {code}: {lines[-1] if lines else text.strip()[-200:]}"
    elif used > 4 * size + FREE_BYTES:
        finding = f"takes {used >> 20} MB for a file of {size} bytes"
    elif code and len(lines) != 1:
        finding = f"code {code} with {len(lines)} messages"
    return Answer(code, finding, text)


# ---- in the child ----


def _run_all(cases: Sequence[Case], log: Path, writing: int) -> None:
    try:
        warnings.simplefilter("ignore")  # as errors, in a test, they would end the case
        output = log.open("w", encoding="utf-8")
        sys.stdout = sys.stderr = output
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        empty = min(_memory("VmRSS"), EMPTY_BYTES)  # tests before this one may have left much more
        for case in cases:
            os.write(writing, json.dumps(_run(case, log, empty)).encode() + b"\n")
    finally:
        os._exit(0)


def _run(case: Case, log: Path, empty: int) -> dict[str, int | str]:
    """empty: bytes of a process that has run nothing."""
    os.truncate(log, 0)
    sys.stdout.seek(0)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(spent.ru_utime + spent.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    Path("/proc/self/clear_refs").write_text("5")  # the most memory so far is forgotten
    before, code, size = _memory("VmRSS"), 99, 0
    try:
        code, size = case()
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    used = _memory("VmHWM") - before + empty
    text = log.read_text(encoding="utf-8", errors="replace")
    return {"code": code, "used": used, "size": size, "text": text}


def _memory(name: str) -> int:
    """Bytes, of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10
    return 0
