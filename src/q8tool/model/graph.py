"""Reading and editing graphs: constants, names, attributes, uses."""

import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.errors import InputError
from q8tool.model.spilled import SPILLED_FROM, spilled

__all__ = [
    "Names",
    "all_graphs",
    "all_nodes",
    "bodies",
    "constant",
    "get_float",
    "get_int",
    "get_ints",
    "get_string",
    "insert_behind",
    "is_quantized",
    "make_initializer",
    "node_label",
    "node_name",
    "nodes_inside",
    "op_counts",
    "replace_uses",
    "values_read",
    "weight_bytes",
]

# onnx-ir logs what it skips; without a handler Python would print that on stderr.
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())

_QUANTIZED_OPS = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QGemm",
        "QuantizeLinear",
    }
)


def constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """The array behind a value that never changes: an initializer or a Constant node.

    None for everything else, and for an initializer that is also a graph input: a caller may feed
    another one. Raises InputError if the bytes do not make the array that the tensor declares.
    """
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None:
        return None
    try:
        return np.asarray(tensor.numpy())
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"tensor '{value.name}': its data cannot be read: {error}") from error


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The graphs among the node's attributes, as those of If, Loop and Scan."""
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS and not attribute.is_ref():
            found.extend(attribute.as_graphs())
    return found


def all_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The model's graph and those inside its nodes, each before those inside of it.

    model.graphs() and RecursiveGraphIterator hand every node of a graph through all those around
    it, which takes seconds where graphs are nested fifty deep.
    """
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting.extend(reversed([body for node in graph for body in bodies(node)]))


def all_nodes(graph: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    """The nodes of a graph, each followed by those of its bodies; they may be edited meanwhile."""
    waiting = [iter(graph)]
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
        else:
            yield node
            waiting.extend(iter(body) for body in reversed(bodies(node)))


def make_initializer(graph: ir.Graph, name: str, array: npt.ArrayLike) -> ir.Value:
    """Register a new initializer under a name that is free, and return its value."""
    values = np.ascontiguousarray(array).reshape(np.shape(array))
    is_large = values.nbytes >= SPILLED_FROM
    tensor = spilled(values, name) if is_large else ir.Tensor(values, name=name)
    value = ir.Value(name=name, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype))
    value.const_value = tensor
    graph.register_initializer(value)
    return value


class Names:
    """New names for the values and nodes of a model that none of the present ones bears.

    graph  the main one. Its names are collected once: a pass makes one of these for all its names.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._used = _names_in(graph)
        self._numbers: dict[str, int] = {}

    def new(self, base: str) -> str:
        """The first of base, base_1, base_2 ... that is free, and from now on is not."""
        name, number = base, self._numbers.get(base, 0)
        while name in self._used:
            number += 1
            name = f"{base}_{number}"
        self._numbers[base] = number
        self._used.add(name)
        return name


def _names_in(graph: ir.Graph) -> set[str]:
    """Names of all values and nodes of a graph, subgraphs included."""
    names: set[str | None] = {value.name for value in graph.inputs} | set(graph.initializers)
    for node in all_nodes(graph):
        names.add(node.name)
        names.update(value.name for value in node.outputs)
        for body in bodies(node):
            names.update(value.name for value in body.inputs)
            names.update(body.initializers)
    return {name for name in names if name}


def insert_behind(value: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Puts nodes that look at a value of a node right behind it: the value is in the cache there,
    and no longer in memory than it would be without them.
    """
    producer = value.producer()
    assert producer is not None
    graph = producer.graph
    assert graph is not None
    graph.insert_after(producer, nodes)


def replace_uses(old: ir.Value, new: ir.Value) -> None:
    """Let every consumer of old, in subgraphs too, read new instead.

    A graph output keeps its name: where old is one, new becomes the output and takes old's name
    (old gets another one). Raises ValueError if new cannot take the name because it is a graph
    input, an initializer or an output already: put an Identity node between.
    """
    if not old.is_graph_output():
        old.replace_all_uses_with(new)
        return
    if new.is_graph_input() or new.is_initializer() or new.is_graph_output():
        raise ValueError(f"'{new.name}' cannot become the graph output '{old.name}'")
    name, shape, dtype = old.name, old.shape, old.type
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name = f"{name}_replaced"
    new.name, new.shape, new.type = name, shape or new.shape, dtype or new.type


def get_int(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or default where the node has none."""
    return int(node.attributes.get_int(name, default))


def get_ints(node: ir.Node, name: str, default: Sequence[int]) -> list[int]:
    """A list of integers, or default where the node has none."""
    return [int(item) for item in node.attributes.get_ints(name, default)]


def get_float(node: ir.Node, name: str, default: float) -> float:
    """A float attribute, or default where the node has none."""
    return float(node.attributes.get_float(name, default))


def get_string(node: ir.Node, name: str, default: str) -> str:
    """A string attribute, or default where the node has none."""
    return str(node.attributes.get_string(name, default))


def is_quantized(model: ir.Model) -> bool:
    """Whether any node works on quantized values, whichever tool wrote it."""
    return any(
        node.op_type in _QUANTIZED_OPS or node.op_type.startswith("QLinear")
        for node in all_nodes(model.graph)
    )


def op_counts(model: ir.Model) -> dict[str, int]:
    """Number of nodes per operator, subgraphs included, most frequent first, then by name."""
    counts: dict[str, int] = {}
    for node in all_nodes(model.graph):
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def node_label(node: ir.Node) -> str:
    """How messages call a node: its operator and its name, or its first output's."""
    return f"{node.op_type} '{node_name(node)}'"


def node_name(node: ir.Node) -> str:
    """The node's name, or its first output's; "" if neither has one."""
    return node.name or next((value.name for value in node.outputs if value.name), "")


def nodes_named(model: ir.Model, names: Collection[str]) -> frozenset[ir.Node]:
    """The nodes of the main graph that node_name calls so."""
    return frozenset(node for node in model.graph if node_name(node) in names)


def nodes_inside(node: ir.Node) -> list[ir.Node]:
    """The nodes of the node's bodies, and of theirs."""
    return [inner for body in bodies(node) for inner in all_nodes(body)]


def values_read(node: ir.Node) -> list[ir.Value]:
    """What the node and the nodes of its bodies read, in order; values of the bodies included."""
    nodes = (node, *nodes_inside(node))
    return [value for reader in nodes for value in reader.inputs if value is not None]


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, also of those in subgraphs."""
    return sum(
        value.const_value.nbytes
        for graph in all_graphs(model)
        for value in graph.initializers.values()
        if value.const_value is not None
    )
