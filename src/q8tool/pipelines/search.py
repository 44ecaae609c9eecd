"""Search: the fewest layers that must stay float for the drop to be small enough.

    rank    every layer alone in eight bits: how much noise reaches the output
    halve   how many of the worst must stay float?  log2(layers) trials
    prune   each of those, the least harmful first: does it work in eight bits after all?

Every trial is written to a state file at once: a run that was killed goes on where it was. When the
time is up, or on Ctrl-C, the best result so far counts.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from q8tool.errors import UsageError
from q8tool.model.files import write_atomically
from q8tool.native.interrupts import stop_plans
from q8tool.pipelines.answers import Comparison
from q8tool.pipelines.progress import Progress, silent

__all__ = ["Cost", "Found", "Task", "is_good", "judged_drop", "search"]

FORMAT = "q8tool.search"
VERSION = 1
# Of the time there is, ranking layer by layer may take so much; else they are ranked by the noise
# of their own results.
RANKING_SHARE = 0.4

Layers = frozenset[str]
# What is known of a trial. Equal answers have no number of decibels.
_TRIAL = ("drop", "expected", "sqnr_db", "judged", "good")


@dataclass(frozen=True)
class Task:
    """What is searched for.

    layers       names of those that can be eight-bit, in graph order
    noise        their own noise (pipelines/damage.py)
    try_out      compares the model in which these layers are float
    rank_one     signal to noise at the output with one layer in eight bits
    max_drop     what may be lost, 0..1
    fingerprint  of everything that a result depends on: another state file is no use
    seconds      how long it may take
    """

    layers: Sequence[str]
    noise: Mapping[str, float]
    try_out: Callable[[Layers], Comparison]
    rank_one: Callable[[str], float]
    max_drop: float
    fingerprint: str
    state: Path
    seconds: float


@dataclass(frozen=True)
class Cost:
    """The least drop (judged_drop) that was found with so many float layers."""

    float_layers: int
    drop: float


@dataclass(frozen=True)
class Found:
    """The fewest float layers that were found; None: no trial was good enough.

    ranking  layers by damage, the worst first
    stopped  why the search ended early: "", "time limit" or "interrupted"
    resumed  trials that a state file knew already
    costs    of the trials those that no other beats with as few layers, the fewest layers first
    """

    layers: Layers | None
    ranking: list[str]
    trials: int
    stopped: str = ""
    resumed: int = 0
    costs: Sequence[Cost] = ()


class _TimeIsUpError(Exception):
    pass


@dataclass
class _Search:
    task: Task
    progress: Progress
    end: float
    ranks: dict[str, float] = field(default_factory=dict)
    tried: dict[Layers, dict[str, Any]] = field(default_factory=dict)
    fresh: int = 0
    is_ranked: bool = False

    def good(self, layers: Layers) -> bool:
        """Whether the drop is small enough with these layers float; remembered."""
        if layers not in self.tried:
            self._check_time()
            found = self.task.try_out(layers)
            sqnr = found.sqnr_db
            self.tried[layers] = {
                "drop": found.drop,
                "expected": found.expected,
                "sqnr_db": sqnr if sqnr is not None and math.isfinite(sqnr) else None,
                "judged": judged_drop(found),
                "good": is_good(found, self.task.max_drop),
            }
            self.fresh += 1
            self._save()
            self.progress("searching for layers to keep float", len(self.tried), 0)
        return bool(self.tried[layers]["good"])

    def ranking(self) -> list[str]:
        """Layers, the most harmful first."""
        started, layers = time.monotonic(), self.task.layers
        budget = RANKING_SHARE * self.task.seconds
        for done, name in enumerate(layers):
            if name not in self.ranks:
                self._check_time()
                self.ranks[name] = self.task.rank_one(name)
                self._save()
                if (time.monotonic() - started) / (done + 1) * len(layers) > budget:
                    # Too slow: their own noise has to do.
                    return sorted(layers, key=lambda name: -self.task.noise.get(name, 0.0))
            self.progress("ranking layers by damage", done + 1, len(layers))
        self.is_ranked = True
        return sorted(layers, key=lambda name: self.ranks[name])

    def halve(self, ranking: Sequence[str]) -> int | None:
        """How many of the worst must stay float; None if all but one are not enough."""
        most = len(ranking) - 1
        if most < 1 or not self.good(frozenset(ranking[:most])):
            return None
        low, high = 1, most
        while low < high:
            middle = (low + high) // 2
            if self.good(frozenset(ranking[:middle])):
                high = middle
            else:
                low = middle + 1
        return high

    def prune(self, ranking: Sequence[str], count: int) -> None:
        """Puts single layers back into eight bits, as long as the drop stays small enough."""
        kept = list(ranking[:count])
        for name in reversed(ranking[:count]):
            fewer = frozenset(other for other in kept if other != name)
            if fewer and self.good(fewer):
                kept.remove(name)

    def best(self) -> Layers | None:
        """The good trial with the fewest float layers, of those the one with the least noise."""
        good = [layers for layers, trial in self.tried.items() if trial["good"]]
        return min(
            good,
            key=lambda layers: (len(layers), -_decibels(self.tried[layers])),
            default=None,
        )

    def costs(self) -> list[Cost]:
        """What fewer float layers cost, as far as trials say."""
        known = [
            Cost(len(layers), float(trial["judged"]))
            for layers, trial in self.tried.items()
            if trial["judged"] is not None
        ]
        found: list[Cost] = []
        for cost in sorted(known, key=lambda one: (one.float_layers, one.drop)):
            if not found or cost.drop < found[-1].drop:
                found.append(cost)
        return found

    def _check_time(self) -> None:
        if time.monotonic() > self.end:
            raise _TimeIsUpError

    def load(self) -> int:
        """Takes what an earlier run found out; how many trials that are."""
        try:
            document = json.loads(self.task.state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return 0
        except (OSError, RecursionError, ValueError) as error:
            raise _no_state(self.task.state) from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise _no_state(self.task.state)
        if document.get("fingerprint") != self.task.fingerprint:
            return 0
        try:
            self.ranks = {str(name): float(rank) for name, rank in document["ranks"].items()}
            self.tried = {
                frozenset(map(str, trial["float"])): {key: trial[key] for key in _TRIAL}
                for trial in document["tried"]
            }
            self.costs()
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise _no_state(self.task.state) from error
        return len(self.tried)

    def _save(self) -> None:
        tried = [{"float": sorted(layers), **trial} for layers, trial in self.tried.items()]
        document = {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": self.task.fingerprint,
            "ranks": {n: rank if math.isfinite(rank) else 1e9 for n, rank in self.ranks.items()},
            "tried": tried,
        }
        with write_atomically(self.task.state, force=True) as file:
            file.write((json.dumps(document, indent=1) + "\n").encode("utf-8"))


def _decibels(trial: Mapping[str, Any]) -> float:
    sqnr = trial["sqnr_db"]
    return math.inf if sqnr is None else float(sqnr)


def judged_drop(found: Comparison) -> float | None:
    """The drop that counts: as counted or, where classes are not known, as expected if it is more.

    None where nothing can be said.
    """
    drop = found.drop
    if drop is None or found.accuracy is not None or found.expected is None:
        return drop
    return max(drop, 1 - found.expected)


def is_good(found: Comparison, max_drop: float) -> bool:
    """Whether the drop is small enough."""
    drop = judged_drop(found)
    return drop is not None and drop <= max_drop


def search(task: Task, progress: Progress = silent) -> Found:
    """Looks for the fewest layers that must stay float. The state file goes when it is done.

    Raises UsageError if the state file is something else; KeyboardInterrupt if it comes before
    anything good was found.
    """
    run = _Search(task, progress, time.monotonic() + task.seconds)
    resumed = run.load()
    stopped = ""
    ranking = sorted(task.layers, key=lambda name: -task.noise.get(name, 0.0))
    try:
        ranking = run.ranking()
        count = run.halve(ranking)
        if count is not None:
            run.prune(ranking, count)
    except _TimeIsUpError:
        stopped = "time limit"
    except KeyboardInterrupt:
        if run.best() is None:
            raise
        stop_plans(False)
        stopped = "interrupted"
    best = run.best()
    if best is None and not run.is_ranked:
        # With the layers in their true order there may be something: the next run goes on.
        stopped = stopped or "time limit"
    if not stopped:
        task.state.unlink(missing_ok=True)
    return Found(best, ranking, run.fresh, stopped, resumed, run.costs())


def _no_state(path: Path) -> UsageError:
    return UsageError(f"{path}: is no state of a search", "remove it, or name another --state file")
