"""Quantize storage: what eight-bit arithmetic does not read but fills the file becomes int8.

    table, ids -> Gather -> y     ->     codes, ids -> Gather -> Cast -> Mul -> y
                                         scales, ids -> Gather ------------^

Embedding tables have a scale per row, and only the rows that are asked for are expanded; one that a
product reads as well (tied weights) is stored once. Weights of LSTM and its kin, those that the
bodies of If and Loop read, and those of products whose range is not known, are int8 behind a
DequantizeLinear with a scale per channel; their arithmetic stays float. Not so depthwise
convolutions: theirs are few, and what they lose is seen.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.change import Change
from q8tool.model.graph import all_graphs, constant, get_int, nodes_inside
from q8tool.numerics.qparams import QuantParams, weight_params
from q8tool.numerics.rounding import quantize
from q8tool.passes.conversions import ConversionWriter, is_depthwise, take_over
from q8tool.passes.quantize_weights import move_weights_out, store_weights, weights_of

__all__ = ["quantize_storage"]

# Smaller ones are not worth their nodes and their rounding.
_SMALLEST = 1024
# Codes lie within one step of what they stand for, however they were rounded.
_ROUNDED = 1.001


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
    """Weights that no eight-bit product reads: of LSTM and its kin, in bodies, and what is left."""
    _, *inner = all_graphs(model)
    inside_bodies = [node for body in inner for node in body]
    nodes = [n for n in model.graph if n.op_type != "Gather" and not is_depthwise(n)]
    if not inside_bodies and not nodes:
        return []
    move_weights_out(model)
    inside = frozenset(inner for node in excluded for inner in nodes_inside(node))
    found = [
        (value, axis)
        for value, axis in weights_of([*nodes, *inside_bodies], excluded | inside)
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
    codes = _tied_codes(writer, array, params)
    if codes is None:
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


def _tied_codes(
    writer: ConversionWriter, table: NDArray[np.float32], params: QuantParams
) -> ir.Value | None:
    """The codes of a product that reads the table, or its transpose, as weights: stored once.

    None if there is none. Where it reads the transpose, it gets it from a Transpose of the codes.
    """
    for value in list(writer.graph.initializers.values()):
        codes = constant(value) if value.dtype == ir.DataType.INT8 else None
        if codes is None or codes.ndim != 2:
            continue
        if codes.shape == table.shape and _is_rounded(codes, table, params):
            return value
        if codes.T.shape == table.shape and _is_rounded(codes.T, table, params):
            return _turned(writer, value, codes)
    return None


def _is_rounded(codes: NDArray[np.int8], table: NDArray[np.float32], params: QuantParams) -> bool:
    """True if codes with a scale per row are the table's: each within one step."""
    steps = table[:1] / params.scale[0]
    if np.abs(steps - codes[:1]).max(initial=0) > _ROUNDED:
        return False
    return bool(np.abs(table / params.scale[:, None] - codes).max(initial=0) <= _ROUNDED)


def _turned(writer: ConversionWriter, value: ir.Value, codes: NDArray[np.int8]) -> ir.Value:
    """Codes in the table's layout; readers of the value read their transpose."""
    table = writer.initializer(f"{value.name}_table", np.ascontiguousarray(codes.T))
    turn = writer.new(
        "Transpose", [table], f"{value.name}_turned", {"perm": [1, 0]}, ir.DataType.INT8,
        value.shape,
    )  # fmt: skip
    first = next(iter(writer.graph), None)
    assert first is not None
    writer.graph.insert_before(first, turn)
    value.replace_all_uses_with(turn.outputs[0])
    return table
