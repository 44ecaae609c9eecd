"""Sink dequantize: data movement works on codes as well as on real values.

    before   codes -> Dequantize -> Transpose -> Quantize -> reader
    after    codes -> Transpose -> Dequantize -> Quantize -> reader      (then the pair cancels)

Exact: these operators copy values, or take the greatest, which for codes of one positive scale is
the same one. Done only where a QuantizeLinear of equal parameters waits behind the movement, so
that conversions disappear and float readers see no change.
"""

import functools
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import (
    Names,
    all_graphs,
    constant,
    get_string,
    make_initializer,
    node_label,
)
from q8tool.numerics.qparams import CodeType, QuantParams
from q8tool.passes.cancel_conversions import remove_if_unread
from q8tool.passes.pairs import params_of

__all__ = ["sink_dequantize"]

# Operators that move the values of their first input, whatever their type.
_MOVES = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


def sink_dequantize(model: ir.Model) -> list[Change]:
    """Moves each DequantizeLinear below one movement at a time until nothing more can cancel."""
    changes = []
    opset = model.opset_imports.get("", 1)
    names = Names(model.graph)
    for graph in all_graphs(model):
        awaiting = _awaiting_codes(graph, opset)
        for node in list(graph):
            params = _common_params(node, opset)
            if params is None or not any(params.same_as(p) for p in awaiting.get(node, ())):
                continue
            _sink(graph, names, node, params)
            changes.append(Change("sink_dequantize", node_label(node), "works on codes"))
    return changes


def _is_movement(node: ir.Node) -> bool:
    return node.op_type in _MOVES and node.domain in ("", "ai.onnx")


def _data_inputs(node: ir.Node) -> Sequence[ir.Value | None]:
    return node.inputs if node.op_type == "Concat" else node.inputs[:1]


def _common_params(node: ir.Node, opset: int) -> QuantParams | None:
    """The parameters that all data inputs of a movement come with; None if it cannot sink."""
    if not _is_movement(node):
        return None
    found: QuantParams | None = None
    for value in _data_inputs(node):
        source = value.producer() if value is not None else None
        if source is None or source.op_type != "DequantizeLinear":
            return None
        params = params_of(source)
        if params is None or params.axis is not None or not float(params.scale) > 0.0:
            return None
        if found is not None and not params.same_as(found):
            return None
        found = params
    return found if found is not None and _works_on_codes(node, found.dtype, opset) else None


def _works_on_codes(node: ir.Node, dtype: CodeType, opset: int) -> bool:
    if not _takes(node.op_type, dtype, opset):
        return False
    if node.op_type == "MaxPool":
        return not any(value.uses() for value in node.outputs[1:])
    if node.op_type != "Pad":
        return True
    value = node.inputs[2] if len(node.inputs) > 2 else None
    padding = np.zeros(1) if value is None else constant(value)
    if get_string(node, "mode", "constant") != "constant":
        return True
    # Padding with 0.0 becomes padding with the zero point; its place is input 2 since opset 11.
    return padding is not None and not np.any(padding) and len(node.inputs) > 1


@functools.cache
def _takes(op_type: str, dtype: CodeType, opset: int) -> bool:
    """True if the standard lets the operator read such codes; MaxPool does since opset 12."""
    schema = onnx.defs.get_schema(op_type, opset, "")
    wanted = f"tensor({dtype})"
    kind = schema.inputs[0].type_str
    return any(
        wanted in c.allowed_type_strs for c in schema.type_constraints if kind == c.type_param_str
    )


def _awaiting_codes(graph: ir.Graph, opset: int) -> dict[ir.Node, list[QuantParams]]:
    """Movements whose result a QuantizeLinear reads, directly or after movements; its parameters.

    Found from the QuantizeLinear nodes upwards: each movement has one data input, but for Concat.
    """
    found: dict[ir.Node, list[QuantParams]] = {}
    for quantize in graph:
        params = params_of(quantize) if quantize.op_type == "QuantizeLinear" else None
        reader: ir.Node | None = quantize
        while params is not None and reader is not None:
            source = reader.inputs[0].producer() if reader.inputs[0] is not None else None
            if source is None or source.graph is not graph or not _is_movement(source):
                break
            known = found.setdefault(source, [])
            if any(params.same_as(other) for other in known):
                break
            known.append(params)
            goes_on = source.op_type != "Concat" and _works_on_codes(source, params.dtype, opset)
            reader = source if goes_on else None
    return found


def _sink(graph: ir.Graph, names: Names, node: ir.Node, params: QuantParams) -> None:
    sources = []
    for index, value in enumerate(_data_inputs(node)):
        source = value.producer() if value is not None else None
        assert source is not None
        node.replace_input_with(index, source.inputs[0])
        sources.append(source)
    if node.op_type == "Pad" and get_string(node, "mode", "constant") == "constant":
        _pad_with_zero_point(graph, names, node, params)
    scale, *zero_point = sources[0].inputs[1:]
    for value in node.outputs:
        if not value.uses() and not value.is_graph_output():
            value.type = sources[0].inputs[0].type if sources[0].inputs[0] is not None else None
            continue
        _dequantize_behind(graph, names, node, value, [scale, *zero_point])
    for source in dict.fromkeys(sources):
        remove_if_unread(graph, source)


def _dequantize_behind(
    graph: ir.Graph,
    names: Names,
    node: ir.Node,
    value: ir.Value,
    params: list[ir.Value | None],
) -> None:
    """value becomes codes; a DequantizeLinear behind it delivers what value was, under its name."""
    name, dtype = value.name, value.type
    readers, is_output = list(value.uses()), value.is_graph_output()
    source = node.inputs[0]
    real = ir.Value(name=name, shape=value.shape, type=dtype)
    label = names.new(f"{name}_dq")
    dequantize = ir.node("DequantizeLinear", [value, *params], outputs=[real], name=label)
    value.name = names.new(f"{name}_codes")
    value.type = source.type if source is not None else None
    graph.insert_after(node, dequantize)
    for usage in readers:
        usage.node.replace_input_with(usage.idx, real)
    if is_output:
        outputs = graph.outputs
        outputs[:] = [real if output is value else output for output in outputs]


def _pad_with_zero_point(graph: ir.Graph, names: Names, node: ir.Node, params: QuantParams) -> None:
    code = np.asarray(params.zero_point).astype(params.dtype)
    value = make_initializer(graph, names.new(f"{node.name or 'pad'}_value"), code)
    node.resize_inputs(max(len(node.inputs), 3))
    node.replace_input_with(2, value)
