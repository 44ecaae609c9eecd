"""Fallback: which layers stay float so that the drop is at most what was asked.

The drop is judged on all samples, also those that ranges were measured on: the more there are, the
less luck decides. What the report and the file say is measured on those held back.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import onnx_ir as ir

from q8tool.calibrate.collect import Sample, SampleStream
from q8tool.model.graph import node_name
from q8tool.pipelines.answers import Comparison, Referee, Truth, samples_hash
from q8tool.pipelines.damage import Damage
from q8tool.pipelines.guard import beyond
from q8tool.pipelines.progress import Progress
from q8tool.pipelines.rewriting import Rewritten
from q8tool.pipelines.search import Found, Task, is_good, search

__all__ = ["Fallback", "Goal", "reach_goal"]

# More samples than these make every trial slower and say little more.
MOST_SAMPLES = 200
RANKING_SAMPLES = 16


@dataclass(frozen=True)
class Goal:
    """What --max-drop asks for.

    max_drop  0..1;  seconds  for the search;  state  where the search is kept while it runs
    """

    max_drop: float
    seconds: float
    state: Path


@dataclass(frozen=True)
class Fallback:
    """What stays float, and what was judged.

    layers      names of the layers that stay float beyond those that were excluded
    of          how many layers there are
    comparison  of the result, on all samples
    found       how the search went; None if there was nothing to search for
    """

    layers: frozenset[str]
    of: int
    comparison: Comparison
    found: Found | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        found = self.found
        return {
            "kept_float": sorted(self.layers),
            "layers": self.of,
            "drop": self.comparison.drop,
            "samples": self.comparison.samples,
            "trials": 0 if found is None else found.trials,
            "stopped": "" if found is None else found.stopped,
        }


def reach_goal(
    float_model: ir.Model,
    first: Rewritten,
    build: Callable[[frozenset[str]], Rewritten],
    samples: tuple[SampleStream, SampleStream],
    damage: Damage,
    truth: Truth,
    goal: Goal,
    recipe: dict[str, Any],
    threads: int | None,
    progress: Progress,
) -> tuple[Rewritten, Fallback]:
    """The model with the fewest float layers that loses little enough.

    first    the model with no layer kept float
    build    makes the model with these layers float
    samples  all, and those that layers are ranked on
    recipe   JSON values that name everything else which results depend on
    Raises ExpectationError if no model is good enough.
    """
    everything, few = samples
    judge = Referee(float_model, _first(everything, MOST_SAMPLES), threads, truth, progress)
    units = [unit for unit in first.choice.units if unit.kind == "weights"]
    layers = [node_name(unit.node) for unit in units]
    comparison = judge.compare(first.model)
    if is_good(comparison, goal.max_drop):
        return first, Fallback(frozenset(), len(layers), comparison)
    ranker = Referee(float_model, _first(few, RANKING_SAMPLES), threads)

    def rank_one(name: str) -> float:
        found = ranker.compare(build(frozenset(layers) - {name}).model)
        return float("inf") if found.sqnr_db is None else found.sqnr_db

    judged = samples_hash(judge.samples)
    task = Task(
        layers=layers,
        noise=damage.noise,
        try_out=lambda names: judge.compare(build(names).model),
        rank_one=rank_one,
        max_drop=goal.max_drop,
        fingerprint=_fingerprint({**recipe, "samples": judged, "layers": layers}),
        state=goal.state,
        seconds=goal.seconds,
    )
    found = search(task, progress)
    if found.layers is None:
        why = f" ({found.stopped})" if found.stopped else ""
        raise beyond(comparison, goal.max_drop, f" after {found.trials} trials{why}")
    result = build(found.layers)
    return result, Fallback(found.layers, len(layers), judge.compare(result.model), found)


def _first(samples: SampleStream, count: int) -> SampleStream:
    def few() -> Iterator[Sample]:
        return islice(samples(), count)

    return few


def _fingerprint(recipe: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
