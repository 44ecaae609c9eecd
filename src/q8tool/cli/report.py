"""What the user sees: tables and JSON on stdout; errors, notes and progress on stderr."""

import codecs
import difflib
import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import click

from q8tool.errors import InputError, Q8Error

__all__ = [
    "amount",
    "error",
    "facts",
    "failure",
    "line",
    "make_streams_ready",
    "note",
    "print_json",
    "progress",
    "shortened",
    "table",
]

# Width of tables when no terminal says how wide it is: enough that nothing is cut.
_PIPE_WIDTH = 400
# Columns between two cells, and the narrowest that a first column gets.
_GAP = 3
_NARROWEST = 12


def make_streams_ready() -> None:
    """Let stdout and stderr take any text: closed ones drop it, others escape what they lack."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def line(text: str = "") -> None:
    """One line of the result on stdout."""
    print(_plain(text))


def print_json(report: Mapping[str, Any]) -> None:
    """The report as JSON on stdout, keys in the order of the report."""
    # JSON has escapes of its own for what the terminal's encoding lacks.
    is_ascii = codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8"
    print(json.dumps(report, indent=2, ensure_ascii=is_ascii, allow_nan=False))


def note(text: str) -> None:
    """One line for people on stderr: what was decided, what was skipped."""
    print(_plain(text), file=sys.stderr)


def error(message: str, hint: str = "") -> None:
    """The two lines of an error on stderr."""
    print(f"error: {_one_line(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {_one_line(hint)}", file=sys.stderr)


def failure(problem: BaseException) -> int:
    """Print an exception as an error; return its exit code (DESIGN section 7)."""
    if isinstance(problem, Q8Error):
        error(problem.message, problem.hint)
        return problem.exit_code
    if isinstance(problem, click.exceptions.NoArgsIsHelpError):
        print(problem.format_message(), file=sys.stderr)
        return 2
    if isinstance(problem, click.ClickException):
        message, _, hint = _usage_text(problem).partition("\n")
        error(message, hint)
        return 2
    if _is_out_of_memory(problem):
        error("not enough memory")
        return InputError.exit_code
    if isinstance(problem, OSError) and problem.errno == errno.ENOSPC and not problem.filename:
        error("stdout cannot be written: no space left on device")
        return 2
    if isinstance(problem, OSError) and problem.filename:
        error(f"{problem.filename}: {(problem.strerror or str(problem)).lower()}")
        return 2
    error(f"{type(problem).__name__}: {problem}", "this is a bug; --debug shows where")
    return 1


def _is_out_of_memory(problem: BaseException) -> bool:
    """Also what the system says where a library's file finds no room in memory."""
    is_lost = isinstance(problem, ImportError) and "failed to map segment" in str(problem)
    return isinstance(problem, MemoryError) or is_lost


def _usage_text(problem: click.ClickException) -> str:
    """click's message with its suggestion as a second line, in our spelling."""
    if isinstance(problem, click.NoSuchOption):
        near = difflib.get_close_matches(problem.option_name, problem.possibilities or (), 1, 0)
        hint = f"\ndid you mean {near[0]}?" if near else ""
        return f"no such option: {problem.option_name}{hint}"
    text = problem.format_message()
    return text[:1].lower() + text[1:].rstrip(".")


def _one_line(text: str) -> str:
    return _plain(" ".join(text.split()))


def _plain(text: str) -> str:
    """The text without control characters: names come from files, and must not steer terminals."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """A table on stdout, numbers to the right.

    Nothing wraps: where a terminal is too narrow, the cells of the first column lose their middle.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    cells = [[_cell(item) for item in row] for row in rows]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
    widths = [max(map(len, texts)) for texts in zip(columns, *cells, strict=True)]
    room = max(width - sum(widths[1:]) - _GAP * len(widths) - 1, _NARROWEST)
    drawn = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for index, name in enumerate(columns):
        numbers = [_is_number(row[index]) for row in cells]
        # Names may look like numbers; a word among numbers ("at run time") does not change sides.
        has_numbers = any(numbers) if index else bool(numbers) and all(numbers)
        justify: Literal["left", "right"] = "right" if has_numbers else "left"
        least = widths[index] if index else None
        drawn.add_column(name, justify=justify, no_wrap=True, min_width=least)
    for row in cells:
        drawn.add_row(shortened(row[0], room), *row[1:])
    Console(file=sys.stdout, width=width, markup=False, highlight=False).print(drawn)


def shortened(text: str, width: int) -> str:
    """The text, without its middle if it is longer than width: layers differ at both ends."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def facts(rows: Sequence[tuple[str, object]]) -> None:
    """Names and what they are, one per line on stdout, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name.ljust(width)}  {_cell(value)}".rstrip())


def amount(count: int) -> str:
    """A number of bytes as people read it: 10.4 MB; powers of ten."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{int(size)} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def _is_number(text: str) -> bool:
    return bool(text) and not text.strip("-+.,0123456789e?")


def _cell(item: object) -> str:
    if item is None:
        return ""
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int):
        return f"{item:,}"
    return f"{item:.6g}" if isinstance(item, float) else _plain(str(item))


@contextmanager
def progress(stream: TextIO | None = None) -> Iterator["ProgressBar"]:
    """A progress bar with the time left on stderr; nothing where stderr is no terminal."""
    bar = ProgressBar(stream or sys.stderr)
    try:
        yield bar
    finally:
        bar.close()


class ProgressBar:
    """Call it with a stage, steps done and steps in all, as pipelines do."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.stage = ""
        self.bar: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Draw how far the stage is; a new stage begins a new bar."""
        if not self.stream.isatty():
            return
        if self.bar is None or stage != self.stage:
            self._begin(stage, total)
        self.bar.n = done
        self.bar.refresh()

    def _begin(self, stage: str, total: int) -> None:
        from tqdm import tqdm

        self.close()
        self.stage = stage
        self.bar = tqdm(total=total or None, desc=stage, file=self.stream, leave=False, ncols=80)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
