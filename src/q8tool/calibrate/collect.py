"""Collect: runs samples through the float model and lets one observer per tensor watch.

samples --Session(observe=names)--> one array per tensor --observers--> ranges
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.observers import Method, make_observer
from q8tool.calibrate.ranges import Ranges
from q8tool.calibrate.watch import watched
from q8tool.engine.session import Session
from q8tool.errors import InputError

__all__ = ["Sample", "collect"]


@dataclass(frozen=True)
class Sample:
    """One set of inputs, and the name by which a message can call it (a photo's path)."""

    name: str
    feeds: Mapping[str, NDArray[Any]]


def collect(
    model: ir.Model,
    samples: Iterable[Sample],
    names: Sequence[str],
    method: Method = "minmax",
    threads: int | None = None,
    seen: Callable[[], None] = lambda: None,
) -> Ranges:
    """The ranges of the named tensors of the float model over all samples.

    names  values of the main graph, float; inputs and outputs included. seen() is called after each
    sample. Raises InputError if there is no sample, or a tensor is NaN or infinite, naming both.
    """
    observers = {name: make_observer(method) for name in names}
    inputs = {value.name for value in model.graph.inputs}
    watch = watched(model, [name for name in names if name not in inputs], method)
    session = Session(watch.model, threads=threads, observe=watch.observed)
    count = 0
    for sample in samples:
        for name, fed in sample.feeds.items():
            _refuse_non_finite(fed, name, sample.name)
        results = session.run(sample.feeds)
        for name, observer in observers.items():
            value = sample.feeds[name] if name in inputs else watch.values(name, results)
            value = np.asarray(value, np.float32)
            if value.size:
                _refuse_non_finite(value, name, sample.name)
                observer.update(value)
        count += 1
        seen()
    if count == 0:
        raise InputError("no sample to calibrate with")
    return {name: observer.range() for name, observer in observers.items()}


def _refuse_non_finite(value: NDArray[Any], tensor: str, sample: str) -> None:
    if value.dtype.kind != "f":
        return
    with np.errstate(invalid="ignore"):  # inf - inf
        # One sum finds a NaN or an infinity without a temporary array.
        is_finite = bool(np.isfinite(np.sum(value, dtype=np.float64)))
    if not is_finite:
        raise InputError(
            f"{sample}: tensor '{tensor}' becomes NaN or infinite",
            "check the preprocessing (--preset, --mean, --std) or leave this photo out",
        )
