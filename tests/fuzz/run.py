"""Damages files and lets commands read them: `python -m tests.fuzz.run --seconds 60`.

Case N of a target is always the same file. What ends in anything but an answer is kept with its
number and printed; the exit code is then 1.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

# Before numpy: a fork has only the thread that forked.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from tests.fuzz.targets import TARGETS, Target, prepare
from tests.fuzz.worker import Answer, ask, ask_each

__all__ = ["main", "try_case", "working_folder"]

# Cases that one process runs, if none ends it.
AT_ONCE = 64


@contextmanager
def working_folder() -> Iterator[Path]:
    """A temporary folder with the sound files, which is the current one meanwhile."""
    before, cache = Path.cwd(), os.environ.get("Q8_CACHE")
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["Q8_CACHE"] = str(Path(name) / "cache")
        try:
            prepare()
            yield Path(name)
        finally:
            os.chdir(before)
            os.environ.pop("Q8_CACHE")
            if cache is not None:
                os.environ["Q8_CACHE"] = cache


def try_case(name: str, number: int, made: dict[str, bytes]) -> Answer:
    """Case number of a target, in the working folder; made: seeds that exist already."""
    target = TARGETS[name]
    assert target.names  # found here, not anew in every child
    return ask(partial(_case, name, number, made), Path("case.log"), target.allowed)


def _case(name: str, number: int, made: dict[str, bytes]) -> tuple[int, int]:
    ending, data, random = _damaged(name, number, made)
    path = Path(f"case{ending}")
    path.write_bytes(data)
    return TARGETS[name].run(path, random), len(data)


def _damaged(
    name: str, number: int, made: dict[str, bytes]
) -> tuple[str, bytes, np.random.Generator]:
    """How the damaged file of a case ends, what is in it, and chance for what comes then."""
    target: Target = TARGETS[name]
    random = np.random.default_rng([number, *name.encode()])
    chosen = target.names[int(random.integers(len(target.names)))]
    key = f"{name}/{chosen}"
    if key not in made:
        made[key] = target.seeds[chosen]()
    return Path(chosen).suffix, target.damage(random, made[key]), random


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.fuzz.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--count", type=int, default=1 << 62, help="cases at most")
    parser.add_argument("--keep", type=Path, help="a folder for files that found something")
    options = parser.parse_args()
    keep = options.keep and options.keep.resolve()
    found = 0
    for name in options.target or sorted(TARGETS):
        with working_folder():
            found += _fuzz(name, options.first, options.count, options.seconds, keep)
    return 1 if found else 0


def _fuzz(name: str, first: int, count: int, seconds: float, keep: Path | None) -> int:
    # Before any damage, since plans share a folder, and before any fork, which would make its own.
    made = {f"{name}/{chosen}": make() for chosen, make in TARGETS[name].seeds.items()}
    codes, findings = Counter[int](), Counter[str]()
    end, number = time.monotonic() + seconds, first
    while number < first + count and time.monotonic() < end:
        numbers = range(number, min(number + AT_ONCE, first + count))
        cases = [partial(_case, name, number, made) for number in numbers]
        answers = ask_each(cases, Path("case.log"), TARGETS[name].allowed)
        for number, answer in zip(numbers, answers, strict=True):
            codes[answer.code] += 1
            if answer.finding:
                if not findings[answer.finding]:
                    print(f"{name} case {number}: {answer.finding}", flush=True)
                findings[answer.finding] += 1
                if keep:
                    ending, data, _ = _damaged(name, number, made)
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{name}-{number}{ending}").write_bytes(data)
        number += 1
    counts = ", ".join(f"{times} with code {code}" for code, times in sorted(codes.items()))
    print(f"{name}: {number - first} cases: {counts}; {findings.total()} findings", flush=True)
    return findings.total()


if __name__ == "__main__":
    sys.exit(main())
