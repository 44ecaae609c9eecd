"""Reads the engine's graph from an onnx_ir model, which is never changed."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import InlinePass

from q8tool.engine.graph import Graph, Node, in_order
from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import InputError
from q8tool.model.composed import has_composed_operators, write_out
from q8tool.model.foreign import has_foreign_operators, standardize_operators
from q8tool.model.graph import all_nodes, bodies
from q8tool.model.refusals import refusals_named

__all__ = ["constants_of", "nodes_of", "read_graph"]

Array = NDArray[Any]


def read_graph(model: ir.Model) -> Graph:
    """The main graph of a model, functions inlined, nodes in an order in which they can run.

    Raises InputError for a missing operator set, and for a value that is read and never computed.
    """
    if model.functions or has_foreign_operators(model) or has_composed_operators(model):
        model = model.clone()
        InlinePass()(model)
        standardize_operators(model)
        write_out(model)
    graph = model.graph
    opsets = {_domain(name): version for name, version in model.opset_imports.items()}
    initializers = dict(graph.initializers)
    constants, constant_types = constants_of(graph)
    input_names = {value.name or "" for value in graph.inputs}
    return Graph(
        inputs=[_info(v) for v in graph.inputs if v.name not in initializers]
        + [_info(v) for v in graph.inputs if v.name in initializers],
        outputs=[_info(v) for v in graph.outputs],
        nodes=in_order(nodes_of(graph, opsets), input_names | set(initializers)),
        constants=constants,
        constant_types=constant_types,
        optional=frozenset(name for name in initializers if name in input_names),
        opsets=opsets,
        metadata_props=dict(model.metadata_props),
    )


def nodes_of(graph: ir.Graph, opsets: dict[str, int]) -> list[Node]:
    """The nodes of a graph or of a branch, as they stand."""
    return [_read_node(node, opsets) for node in graph]


def constants_of(
    graph: ir.Graph,
) -> tuple[dict[str, Callable[[], Array]], dict[str, tuple[np.dtype[Any], tuple[int, ...]]]]:
    """Readers of the initializers by name, and their types and shapes."""
    initializers = dict(graph.initializers)
    readers = {name: _reader(value) for name, value in initializers.items()}
    return readers, {name: _constant_type(value) for name, value in initializers.items()}


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
        make_proto=partial(_serialized, node, name),
    )


def _serialized(node: ir.Node, name: str) -> onnx.NodeProto:
    with refusals_named(f"node '{name}'"):
        return ir.serde.serialize_node(node)


def _plain(attribute: ir.Attr) -> Any:
    """The attribute's value; a tensor as an array."""
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        return _text_decoded(value, np.asarray(value.numpy()))
    return value


def _captured(node: ir.Node) -> Sequence[str]:
    """Names of the outer values that the node's subgraphs read."""
    names: dict[str, None] = {}
    for graph in bodies(node):
        inner = {value.name for value in graph.inputs} | set(graph.initializers)
        for item in all_nodes(graph):
            inner.update(value.name for value in item.outputs)
            for body in bodies(item):
                inner.update(value.name for value in body.inputs)
                inner.update(body.initializers)
        read = [v for item in all_nodes(graph) for v in item.inputs]
        for value in [*read, *graph.outputs]:
            if value is not None and value.name and value.name not in inner:
                names[value.name] = None
    return list(names)
