"""Trim ranges: no codes for what the function behind a value makes the same of.

    Conv -> x, -18..13 -> SiLU -> ...      SiLU of -5 is -0.03, of -18 it is 0: x is -5..13

What lies beyond becomes the end of the range, of which the function makes what it would have made
of it, to within half a step of its own result. The steps of what remains are the smaller.
"""

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.model.change import Change
from q8tool.model.graph import constant
from q8tool.numerics.qparams import from_range
from q8tool.passes.choose_precision import Unit, choose_precision
from q8tool.passes.one_input import is_number

__all__ = ["trim_ranges"]

Range = tuple[float, float]
# The function is looked at in so many places.
_PLACES = 2001
# An end that moves by less stays.
_LEAST = 20
# Of a step of its result.
_TOLERANCE = 0.5
# The share of its width to which a range must fall.
_WORTHWHILE = 0.95


def trim_ranges(
    model: ir.Model, ranges: Mapping[str, Range], excluded: Collection[str] = ()
) -> tuple[dict[str, Range], list[Change]]:
    """Ranges, some narrower than before, of values that only one function of them reads.

    model     prepared float model, not changed
    ranges    value name -> (low, high), real units
    excluded  names of nodes that stay float
    """
    choice = choose_precision(model, ranges, excluded)
    moved = {value for unit in choice.units if unit.kind == "same" for value in unit.node.outputs}
    narrower, changes = dict(ranges), []
    for unit in choice.units:
        nodes = _function(unit)
        x = unit.inputs[0]
        if not nodes or x in moved or x.producer() is None or x.is_graph_output():
            continue
        if any(usage.node not in nodes for usage in x.uses()):
            continue
        ends = _trimmed(nodes, x, ranges[x.name or ""], ranges.get(unit.output.name or ""))
        if ends is not None:
            narrower[x.name or ""] = ends
            changes.append(Change("trim_ranges", x.name or "", f"{ends[0]:.4g}..{ends[1]:.4g}"))
    return narrower, changes


def _function(unit: Unit) -> list[ir.Node]:
    """The nodes between the unit's only input and its result, in order; [] if it is no function."""
    if unit.form != "static" or unit.kind not in ("table", "binary") or len(unit.inputs) != 1:
        return []
    x, nodes = unit.inputs[0], [unit.node]
    for node in nodes:
        for value in node.inputs:
            if value is None or value is x or is_number(value):
                continue
            producer = value.producer()
            if producer is None or constant(value) is not None:
                return []
            if producer in nodes:
                nodes.remove(producer)
            nodes.append(producer)
    return nodes[::-1]


def _trimmed(nodes: list[ir.Node], x: ir.Value, ends: Range, made: Range | None) -> Range | None:
    """The range without what the function makes the same of; None if that is about all of it."""
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    places = np.linspace(low, high, _PLACES, dtype=np.float32)
    y = _values(nodes, x, places)
    if y.shape != places.shape or not np.isfinite(y).all():
        return None
    made = made or (float(y.min()), float(y.max()))
    tolerance = _TOLERANCE * float(from_range(*made).scale)
    zero = int(np.searchsorted(places, 0.0))
    first, last = _flat_until(y[: zero + 1], tolerance), _flat_until(y[zero:][::-1], tolerance)
    found = (
        float(places[first]) if first >= _LEAST else low,
        float(places[_PLACES - 1 - last]) if last >= _LEAST else high,
    )
    return found if found[1] - found[0] <= _WORTHWHILE * (high - low) else None


def _flat_until(y: NDArray[np.float32], tolerance: float) -> int:
    """The last place from which on backwards no value is further from its own than allowed."""
    lowest, highest = np.minimum.accumulate(y), np.maximum.accumulate(y)
    flat = np.maximum(highest - y, y - lowest) <= tolerance
    return int(np.flatnonzero(flat)[-1])


def _values(nodes: list[ir.Node], x: ir.Value, places: NDArray[np.float32]) -> NDArray[np.float32]:
    """The function of the last node at these places."""
    start = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([_PLACES]))
    known: dict[ir.Value, ir.Value] = {x: start}
    copies, numbers = [], []
    for node in nodes:
        for value in node.inputs:
            if value is not None and value not in known:
                array = constant(value)
                assert array is not None
                number = ir.Value(name=value.name, const_value=ir.Tensor(array.reshape(-1)[:1]))
                known[value] = number
                numbers.append(number)
        inputs = [None if value is None else known[value] for value in node.inputs]
        attributes = list(node.attributes.values())
        copy = ir.Node(node.domain, node.op_type, inputs, attributes, num_outputs=1)
        copy.outputs[0].name = node.outputs[0].name
        known[node.outputs[0]] = copy.outputs[0]
        copies.append(copy)
    assert nodes[0].graph is not None
    opsets = dict(nodes[0].graph.opset_imports)
    end = copies[-1].outputs[0]
    graph = ir.Graph([start], [end], nodes=copies, initializers=numbers, opset_imports=opsets)
    graph.name = "function"
    results = Session(ir.Model(graph, ir_version=8)).run({"x": places})
    return np.asarray(results[end.name or ""], np.float32).reshape(-1)
