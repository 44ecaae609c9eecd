"""The graph as the engine reads it: nodes and value names, read from an onnx_ir model once.

onnx_ir.Model --read_graph--> Graph: nodes in execution order, constants, opset versions. The
model itself is never changed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import InlinePass

from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import InputError
from q8tool.model.foreign import has_foreign_operators, standardize_operators

__all__ = ["Graph", "Node", "read_graph"]

Array = NDArray[Any]


@dataclass(eq=False)
class Node:
    """One operator call. Values are known by name; "" is an input or output left out.

    captured  values of the main graph that its subgraphs read
    source    its attributes as the model has them; its values may have other names here
    """

    name: str
    op_type: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    captured: tuple[str, ...]
    source: ir.Node = field(repr=False)

    @cached_property
    def proto(self) -> onnx.NodeProto:
        """The node as onnx has it: for its shape inference, and to run on the host."""
        proto = ir.serde.serialize_node(self.source)
        proto.domain, proto.name = self.domain, self.name
        proto.input[:], proto.output[:] = self.inputs, self.outputs
        return proto

    @property
    def reads(self) -> tuple[str, ...]:
        """Every value that must exist before the node runs, each once."""
        return tuple(dict.fromkeys(n for n in (*self.inputs, *self.captured) if n))

    def input(self, position: int) -> str:
        """The name of an input, "" if the node leaves it out."""
        return self.inputs[position] if position < len(self.inputs) else ""


@dataclass(eq=False)
class Graph:
    """Nodes in execution order and what surrounds them.

    inputs     what a caller feeds (initializers that are inputs as well are optional)
    constants  initializer name -> a function that reads it
    constant_types  initializer name -> type and shape
    optional   names of inputs that have a default among the constants
    """

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    nodes: list[Node]
    constants: dict[str, Callable[[], Array]]
    constant_types: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
    optional: frozenset[str]
    opsets: dict[str, int]


def read_graph(model: ir.Model) -> Graph:
    """The main graph of a model, functions inlined, nodes in an order in which they can run.

    Raises InputError for a missing operator set, and for a value that is read and never computed.
    """
    if model.functions or has_foreign_operators(model):
        model = model.clone()
        InlinePass()(model)
        standardize_operators(model)
    graph = model.graph
    opsets = {_domain(name): version for name, version in model.opset_imports.items()}
    initializers = dict(graph.initializers)
    input_names = {value.name or "" for value in graph.inputs}
    return Graph(
        inputs=[_info(v) for v in graph.inputs if v.name not in initializers]
        + [_info(v) for v in graph.inputs if v.name in initializers],
        outputs=[_info(v) for v in graph.outputs],
        nodes=_in_order(
            [_read_node(node, opsets) for node in graph], input_names | set(initializers)
        ),
        constants={name: _reader(value) for name, value in initializers.items()},
        constant_types={name: _constant_type(value) for name, value in initializers.items()},
        optional=frozenset(name for name in initializers if name in input_names),
        opsets=opsets,
    )


def _in_order(nodes: list[Node], known: Iterable[str]) -> list[Node]:
    """The nodes so that each comes after those that compute what it reads.

    known  names of inputs and initializers
    """
    producers = {name: node for node in nodes for name in node.outputs if name}
    names, is_sorted = set(known), True
    for node in nodes:
        is_sorted = is_sorted and names.issuperset(node.reads)
        names.update(node.outputs)
    if is_sorted:
        return nodes
    for node in nodes:
        for name in node.reads:
            if name not in names:
                raise InputError(
                    f"node '{node.name}' ({node.op_type}) reads '{name}', which nothing computes"
                )
    needs = {n: [producers[name] for name in n.reads if name in producers] for n in nodes}
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise InputError(f"node '{error.args[1][0].name}' needs its own result") from error


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _constant_type(value: ir.Value) -> tuple[np.dtype[Any], tuple[int, ...]]:
    tensor = value.const_value
    if tensor is None:
        raise InputError(f"tensor '{value.name}' has no data")
    return np.dtype(tensor.dtype.numpy()), tuple(tensor.shape.numpy())


def _reader(value: ir.Value) -> Callable[[], Array]:
    """Reads an initializer when it is asked for: weights in external files stay there till then."""

    def read() -> Array:
        assert value.const_value is not None
        try:
            return _text_decoded(value.const_value, np.asarray(value.const_value.numpy()))
        except (ValueError, TypeError, OSError) as error:
            raise InputError(f"tensor '{value.name}': its data cannot be read: {error}") from error

    return read


def _text_decoded(tensor: ir.TensorProtocol, array: Array) -> Array:
    """Strings as str, which is what callers feed; everything else as it is."""
    if tensor.dtype != ir.DataType.STRING:
        return array
    decoded = np.empty(array.shape, object)
    decoded.ravel()[:] = [
        item.decode("utf-8") if isinstance(item, bytes) else item for item in array.ravel()
    ]
    return decoded


def _info(value: ir.Value) -> TensorInfo:
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return TensorInfo(value.name or "", np.dtype(object), None, is_tensor=False)
    dtype = np.dtype(np.float32) if value.dtype is None else np.dtype(value.dtype.numpy())
    if value.shape is None:
        return TensorInfo(value.name or "", dtype, None)
    dims = tuple(d if isinstance(d, int) else d.value for d in value.shape.dims)
    return TensorInfo(value.name or "", dtype, dims)


def _read_node(node: ir.Node, opsets: dict[str, int]) -> Node:
    domain = _domain(node.domain)
    outputs = tuple(value.name or "" for value in node.outputs)
    first = next((name for name in outputs if name), "")
    name = node.name or f"{node.op_type}_{first}"
    if domain not in opsets:
        raise InputError(f"node '{name}': the model imports no operator set '{domain}'")
    return Node(
        name=name,
        op_type=node.op_type,
        domain=domain,
        version=node.version or opsets[domain],
        inputs=tuple("" if value is None else value.name or "" for value in node.inputs),
        outputs=outputs,
        attributes={name: _plain(attribute) for name, attribute in node.attributes.items()},
        captured=tuple(_captured(node)),
        source=node,
    )


def _plain(attribute: ir.Attr) -> Any:
    """The attribute's value; a tensor as an array."""
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        return _text_decoded(value, np.asarray(value.numpy()))
    return value


def _captured(node: ir.Node) -> Sequence[str]:
    """Names of the outer values that the node's subgraphs read."""
    graphs = [g for attribute in node.attributes.values() for g in _graphs_of(attribute)]
    names: dict[str, None] = {}
    for graph in graphs:
        inner = {value.name for value in graph.inputs} | set(graph.initializers)
        for item in ir.traversal.RecursiveGraphIterator(graph):
            inner.update(value.name for value in item.outputs)
            subgraphs = [g for attribute in item.attributes.values() for g in _graphs_of(attribute)]
            for subgraph in subgraphs:
                inner.update(value.name for value in subgraph.inputs)
                inner.update(subgraph.initializers)
        read = [v for item in ir.traversal.RecursiveGraphIterator(graph) for v in item.inputs]
        for value in [*read, *graph.outputs]:
            if value is not None and value.name and value.name not in inner:
                names[value.name] = None
    return list(names)


def _graphs_of(attribute: ir.Attr) -> Sequence[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.value]
    if attribute.type == ir.AttributeType.GRAPHS:
        return list(attribute.value)
    return []
