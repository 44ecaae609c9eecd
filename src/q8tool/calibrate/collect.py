"""Collect: runs samples through the float model and lets one observer per tensor watch.

samples --Session(watched model)--> ends, and counts per bin, of each tensor --observers--> ranges
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.observers import Method, make_observer
from q8tool.calibrate.statistics import Statistics
from q8tool.calibrate.watch import Watched, watched
from q8tool.engine.parts import LARGE, run_in_parts
from q8tool.engine.session import Session
from q8tool.engine.side_by_side import run_each
from q8tool.errors import InputError
from q8tool.model.graph import node_label, weight_bytes

__all__ = ["Sample", "SampleStream", "collect"]

# Samples that go through a large model together: what lies between two parts is kept for each.
IN_PARTS = 32


@dataclass(frozen=True)
class Sample:
    """One set of inputs, and the name by which a message can call it (a photo's path)."""

    name: str
    feeds: Mapping[str, NDArray[Any]]


SampleStream = Callable[[], Iterator[Sample]]
"""Begins with the first sample whenever it is called."""


def collect(
    model: ir.Model,
    samples: Iterable[Sample],
    names: Sequence[str],
    method: Method = "minmax",
    threads: int | None = None,
    seen: Callable[[], None] = lambda: None,
) -> Statistics:
    """What the method keeps of the named tensors of the float model over all samples.

    names  values of the main graph, float; inputs and outputs included. seen() is called after each
    sample. Raises InputError if there is no sample, or a tensor is NaN or infinite, naming the
    sample and the first node that makes it so.
    """
    observers = {name: make_observer(method) for name in names}
    inputs = {value.name for value in model.graph.inputs}
    watch = watched(model, [name for name in names if name not in inputs], method)

    def fed() -> Iterator[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        for sample in samples:
            for name, array in sample.feeds.items():
                if not _is_finite(array):
                    raise _not_finite(model, sample, name)
            yield sample, sample.feeds

    count = 0
    for sample, results in _each_run(watch, fed(), threads):
        for name, observer in observers.items():
            if name in inputs:
                values = np.asarray(sample.feeds.get(name, ()), np.float32)
                if values.size:
                    observer.update(values)
                continue
            found = watch.seen(name, results)
            if found is not None:
                if not (math.isfinite(found[0]) and math.isfinite(found[1])):
                    raise _not_finite(model, sample, name)
                observer.take(*found)
        count += 1
        seen()
    if count == 0:
        raise InputError("no sample to calibrate with")
    return Statistics(method, count, observers)


def _each_run(
    watch: Watched, fed: Iterator[tuple[Sample, Mapping[str, NDArray[Any]]]], threads: int | None
) -> Iterator[tuple[Sample, dict[str, NDArray[Any]]]]:
    """Each sample with what is observed of it. Of a large model a part is in memory at a time."""
    if weight_bytes(watch.model) <= LARGE:
        session = Session(watch.model, threads=threads, observe=watch.observed)
        yield from run_each(session, fed, lambda sample, results: (sample, results))
        return
    while some := list(islice(fed, IN_PARTS)):
        feeds = [arrays for _, arrays in some]
        results, _ = run_in_parts(watch.model, feeds, threads, observe=watch.observed)
        yield from zip((sample for sample, _ in some), results, strict=True)


def _is_finite(value: NDArray[Any]) -> bool:
    if value.dtype.kind != "f":
        return True
    with np.errstate(invalid="ignore"):  # inf - inf
        # One sum finds a NaN or an infinity without a temporary array.
        return bool(np.isfinite(np.sum(value, dtype=np.float64)))


def _not_finite(model: ir.Model, sample: Sample, tensor: str) -> InputError:
    """The error that names the first tensor of the sample that is not finite, and who makes it."""
    label, where = tensor, ""
    if tensor not in sample.feeds:
        made = [(value.name or "", node) for node in model.graph for value in node.outputs]
        names = [name for name, _ in made if name]
        results = Session(model, observe=names).run(sample.feeds)
        bad = [(name, node) for name, node in made if name and not _all_finite(results[name])]
        if bad:
            label, where = bad[0][0], f" in {node_label(bad[0][1])}"
    return InputError(
        f"{sample.name}: tensor '{label}' becomes NaN or infinite{where}",
        "check the preprocessing (--preset, --mean, --std) or leave this photo out",
    )


def _all_finite(value: object) -> bool:
    """True for what is finite, and for what is no array at all."""
    return not isinstance(value, np.ndarray) or _is_finite(value)
