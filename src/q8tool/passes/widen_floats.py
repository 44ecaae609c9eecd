"""Widen floats: a model in half precision computes in float32, which is what eight bits come from.

    x: float16 -> Conv(w: float16) -> y: float16
    x: float16 -> Cast -> Conv(w: float32) -> Cast -> y: float16

Inputs and outputs keep their types. float64 becomes float32 in a model whose products have such
weights; elsewhere it stays: what computes in it is mostly sizes.
"""

from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, all_graphs, all_nodes

__all__ = ["widen_floats"]

_NARROW = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Attributes that name the type of a result.
_TYPE_ATTRIBUTES = ("to", "dtype")


def widen_floats(model: ir.Model) -> list[Change]:
    """Turn float16 and bfloat16, and float64 weights' model, into float32, subgraphs included.

    In place.
    """
    others = _NARROW | {ir.DataType.DOUBLE} if _multiplies_doubles(model) else _NARROW
    found = [value for value in _values(model) if value.dtype in others]
    weights = [value for value in found if value.const_value is not None]
    if not found and not any(_has_such_attribute(node, others) for node in _nodes(model)):
        return []
    graph, names = model.graph, Names(model.graph)
    inputs = [(value, value.dtype) for value in graph.inputs]
    outputs = [(place, value.dtype) for place, value in enumerate(graph.outputs)]
    for value in weights:
        assert value.const_value is not None
        wide = value.const_value.numpy().astype(np.float32)
        value.const_value = ir.Tensor(wide, name=value.name)
    for value in found:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    for node in _nodes(model):
        _widen_attributes(node, others)
    for value, dtype in inputs:
        if dtype in others and dtype is not None:
            _cast_input(graph, value, dtype, names)
    for place, dtype in outputs:
        if dtype in others and dtype is not None and not graph.outputs[place].is_graph_input():
            _cast_output(graph, place, dtype, names)
    what = f"{len(weights)} weights and what they meet compute in float32"
    return [Change("widen_floats", graph.name or "model", what)]


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from all_nodes(model.graph)


def _values(model: ir.Model) -> list[ir.Value]:
    """Every value once: inputs, initializers and results of all graphs."""
    values: dict[ir.Value, None] = {}
    for graph in all_graphs(model):
        values.update(dict.fromkeys(graph.inputs))
        values.update(dict.fromkeys(graph.initializers.values()))
        values.update(dict.fromkeys(value for node in graph for value in node.outputs))
    return list(values)


def _multiplies_doubles(model: ir.Model) -> bool:
    """True if a product has weights of float64."""
    return any(
        value is not None and value.const_value is not None and value.dtype == ir.DataType.DOUBLE
        for node in _nodes(model)
        if node.op_type in _PRODUCTS
        for value in node.inputs[:2]
    )


def _has_such_attribute(node: ir.Node, others: Collection[ir.DataType]) -> bool:
    return any(_names_one_of(others, name, attr) for name, attr in node.attributes.items())


def _names_one_of(others: Collection[ir.DataType], name: str, attribute: ir.Attr) -> bool:
    if attribute.type == ir.AttributeType.TENSOR:
        return attribute.as_tensor().dtype in others
    is_type = name in _TYPE_ATTRIBUTES and attribute.type == ir.AttributeType.INT
    return is_type and attribute.as_int() in {int(dtype) for dtype in others}


def _widen_attributes(node: ir.Node, others: Collection[ir.DataType]) -> None:
    for name, attribute in list(node.attributes.items()):
        if not _names_one_of(others, name, attribute):
            continue
        if attribute.type == ir.AttributeType.TENSOR:
            wide = ir.Tensor(attribute.as_tensor().numpy().astype(np.float32))
            node.attributes[name] = ir.AttrTensor(name, wide)
        else:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))


def _cast_input(graph: ir.Graph, value: ir.Value, dtype: ir.DataType, names: Names) -> None:
    """The input has its own type again; its readers get it as float32."""
    cast = _cast(value, ir.DataType.FLOAT, names)
    for reader, position in list(value.uses()):
        if reader is not cast:
            reader.replace_input_with(position, cast.outputs[0])
    value.type = ir.TensorType(dtype)
    first = next(iter(graph), None)
    if first is None:
        graph.append(cast)
    else:
        graph.insert_before(first, cast)


def _cast_output(graph: ir.Graph, place: int, dtype: ir.DataType, names: Names) -> None:
    """The output keeps its name and type; what computes it gets another name."""
    old = graph.outputs[place]
    name = old.name or ""
    old.name = names.new(f"{name}_float32")
    cast = _cast(old, dtype, names)
    cast.outputs[0].name = name
    graph.append(cast)
    graph.outputs[place] = cast.outputs[0]


def _cast(value: ir.Value, dtype: ir.DataType, names: Names) -> ir.Node:
    name = names.new(f"{value.name}_cast")
    node = ir.node("Cast", [value], {"to": int(dtype)}, name=name)
    result = node.outputs[0]
    result.name, result.shape, result.type = name, value.shape, ir.TensorType(dtype)
    return node
