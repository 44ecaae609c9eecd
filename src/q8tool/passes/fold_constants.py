"""Fold constants: what depends on weights only is computed now.

    s = Shape(x: 1,3,8,8); n = Gather(s, 0); t = Concat(n, [-1])     ->     y = Reshape(x, [1, -1])
    y = Reshape(x, t)

Nodes run through the host's operators, so the result is what the engine would compute. Never
folded: DequantizeLinear (int8 weights would become float ones, four times the size), what draws
at random, what would make the file grow by more than a small tensor, and nodes with subgraphs.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.errors import InputError
from q8tool.model import shapes
from q8tool.model.change import Change
from q8tool.model.graph import (
    all_graphs,
    bodies,
    constant,
    get_int,
    make_initializer,
    node_label,
)
from q8tool.ops.registry import RANDOM_OPS

__all__ = ["MAX_GROWTH", "fold_constants", "replace_by_constants"]

# Bytes by which a folded result may exceed what it is computed from.
MAX_GROWTH = 65536

_NEVER = RANDOM_OPS | {"Constant", "DequantizeLinear", "Dropout"}
# Their results can be any size, whatever goes in.
_GROWING = frozenset(
    {"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"}
)

Arrays = list[npt.NDArray[Any]]


def fold_constants(model: ir.Model, max_growth: int = MAX_GROWTH) -> list[Change]:
    """Replace every node whose inputs are constants by its results; repeat while shapes help.

    max_growth   bytes by which a result may exceed its inputs
    Shapes are inferred on the way, as Shape nodes of known dimensions are constants too.
    """
    changes: list[Change] = []
    while True:
        shapes.infer_shapes(model, through_values=False)
        folded = [
            Change("fold_constants", label, "computed now")
            for graph in all_graphs(model)
            for label in _fold_graph(model, graph, max_growth)
        ]
        if not folded:
            return changes
        changes += folded


def _fold_graph(model: ir.Model, graph: ir.Graph, max_growth: int) -> list[str]:
    labels = []
    # A constant may tell the shape of what is made with it, and that another constant, to the end.
    refreshed: set[ir.Node] = set()
    for node in list(graph):
        users = {use.node for value in node.outputs for use in value.uses()}
        results = _known_shape(node) or _computed(model, node, max_growth)
        if results is not None and replace_by_constants(node, results):
            labels.append(node_label(node))
            refreshed |= users
        elif node in refreshed and shapes.infer_outputs(model, node):
            refreshed |= users
    return labels


def _known_shape(node: ir.Node) -> Arrays | None:
    """The result of Shape or Size on a value whose dimensions are all numbers."""
    if node.domain != "" or node.op_type not in ("Shape", "Size"):
        return None
    dims = shapes.static_shape(node.inputs[0])
    if dims is None:
        return None
    if node.op_type == "Size":
        return [np.array(math.prod(dims), np.int64)]
    start, end = get_int(node, "start", 0), get_int(node, "end", len(dims))
    return [np.array(dims[start:end], np.int64)]


def _computed(model: ir.Model, node: ir.Node, max_growth: int) -> Arrays | None:
    if not _may_fold(node):
        return None
    named = [value for value in node.inputs if value is not None]
    arrays = [constant(value) for value in named]
    if any(array is None for array in arrays):
        return None
    inputs = [array for array in arrays if array is not None]
    if any(array.dtype.kind in "OSU" for array in inputs):
        return None  # text stays text: nothing computes faster for it
    # Each value once: what joins a constant with itself, again and again, grows without end.
    distinct = {id(value): array for value, array in zip(named, inputs, strict=True)}
    allowed = sum(array.nbytes for array in distinct.values()) + max_growth
    if _expected_bytes(node, inputs) > allowed:
        return None
    try:
        from q8tool.ops.host import HostOperator  # loads all of onnx.reference

        operator = HostOperator(
            ir.to_proto(node),
            [value.name or "" for value in named],
            model.opset_imports,
        )
        results = operator.run(inputs)
    except InputError:
        return None
    return results if _are_plain(results) and sum(r.nbytes for r in results) <= allowed else None


def _may_fold(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type not in _NEVER and not bodies(node)


def _expected_bytes(node: ir.Node, inputs: Arrays) -> float:
    """Bytes of the results, from their shapes; infinite where those are unknown and may be big."""
    total = 0.0
    for value in node.outputs:
        dims = shapes.static_shape(value)
        if dims is not None and value.dtype not in (None, ir.DataType.UNDEFINED):
            # A string has no size of its own: that of a reference.
            is_text = value.dtype == ir.DataType.STRING
            total += math.prod(dims) * (8 if is_text else value.dtype.itemsize)
        elif node.op_type == "ConstantOfShape":
            total += float(np.prod(inputs[0].astype(np.float64))) * 8
        elif node.op_type in _GROWING and _largest_number(inputs) > 1024:
            return math.inf
    return total


def _largest_number(inputs: Arrays) -> float:
    """The largest size or integer among the inputs: counts, repeats, target sizes."""
    numbers = [float(array.size) for array in inputs] + [
        float(np.abs(array.astype(np.float64)).max())
        for array in inputs
        if array.dtype.kind in "iu" and array.size
    ]
    return max(numbers, default=0.0)


def _are_plain(results: Sequence[Any]) -> bool:
    return all(isinstance(item, np.ndarray) and item.dtype.kind not in "OSU" for item in results)


def replace_by_constants(node: ir.Node, results: Arrays) -> bool:
    """Put initializers in the place of a node's outputs, under their names; remove the node.

    False, and nothing done, if an output of the node is a graph output: it stays computed.
    """
    graph = node.graph
    outputs = [value for value in node.outputs if value.name]
    if not isinstance(graph, ir.Graph) or any(value.is_graph_output() for value in outputs):
        return False
    for value, array in zip(outputs, results, strict=True):
        value.replace_all_uses_with(make_initializer(graph, value.name or "", array))
    graph.remove(node, safe=True)
    return True
