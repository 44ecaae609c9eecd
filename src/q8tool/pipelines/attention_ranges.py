"""Attention ranges: whether the weights that a Softmax gives may be clipped.

    float model -> answers --------------------------------+
    the same, weights rounded within clipped ranges -------+--> the ranges that are kinder to the
    the same, weights rounded within all they reach -------+    sample that suffers most

The least squared error of all weights is not the least at the output. A few samples have a token
that attends sharply: a range clipped for finer steps takes a good part of its sum, and their
answers are lost, though most are a little better for it. Where no sample has one, finer steps win.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.observers import WeightedMse
from q8tool.calibrate.ranges import Ranges
from q8tool.calibrate.statistics import Statistics
from q8tool.engine.session import Session
from q8tool.engine.side_by_side import run_each
from q8tool.passes.simulate_rounding import round_values
from q8tool.pipelines.refitting import Refitting

__all__ = ["attention_ranges"]

Answer = list[NDArray[np.float64]]


def attention_ranges(model: ir.Model, statistics: Statistics, refitting: Refitting) -> Ranges:
    """Ranges of Softmax results that reach to their ends, where some sample needs them to.

    Empty where clipped ranges are better, or nothing is clipped; the other methods mean what they
    say, and are not looked at.
    """
    seen = statistics.tensors
    results = [node.outputs[0].name or "" for node in model.graph if node.op_type == "Softmax"]
    found = [(name, seen[name]) for name in results if name in seen]
    observers = {name: one for name, one in found if isinstance(one, WeightedMse)}
    clipped = {name: one.range() for name, one in observers.items()}
    whole = {name: one.ends() for name, one in observers.items()}
    if all(clipped[name][1] >= whole[name][1] for name in whole):
        return Ranges()
    wanted = _answers(model, refitting, {})
    noises = [_worst(wanted, _answers(model, refitting, one)) for one in (clipped, whole)]
    return whole if noises[1] < noises[0] else Ranges()


def _answers(
    model: ir.Model, refitting: Refitting, rounded: Mapping[str, tuple[float, float]]
) -> list[Answer]:
    """The float outputs of each sample, with these values rounded within their ranges."""
    copy = model.clone()
    round_values(copy, rounded)
    session = Session(copy, threads=refitting.threads)
    fed = ((None, sample.feeds) for sample in refitting.samples.at(refitting.indices))
    floats = [one.name for one in session.outputs if one.dtype.kind == "f"]

    def taken(_: None, outputs: Mapping[str, NDArray[np.float32]]) -> Answer:
        return [outputs[name].astype(np.float64) for name in floats]

    return list(run_each(session, fed, taken))


def _worst(wanted: list[Answer], actual: list[Answer]) -> float:
    """Noise over signal of the sample that suffers most; outputs of another shape say nothing."""
    shares = [0.0]
    for outputs in zip(wanted, actual, strict=True):
        alike = [(a, b) for a, b in zip(*outputs, strict=True) if a.shape == b.shape]
        shares += [float(np.square(a - b).sum() / np.square(a).sum()) for a, b in alike if a.any()]
    return max(shares)
