"""Quantize storage: what eight-bit arithmetic does not read but fills the file becomes int8.

    table, ids -> Gather -> y     ->     codes, ids -> Gather -> Cast -> Mul -> y
                                         scales, ids -> Gather ------------^

Embedding tables have a scale per row, and only the rows that are asked for are expanded. Weights of
LSTM and its kin, and those that the bodies of If and Loop read, are int8 behind a DequantizeLinear
with a scale per channel; their arithmetic stays float.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.change import Change
from q8tool.model.graph import constant, get_int, nodes_inside
from q8tool.numerics.qparams import weight_params
from q8tool.numerics.rounding import quantize
from q8tool.passes.conversions import ConversionWriter, take_over
from q8tool.passes.quantize_weights import (
    RECURRENT,
    move_weights_out,
    store_weights,
    weights_of,
)

__all__ = ["quantize_storage"]

# Smaller ones are not worth their nodes and their rounding.
_SMALLEST = 1024


def quantize_storage(model: ir.Model, excluded: frozenset[ir.Node] = frozenset()) -> list[Change]:
    """Store embedding tables, recurrent weights and those of bodies as int8, in place."""
    changes = _store_float_arithmetic(model, excluded)
    writer = ConversionWriter(model.graph)
    for value in list(model.graph.initializers.values()):
        array = constant(value)
        if array is None or array.dtype != np.float32 or array.size < _SMALLEST:
            continue
        readers = [use.node for use in value.uses()]
        if value.is_graph_output() or excluded.intersection(readers) or not readers:
            continue
        if not np.isfinite(array).all():
            continue
        if array.ndim != 2 or not all(_looks_up(node, value) for node in readers):
            continue
        _store_table(writer, value, array, readers)
        changes.append(Change("quantize_storage", value.name or "", "int8"))
    return changes


def _store_float_arithmetic(model: ir.Model, excluded: frozenset[ir.Node]) -> list[Change]:
    """Weights of operators without an eight-bit form: recurrent ones, and those in bodies."""
    bodies = [node for body in model.graph.subgraphs() for node in body]
    nodes = [node for node in model.graph if node.op_type in RECURRENT]
    if not bodies and not nodes:
        return []
    move_weights_out(model)
    inside = frozenset(inner for node in excluded for inner in nodes_inside(node))
    found = [
        (value, axis)
        for value, axis in weights_of([*nodes, *bodies], excluded | inside)
        if value.const_value is not None and value.const_value.size >= _SMALLEST
    ]
    return store_weights(model, found, excluded | inside)


def _looks_up(node: ir.Node, table: ir.Value) -> bool:
    is_gather = node.op_type == "Gather" and node.domain == "" and node.graph is table.graph
    return is_gather and node.inputs[0] is table and get_int(node, "axis", 0) == 0


def _store_table(
    writer: ConversionWriter, value: ir.Value, array: NDArray[np.float32], readers: list[ir.Node]
) -> None:
    params = weight_params(array, 0)
    codes = writer.initializer(f"{value.name}_q", quantize(array, params))
    scales = writer.initializer(f"{value.name}_s", params.scale.reshape(-1, 1))
    for node in dict.fromkeys(readers):
        y, ids = node.outputs[0], node.inputs[1]
        assert ids is not None
        name = y.name or "row"
        picked = writer.new("Gather", [codes, ids], f"{name}_q", None, ir.DataType.INT8, y.shape)
        cast = writer.new("Cast", [picked.outputs[0]], f"{name}_f32", shape=y.shape)
        cast.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT))
        scale = writer.new("Gather", [scales, ids], f"{name}_s")
        factors = [cast.outputs[0], scale.outputs[0]]
        real = writer.new("Mul", factors, f"{name}_real", shape=y.shape)
        writer.graph.insert_before(node, [picked, cast, scale, real])
        take_over(writer, node, real.outputs[0])
