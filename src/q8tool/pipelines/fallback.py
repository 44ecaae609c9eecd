"""Fallback: which layers stay float so that the drop is at most what was asked.

The drop is judged on all samples, also those that ranges were measured on: the more there are, the
less luck decides. What the report and the file say is measured on those held back.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
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
from q8tool.pipelines.search import Cost, Found, Task, is_good, judged_drop, search

__all__ = ["FOR_MAX_DROP", "Fallback", "Goal", "reach_goal"]

FOR_MAX_DROP = "--max-drop would not be met with it"
"""Why a layer stays float."""

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
    costs       the drop with fewer and with these float layers, the fewest first
    """

    layers: frozenset[str]
    of: int
    comparison: Comparison
    found: Found | None = None
    costs: Sequence[Cost] = ()

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
            "costs": [vars(cost) for cost in self.costs],
        }

    def worries(self) -> list[str]:
        """A warning where so much stays float that little is gained."""
        if 2 * len(self.layers) <= self.of:
            return []
        text = f"{len(self.layers)} of {self.of} layers stay float: little of the gain is left"
        few = [cost for cost in self.costs if 2 * cost.float_layers <= self.of]
        if few:
            least = math.ceil(1000 * few[-1].drop) / 10
            text += f"; --max-drop {least:g}% needs {few[-1].float_layers}"
        return [text]


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
    costs = _costs(comparison, found)
    return result, Fallback(found.layers, len(layers), judge.compare(result.model), found, costs)


def _costs(none_float: Comparison, found: Found) -> list[Cost]:
    """From no float layer to those that were found."""
    drop = judged_drop(none_float)
    first = [] if drop is None else [Cost(0, drop)]
    most = len(found.layers or ())
    others = [cost for cost in found.costs if cost.float_layers <= most]
    return first + [cost for cost in others if drop is None or cost.drop < drop]


def _first(samples: SampleStream, count: int) -> SampleStream:
    def few() -> Iterator[Sample]:
        return islice(samples(), count)

    return few


def _fingerprint(recipe: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
