"""Plain sequences: lists of tensors whose length is known become the tensors themselves.

SplitToSequence(x) -> SequenceAt(i)                ->  Split(x), its result i
SplitToSequence(x) -> ConcatFromSequence           ->  Split(x) -> Concat
SequenceConstruct(a, b) -> ConcatFromSequence      ->  Concat(a, b)

Exporters write lists where the source has them, also where their length never changes. What follows
a list has no shape that anybody infers, and no eight bits. A list that is stacked, asked for its
length or handed out stays.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, constant, get_int, make_initializer, node_label, replace_uses

__all__ = ["plain_sequences"]

# The first opset in which Split reads its sizes from an input.
_SIZES_AS_INPUT = 13


def plain_sequences(model: ir.Model) -> list[Change]:
    """Rewrites lists of the main graph that are only picked from or joined, in place."""
    changes = []
    names = Names(model.graph)
    opset = model.opset_imports.get("", 0)
    for node in list(model.graph):
        if node.domain != "" or node.op_type not in ("SplitToSequence", "SequenceConstruct"):
            continue
        readers = [reader for reader, _ in node.outputs[0].uses()]
        if node.outputs[0].is_graph_output() or not readers:
            continue
        sizes = _sizes(node) if node.op_type == "SplitToSequence" else [1] * len(node.inputs)
        if not sizes or not all(_is_plain(r, len(sizes), model.graph) for r in readers):
            continue
        if node.op_type == "SplitToSequence":
            parts = _split(model.graph, node, sizes, names, opset)
        else:
            parts = [value for value in node.inputs if value is not None]
        for reader in dict.fromkeys(readers):
            _replace(model.graph, reader, parts, names)
        model.graph.remove(node, safe=True)
        changes.append(Change("plain_sequences", node_label(node), f"{len(parts)} tensors"))
    return changes


def _sizes(node: ir.Node) -> list[int] | None:
    """How many entries of the axis each tensor of a SplitToSequence has, None if nobody knows."""
    x = node.inputs[0]
    split = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if split is None or x is None:
        return None
    if split.ndim == 1:
        return [int(size) for size in split]
    axis, size = get_int(node, "axis", 0), int(split)
    length = x.shape[axis] if x.shape is not None and -len(x.shape) <= axis < len(x.shape) else None
    if not isinstance(length, int) or size < 1 or -(-length // size) > 1024:
        return None
    return [min(size, length - start) for start in range(0, length, size)]


def _is_plain(reader: ir.Node, count: int, graph: ir.Graph) -> bool:
    """Whether it picks one known tensor of so many, or joins all."""
    if reader.domain != "" or reader.graph is not graph:
        return False
    if reader.op_type == "ConcatFromSequence":
        return get_int(reader, "new_axis", 0) == 0
    position = constant(reader.inputs[1]) if reader.op_type == "SequenceAt" else None
    return position is not None and position.size == 1 and -count <= int(position.item()) < count


def _split(
    graph: ir.Graph, node: ir.Node, sizes: Sequence[int], names: Names, opset: int
) -> list[ir.Value]:
    x, axis = node.inputs[0], get_int(node, "axis", 0)
    assert x is not None
    base = names.new(f"{node.outputs[0].name}_parts")
    attributes: dict[str, int | list[int]] = {"axis": axis}
    inputs = [x]
    if opset >= _SIZES_AS_INPUT:
        inputs.append(make_initializer(graph, names.new(f"{base}_sizes"), np.asarray(sizes)))
    else:
        attributes["split"] = list(sizes)
    split = ir.node("Split", inputs, attributes, num_outputs=len(sizes), name=node.name or base)
    for size, part in zip(sizes, split.outputs, strict=True):
        part.name, part.type = names.new(f"{base}_part"), x.type
        if x.shape is not None:
            dims = list(x.shape)
            dims[axis] = size
            part.shape = ir.Shape(dims)
    graph.insert_before(node, split)
    return list(split.outputs)


def _replace(graph: ir.Graph, reader: ir.Node, parts: Sequence[ir.Value], names: Names) -> None:
    result = reader.outputs[0]
    if reader.op_type == "ConcatFromSequence":
        attributes = {"axis": get_int(reader, "axis", 0)}
        join = ir.node("Concat", parts, attributes, name=reader.name)
    else:
        position = constant(reader.inputs[1])
        assert position is not None
        join = ir.node("Identity", [parts[int(position.item())]], name=reader.name)
    joined = join.outputs[0]
    joined.type, joined.shape = parts[0].type, result.shape
    graph.insert_before(reader, join)
    name = result.name
    joined.name = names.new(f"{name}_joined")
    replace_uses(result, joined)
    if joined.name != name:
        result.name, joined.name = joined.name, name
    graph.remove(reader, safe=True)
