"""bench: models side by side, on our engine and others, interleaved, and the ratios.

Every contender is a process of its own. Rounds go through all of them in turn, a few runs each, so
that a slow moment of the machine hits all alike; a contender's figure is its median round, its
ratio the median of the ratios to the first contender within each round. Only ratios of one run of
this command mean anything.
"""

import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from q8tool.engine.session import Session
from q8tool.errors import InputError, UsageError
from q8tool.model import io
from q8tool.model.files import temporary_folder
from q8tool.pipelines.agreement import first_run
from q8tool.pipelines.contenders import Feeds, check_engine
from q8tool.pipelines.progress import Progress, silent

__all__ = ["Entry", "Options", "Report", "Row", "feeds_of", "measure", "run"]

RUNS_PER_ROUND = 5


@dataclass(frozen=True)
class Options:
    """What bench is asked to do.

    models   the first one's time on our engine is what everything is compared with
    against  further engines that run the same files
    threads  each a measurement of its own
    batch    how many at once, where the models leave it open
    """

    models: Sequence[Path]
    against: Sequence[str] = ()
    threads: Sequence[int] = (1,)
    rounds: int = 15
    batch: int = 1


@dataclass(frozen=True)
class Entry:
    """A contender: an engine and the file that it runs."""

    title: str
    engine: str
    model: Path


@dataclass(frozen=True)
class Row:
    """What one contender needed.

    milliseconds  of one run: the median round; None if it could not run the model
    ratio         to the first contender, above 1 is slower; None likewise
    load_ms       until it could run
    peak_mb       of its process after the first run
    failure       why it could not run the model, or ""
    """

    title: str
    threads: int
    milliseconds: float | None = None
    ratio: float | None = None
    load_ms: float | None = None
    peak_mb: float | None = None
    failure: str = ""


@dataclass(frozen=True)
class Report:
    """All rows, the first contender first, for each number of threads."""

    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"rows": [dict(vars(row)) for row in self.rows]}


def run(options: Options, progress: Progress = silent) -> Report:
    """Time models on random input.

    Raises InputError for a file that is no usable model or cannot be run here, UsageError for an
    engine that is not installed.
    """
    for engine in options.against:
        check_engine(engine)
    if not options.models:
        raise UsageError("no model to time")
    entries = [
        Entry(f"{path.name}, {engine}", engine, path)
        for path in options.models
        for engine in ("q8tool", *options.against)
    ]
    feeds = feeds_of(options.models[0], options.batch)
    rows: list[Row] = []
    for threads in options.threads:
        found = measure(entries, threads, options.rounds, feeds, progress)
        if found[0].failure:
            raise InputError(f"{options.models[0]}: {found[0].failure}")
        rows += found
    return Report(rows)


def feeds_of(model: Path, batch: int) -> Feeds:
    """Random input of sizes that the model accepts, `batch` times where that is left open."""
    loaded = io.load(model)
    session = Session(loaded, 1)
    _, feeds, _ = first_run(loaded, session.run)
    is_open = {
        info.name for info in session.inputs if info.shape and not isinstance(info.shape[0], int)
    }
    if batch > 1 and not is_open:
        raise UsageError(f"{model}: its batch size is fixed", "leave --batch out")
    return {
        name: np.repeat(array, batch, axis=0) if name in is_open else array
        for name, array in feeds.items()
    }


def measure(
    entries: Sequence[Entry],
    threads: int,
    rounds: int,
    feeds: Feeds,
    progress: Progress = silent,
) -> list[Row]:
    """One row per entry, in their order."""
    with ExitStack() as stack:
        file = stack.enter_context(_saved(feeds))
        workers = [stack.enter_context(_Worker(entry, threads, file)) for entry in entries]
        for number in range(rounds):
            progress(f"{threads} threads" if threads > 1 else "1 thread", number, rounds)
            for worker in workers:
                if not worker.failure:
                    worker.round()
        first = workers[0]
        return [worker.row(first) for worker in workers]


@contextmanager
def _saved(feeds: Feeds) -> Iterator[Path]:
    with temporary_folder() as folder:
        path = folder / "feeds.npz"
        np.savez(path, allow_pickle=False, **dict(feeds))
        yield path


class _Worker:
    """A contender's process."""

    def __init__(self, entry: Entry, threads: int, feeds: Path) -> None:
        self._title, self._threads = entry.title, threads
        self._milliseconds: list[float] = []
        command = [sys.executable, "-m", "q8tool.pipelines.bench_worker", entry.engine]
        self._process = subprocess.Popen(
            [*command, str(entry.model), str(threads), str(feeds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        word, _, rest = self._answer().partition(" ")
        self.failure = "" if word == "ready" else rest or "it stopped without a word"
        self._loaded = (0.0, 0.0)
        if word == "ready":
            seconds, megabytes = rest.split()
            self._loaded = (float(seconds) * 1e3, float(megabytes))

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *unused: object) -> None:
        self._process.communicate()

    def round(self) -> None:
        """One round of runs; a process that died, for want of memory perhaps, has failed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{RUNS_PER_ROUND}\n")
            self._process.stdin.flush()
            self._milliseconds.append(int(self._answer()) / 1e6)
        except (BrokenPipeError, ValueError):
            self.failure = "it stopped while it ran"

    def row(self, first: "_Worker") -> Row:
        """What was found, compared with the first contender round by round."""
        if self.failure:
            return Row(self._title, self._threads, failure=self.failure)
        pairs = zip(self._milliseconds, first._milliseconds, strict=True)
        ratio = (
            statistics.median(own / other for own, other in pairs) if not first.failure else None
        )
        milliseconds = statistics.median(self._milliseconds)
        return Row(self._title, self._threads, milliseconds, ratio, *self._loaded)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
