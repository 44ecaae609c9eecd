"""Known ranges: what operators say about the range of their result, without any data.

    input-range, photos, file --+
    Clip(0, 6)  -> 0..6         |
    Sigmoid     -> 0..1         +--> walk in order --> name -> (low, high)
    MaxPool     -> as its input |
    Concat      -> union        |
    Where       -> union        |
    Conv        -> unknown -----+

A range that was given or measured wins over an implied one, but never reaches beyond it: a Relu6
whose photos reached 4.2 is 0..4.2.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from q8tool.model.graph import constant
from q8tool.ops.registry import known_range, leaves_range, row

__all__ = ["known_ranges"]

Range = tuple[float, float]
_MOST_TELLING = 4096.0


def known_ranges(model: ir.Model, given: Mapping[str, Range]) -> dict[str, Range]:
    """All ranges of the main graph's values that are given or follow from given ones.

    given  value name -> (low, high), real units: from a file, from photos, of the inputs.
    """
    ranges: dict[str, Range] = {**_of_constants(model), **given}
    for node in model.graph:
        implied = _implied(node, ranges)
        for value in node.outputs:
            name = value.name or ""
            if name in given:
                ranges[name] = _within(given[name], implied)
            elif implied[0] is not None and implied[1] is not None:
                ranges[name] = (implied[0], implied[1])
    return ranges


def _of_constants(model: ir.Model) -> dict[str, Range]:
    """Constants that arithmetic reads as if they were activations: Add's, Mul's, MatMul's."""
    ranges = {}
    for node in model.graph:
        found = row(node.domain, node.op_type)
        is_read = found is not None and found.quantization in ("binary", "concat")
        if not is_read and node.op_type != "MatMul":
            continue
        for value in node.inputs:
            array = constant(value)
            if value is None or array is None or array.dtype != np.float32 or array.size == 0:
                continue
            if np.isfinite(array).all():
                ranges[value.name or ""] = (float(array.min()), float(array.max()))
    return ranges


def _implied(node: ir.Node, ranges: Mapping[str, Range]) -> tuple[float | None, float | None]:
    """What the operator makes of the ranges of its inputs; None for an end it leaves open."""
    found = row(node.domain, node.op_type)
    if found is None:
        return None, None
    low, high = (_if_telling(end) for end in known_range(node))
    through = _inherited(node, found.quantization, ranges)
    if node.op_type in ("Relu", "Clip") and node.inputs[0] is not None:
        through = ranges.get(node.inputs[0].name or "")
    if through is None:
        return low, high
    bottom, top = through
    if low is not None:
        bottom, top = max(bottom, low), max(top, low)
    if high is not None:
        bottom, top = min(bottom, high), min(top, high)
    return bottom, top


def _if_telling(end: float | None) -> float | None:
    """None for an end that keeps numbers from overflow: values are nowhere near it."""
    return end if end is not None and abs(end) <= _MOST_TELLING else None


def _inherited(node: ir.Node, kind: str, ranges: Mapping[str, Range]) -> Range | None:
    """The input's range for what only moves, selects or averages values."""
    if leaves_range(node):
        return None
    if kind in ("same", "pool"):
        first = node.inputs[0]
        inherited = None if first is None else ranges.get(first.name or "")
        return _with_padding(node, inherited)
    if node.op_type == "Where":
        return _of_both(node.inputs[1:], ranges)
    if kind == "concat":
        parts = [ranges.get(value.name or "") for value in node.inputs if value is not None]
        if any(part is None for part in parts):
            return None
        known = [part for part in parts if part is not None]
        return min(low for low, _ in known), max(high for _, high in known)
    return None


def _of_both(values: Sequence[ir.Value | None], ranges: Mapping[str, Range]) -> Range | None:
    """The union of the ranges of values and constants; None if one of them is not known."""
    ends: list[float] = []
    for value in values:
        array = constant(value)
        if array is not None and array.size and np.isfinite(array).all():
            ends += [float(array.min()), float(array.max())]
            continue
        known = None if value is None else ranges.get(value.name or "")
        if known is None:
            return None
        ends += known
    return min(ends), max(ends)


def _with_padding(node: ir.Node, inherited: Range | None) -> Range | None:
    """Pad adds a value of its own; averages over counted padding add 0."""
    if inherited is None or node.op_type not in ("Pad", "AveragePool"):
        return inherited
    extra = 0.0
    if node.op_type == "Pad" and len(node.inputs) > 2 and node.inputs[2] is not None:
        array = constant(node.inputs[2])
        if array is None:
            return None
        extra = float(array.reshape(-1)[0]) if array.size else 0.0
    return min(inherited[0], extra), max(inherited[1], extra)


def _within(given: Range, implied: tuple[float | None, float | None]) -> Range:
    """The given range cut to what the operator can produce, if anything is left of it."""
    low = given[0] if implied[0] is None else max(given[0], implied[0])
    high = given[1] if implied[1] is None else min(given[1], implied[1])
    return (low, high) if low <= high else given
