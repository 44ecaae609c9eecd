"""Refitting: which samples refit walks through, and which operators are twins.

As many samples as keep the walk below a limit of memory: it holds what lies between two operators.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from q8tool.calibrate.refit import Twin, refit
from q8tool.model.change import Change
from q8tool.model.graph import weight_bytes
from q8tool.passes.choose_precision import Choice
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.samples import Samples, held_back

__all__ = ["Refitting", "bytes_between", "find_twins", "refitting_with"]

MOST_SAMPLES = 24
# Bytes of the values between operators, of all samples together.
MEMORY = 96 << 20
# Fitting holds weights as floats; a model beyond this is left as it is rounded.
LARGEST_MODEL = 1 << 30
_JOINING = frozenset({"Add", "Concat", "Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Refitting:
    """Samples, and which of them to walk through."""

    samples: Samples
    indices: Sequence[int]
    threads: int | None = None
    progress: Progress = silent

    def refit(self, float_model: ir.Model, model: ir.Model, twins: Sequence[Twin]) -> list[Change]:
        """See calibrate/refit.py."""
        feeds = [sample.feeds for sample in self.samples.at(self.indices)]
        if not feeds:
            return []

        def seen(done: int) -> None:
            self.progress("fitting weights", done, len(twins))

        return refit(float_model, model, twins, feeds, self.threads, seen)


def refitting_with(
    model: ir.Model, samples: Samples | None, threads: int | None, progress: Progress
) -> Refitting | None:
    """Samples that calibration sees, spread over all; None without any, and for huge models."""
    if samples is None or weight_bytes(model) > LARGEST_MODEL:
        return None
    indices = held_back(len(samples))[0]
    count = max(1, min(MOST_SAMPLES, len(indices), MEMORY // bytes_between(model)))
    chosen = [indices[i * len(indices) // count] for i in range(count)]
    return Refitting(samples, chosen, threads, progress)


def find_twins(float_model: ir.Model, model: ir.Model, choice: Choice) -> list[Twin]:
    """The products of a choice for model, a clone of float_model, in both."""
    originals = dict(zip(model.graph, float_model.graph, strict=True))
    return [
        Twin(originals[unit.node], unit.node.outputs[0])
        for unit in choice.units
        if unit.has_weights
    ]


def bytes_between(model: ir.Model) -> int:
    """Of one sample: the largest inputs and result of an operator, as floats and as codes.

    Clamps and functions run in one piece with the operator before them.
    """
    largest = 1
    for node in model.graph:
        if node.op_type not in _JOINING:
            continue
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        largest = max(largest, sum(_elements(v) for v in values if v.const_value is None))
    return largest * 5


def _elements(value: ir.Value) -> int:
    """Open dimensions count as 1, unknown shapes not at all."""
    if value.shape is None:
        return 0
    return math.prod(dim if isinstance(dim, int) else 1 for dim in value.shape)
