"""Simulate: what eight bits would cost, in plain float operators that every runtime has.

    round      y = Conv(x, w)              ->  y = R(Conv(x, w))
    simulate   y = Conv(x, w)              ->  y = R(Conv(R(x), rounded w))

R is Div -> Round -> Clip -> Mul by the scale of the tensor's range, or, where the range is known at
run time only, DynamicQuantizeLinear -> Cast -> Sub -> Mul. No eight-bit kernel runs. `round` leaves
weights alone and shows what the activations lose; `simulate` rounds both.
Source: TensorFlow's 2016 quantize_graph, modes round and quantize.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import node_label
from q8tool.numerics.qparams import QuantParams, from_range
from q8tool.numerics.rounding import dequantize
from q8tool.passes.choose_precision import Choice, Unit
from q8tool.passes.conversions import ConversionWriter, float_weights, give_output_name

__all__ = ["round_values", "simulate_rounding"]


def simulate_rounding(
    model: ir.Model,
    choice: Choice,
    ranges: Mapping[str, tuple[float, float]],
    per_channel: bool = True,
    rounds_weights: bool = True,
) -> list[Change]:
    """Rounds what the units of the choice read (with rounds_weights) and deliver."""
    writer = ConversionWriter(model.graph)
    changes = []
    rounded: dict[ir.Value, ir.Value] = {}
    for unit in choice.units:
        if rounds_weights:
            _round_inputs(writer, unit, ranges, rounded)
            if unit.has_weights:
                _round_weights(writer, unit.node, per_channel)
        elif unit.kind == "weights":
            _round_output(writer, unit.output, ranges)
        changes.append(Change("simulate_rounding", node_label(unit.node), "rounded"))
    return changes


def round_values(model: ir.Model, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Rounds these values of the main graph, each to the codes of its range, for all who read it.

    ranges  names of values that nodes make -> (low, high), real units
    """
    writer = ConversionWriter(model.graph)
    for value in [value for node in model.graph for value in node.outputs]:
        if value.name in ranges:
            _round_output(writer, value, ranges)


def _round_inputs(
    writer: ConversionWriter,
    unit: Unit,
    ranges: Mapping[str, tuple[float, float]],
    rounded: dict[ir.Value, ir.Value],
) -> None:
    for node, index in unit.activations:
        value = node.inputs[index]
        assert value is not None
        if value not in rounded:
            nodes = _rounding(writer, value, ranges)
            writer.graph.insert_before(node, nodes)
            rounded[value] = nodes[-1].outputs[0]
        node.replace_input_with(index, rounded[value])


def _round_output(
    writer: ConversionWriter, value: ir.Value, ranges: Mapping[str, tuple[float, float]]
) -> None:
    producer, readers = value.producer(), list(value.uses())
    assert producer is not None
    nodes = _rounding(writer, value, ranges)
    writer.graph.insert_after(producer, nodes)
    result = nodes[-1].outputs[0]
    for usage in readers:
        usage.node.replace_input_with(usage.idx, result)
    if value.is_graph_output():
        give_output_name(writer, value, result)


def _round_weights(writer: ConversionWriter, node: ir.Node, per_channel: bool) -> None:
    found = float_weights(node)
    params = found.params(per_channel, None)
    real = dequantize(found.codes(params), params)
    # Gemm's alpha is inside the weights now.
    if node.op_type == "Gemm":
        node.attributes.pop("alpha", None)
    name = node.inputs[1].name if node.inputs[1] is not None else node.name
    node.replace_input_with(1, writer.initializer(f"{name}_rounded", real))


def _rounding(
    writer: ConversionWriter, value: ir.Value, ranges: Mapping[str, tuple[float, float]]
) -> list[ir.Node]:
    name = value.name or "value"
    if name in ranges:
        return _static(writer, value, from_range(*ranges[name]))
    return _at_run_time(writer, value)


def _static(writer: ConversionWriter, value: ir.Value, params: QuantParams) -> list[ir.Node]:
    name = value.name or "value"
    zero_point = int(params.zero_point)
    scale = writer.initializer(f"{name}_s", params.scale)
    low = writer.initializer(f"{name}_low", np.asarray(params.low_code - zero_point, np.float32))
    high = writer.initializer(f"{name}_high", np.asarray(params.high_code - zero_point, np.float32))
    steps = writer.new("Div", [value, scale], f"{name}_steps", shape=value.shape)
    whole = writer.new("Round", [steps.outputs[0]], f"{name}_whole", shape=value.shape)
    bound = writer.new("Clip", [whole.outputs[0], low, high], f"{name}_bound", shape=value.shape)
    real = writer.new("Mul", [bound.outputs[0], scale], f"{name}_rounded", shape=value.shape)
    return [steps, whole, bound, real]


def _at_run_time(writer: ConversionWriter, value: ir.Value) -> list[ir.Node]:
    codes = writer.dynamic_quantize(value)
    name = value.name or "value"
    to_float = {"to": int(ir.DataType.FLOAT)}
    real = writer.new("Cast", [codes.outputs[0]], f"{name}_f32", to_float, shape=value.shape)
    zero = writer.new("Cast", [codes.outputs[2]], f"{name}_z32", to_float)
    centred = writer.new("Sub", [real.outputs[0], zero.outputs[0]], f"{name}_c", shape=value.shape)
    scaled = writer.new(
        "Mul", [centred.outputs[0], codes.outputs[1]], f"{name}_rounded", shape=value.shape
    )
    return [codes, real, zero, centred, scaled]
