"""What onnx infers about the values of a model, asked with no more of the model than it needs.

    ir.Model  --> ModelProto without large tensors --> onnx's inference --> (value, its type) ...

onnx_ir's pass copies the model, puts all of it into bytes and back, and lays every graph beside its
copy with all that is below it, which takes a minute where graphs are nested as deep as some are.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.graph import all_graphs, constant
from q8tool.model.limits import is_absurd
from q8tool.model.sound_inference import guard_inference

__all__ = ["Inferred", "inferred", "inferred_types", "short_constant"]

Inferred = Iterator[tuple[ir.Value, onnx.TypeProto]]

# Of sizes, that inference may follow.
_LONGEST_LIST = 1 << 20
# Of a constant, that says what shape an output has.
_MOST_NUMBERS = 1024


def inferred_types(model: ir.Model, *, through_values: bool) -> Inferred:
    """What follows for results of nodes from the inputs of the graph; what does not is left out.

    through_values   follow sizes through shape arithmetic, as far as onnx knows how
    Shapes that the model itself declares for such results have no say, but for graph outputs.
    """
    try:
        proto = inferred(_described(model), through_values=through_values)
    except Exception:  # of what onnx makes of broken models: nothing follows
        return
    for graph, found in zip(all_graphs(model), _graphs(proto.graph), strict=True):
        kinds = {info.name: info.type for info in (*found.value_info, *found.output)}
        for value in itertools.chain.from_iterable(node.outputs for node in graph):
            kind = kinds.get(value.name or "")
            if kind is not None:
                yield value, kind


def inferred(proto: onnx.ModelProto, *, through_values: bool) -> onnx.ModelProto:
    """The model with the types that follow, as above. Raises what onnx does."""
    guard_inference()
    known = onnx.shape_inference.infer_shapes(proto)
    # onnx walks lists element by element when it follows values: hours for a long one.
    if not through_values or any(_is_long(kind) for kind in _kinds(known.graph)):
        return known
    return onnx.shape_inference.infer_shapes(known, data_prop=True)


def short_constant(value: ir.Value) -> onnx.TensorProto | None:
    """The numbers of a constant that may be sizes; None of any other value."""
    if value.const_value is not None and value.const_value.size > _MOST_NUMBERS:
        return None
    array = constant(value)
    return None if array is None else _numbers(array, value.name)


def _numbers(array: NDArray[Any], name: str | None) -> onnx.TensorProto | None:
    if array.size > _MOST_NUMBERS or array.dtype.kind not in "biuf":
        return None
    return onnx.numpy_helper.from_array(array, name or "")


def _described(model: ir.Model) -> onnx.ModelProto:
    proto = onnx.ModelProto(ir_version=model.ir_version)
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    for function in model.functions.values():
        ir.serde.serialize_function_into(proto.functions.add(), function)
    _describe(model.graph, proto.graph)
    return proto


def _describe(graph: ir.Graph, proto: onnx.GraphProto) -> None:
    """A graph and those inside its nodes, types of results without their shapes."""
    proto.name = graph.name or "graph"
    for value in graph.inputs:
        ir.serde.serialize_value_into(proto.input.add(), value, name=value.name or "")
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is None:
            continue
        if not value.is_graph_input():
            proto.value_info.append(_info(value.name, tensor))
        if tensor.size <= _MOST_NUMBERS:
            numbers = _numbers(tensor.numpy(), value.name)
            proto.initializer.extend([] if numbers is None else [numbers])
    for node in graph:
        large = _large_constant(node)
        if large is not None:
            proto.value_info.append(_info(node.outputs[0].name, large))
            continue
        _describe_node(node, proto.node.add())
        for value in node.outputs:
            if value.type is not None and not value.is_graph_output():
                info = proto.value_info.add(name=value.name or "")
                ir.serde.serialize_type_into(info.type, value.type)
    for value in graph.outputs:
        ir.serde.serialize_value_into(proto.output.add(), value, name=value.name or "")


def _large_constant(node: ir.Node) -> ir.TensorProtocol | None:
    """The tensor of a Constant node that is too large to be sizes."""
    value = node.attributes.get("value") if node.op_type == "Constant" else None
    if value is None or value.type != ir.AttributeType.TENSOR or value.is_ref():
        return None
    tensor = value.as_tensor()
    return tensor if tensor.size > _MOST_NUMBERS else None


def _describe_node(node: ir.Node, proto: onnx.NodeProto) -> None:
    proto.op_type, proto.domain = node.op_type, node.domain
    proto.overload = node.overload
    proto.input.extend("" if value is None else value.name or "" for value in node.inputs)
    proto.output.extend(value.name or "" for value in node.outputs)
    for attribute in node.attributes.values():
        if attribute.is_ref():
            ir.serde.serialize_reference_attribute_into(proto.attribute.add(), attribute)
        elif attribute.type == ir.AttributeType.GRAPH:
            item = proto.attribute.add(name=attribute.name, type=onnx.AttributeProto.GRAPH)
            _describe(attribute.as_graph(), item.g)
        else:
            ir.serde.serialize_attribute_into(proto.attribute.add(), attribute)


def _info(name: str | None, tensor: ir.TensorProtocol) -> onnx.ValueInfoProto:
    sizes = tensor.shape.numpy()
    return onnx.helper.make_tensor_value_info(name or "", tensor.dtype.value, sizes)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside its nodes, in the order of all_graphs."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)


def _kinds(graph: onnx.GraphProto) -> Iterator[onnx.TypeProto]:
    for one in _graphs(graph):
        yield from (info.type for info in (*one.input, *one.value_info, *one.output))


def _is_long(kind: onnx.TypeProto) -> bool:
    """True for what no list of sizes is as long as, and for shapes that no tensor can have."""
    dims = kind.tensor_type.shape.dim
    sizes = [dim.dim_value for dim in dims if dim.HasField("dim_value")]
    return is_absurd(sizes) or (len(dims) == 1 and math.prod(sizes) > _LONGEST_LIST)
