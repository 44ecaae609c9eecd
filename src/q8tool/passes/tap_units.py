"""Tap units: an eight-bit twin beside every unit shows how much noise that unit alone makes.

    x ---------------------------> Conv(w, b) -> Relu -> y -> ...                 (stays float)
     \\-> Quantize -> Dequantize -> Conv(w8, b32) -> Relu -> Quantize -> Dequantize -> y'
                                                  noise = sum (y - y')^2,  signal = sum y^2

All twins run in one pass of the float model, so that one pass over the samples tells the damage of
every operator, and two numbers per operator leave the engine.
"""

from collections.abc import Mapping

import onnx_ir as ir

from q8tool.model.graph import constant, node_name
from q8tool.numerics.qparams import QuantParams, from_range
from q8tool.numerics.rounding import quantize
from q8tool.passes.choose_precision import Choice, Unit
from q8tool.passes.conversions import ConversionWriter, float_weights

__all__ = ["tap_units"]

Range = tuple[float, float]


def tap_units(
    model: ir.Model, choice: Choice, ranges: Mapping[str, Range], per_channel: bool = True
) -> dict[str, tuple[str, str]]:
    """Adds twins for the static units that compute something; in place.

    ranges  of every tensor that the units read and deliver, real units
    Returns node name -> names of two scalars: the noise and the signal of its result, both summed
    squares. Of operators without weights only the rounding of the result counts.
    """
    tapper = _Tapper(ConversionWriter(model.graph), choice, ranges, per_channel)
    taps = {}
    for unit in choice.units:
        if unit.form != "static" or unit.kind == "same":
            continue
        delivers = unit.output.name in choice.wanted and unit.output.name in ranges
        twin = unit.output
        if unit.kind == "weights":
            twin = tapper.twin(unit, tapper.params(unit.output) if delivers else None)
        if delivers:
            twin = tapper.rounded(twin, tapper.params(unit.output))
        if twin is not unit.output:
            taps[node_name(unit.node)] = tapper.energies(unit.output, twin)
    return taps


class _Tapper:
    """Appends nodes at the end of the graph, in an order in which they can run."""

    def __init__(
        self,
        writer: ConversionWriter,
        choice: Choice,
        ranges: Mapping[str, Range],
        per_channel: bool,
    ) -> None:
        self._writer = writer
        self._shared = choice.shared_weights()
        self._ranges = ranges
        self._per_channel = per_channel
        self._rounded: dict[ir.Value, ir.Value] = {}

    def params(self, value: ir.Value) -> QuantParams:
        """By the range of the value."""
        return from_range(*self._ranges[value.name or ""])

    def rounded(self, value: ir.Value, params: QuantParams) -> ir.Value:
        """The value through codes and back."""
        codes = self._add(self._writer.quantize(value, params))
        name = f"{value.name}_rounded"
        return self._add(self._writer.dequantize(codes, params, name))

    def twin(self, unit: Unit, y: QuantParams | None) -> ir.Value:
        """What the eight-bit form makes of float inputs, before its own result is rounded.

        y  what that will be rounded to; None: it stays float
        """
        node = unit.node
        inputs = list(node.inputs)
        for _, index in unit.activations:
            value = node.inputs[index]
            assert value is not None
            inputs[index] = self._read(value)
        attributes = dict(node.attributes)
        if unit.has_weights:
            self._use_codes(node, inputs, self.params(unit.inputs[0]), y)
            if node.op_type == "Gemm":  # its factors are inside the weights and the bias
                attributes = {k: v for k, v in attributes.items() if k not in ("alpha", "beta")}
        result, known = self._copy(node, inputs, attributes), node.outputs[0]
        for follower in _behind(unit):
            read = [result if value is known else value for value in follower.inputs]
            result, known = (
                self._copy(follower, read, dict(follower.attributes)),
                follower.outputs[0],
            )
        return result

    def energies(self, value: ir.Value, twin: ir.Value) -> tuple[str, str]:
        """Names of the summed squares of their difference and of the value."""
        difference = self._writer.new("Sub", [value, twin], f"{value.name}_noise")
        names = []
        for source in (self._add(difference), value):
            energy = self._writer.new(
                "ReduceSumSquare", [source], f"{value.name}_energy", {"keepdims": 0},
                shape=ir.Shape([]),
            )  # fmt: skip
            names.append(self._add(energy).name or "")
        return names[0], names[1]

    def _read(self, value: ir.Value) -> ir.Value:
        if value not in self._rounded:
            params, array = self.params(value), constant(value)
            if array is None:
                self._rounded[value] = self.rounded(value, params)
            else:
                codes = quantize(array, params)
                node = self._writer.dequantized_constant(codes, params, value.name or "constant")
                self._rounded[value] = self._add(node)
        return self._rounded[value]

    def _use_codes(
        self, node: ir.Node, inputs: list[ir.Value | None], x: QuantParams, y: QuantParams | None
    ) -> None:
        found, name = float_weights(node), node_name(node)
        is_shared = node.inputs[1] in self._shared
        params = found.params(self._per_channel, None if y is None else x, None if is_shared else y)
        weights = self._writer.dequantized_constant(found.codes(params), params, f"{name}_twin_w")
        inputs[1] = self._add(weights)
        if found.bias is None:
            return
        if y is not None:
            sums = found.bias_params(x, params)
            codes = quantize(found.bias, sums)
            bias = self._writer.dequantized_constant(codes, sums, f"{name}_twin_b")
            inputs[2] = self._add(bias)
        else:
            inputs[2] = self._writer.initializer(f"{name}_twin_b", found.bias)

    def _copy(
        self, node: ir.Node, inputs: list[ir.Value | None], attributes: dict[str, ir.Attr]
    ) -> ir.Value:
        name = f"{node.outputs[0].name}_twin"
        copy = self._writer.new(node.op_type, inputs, name, shape=node.outputs[0].shape)
        copy.attributes.update(attributes)
        return self._add(copy)

    def _add(self, node: ir.Node) -> ir.Value:
        self._writer.graph.append(node)
        return node.outputs[0]


def _behind(unit: Unit) -> list[ir.Node]:
    """The bias and the clamp that belong to the unit, in order."""
    nodes: list[ir.Node] = []
    producer = unit.output.producer()
    while producer is not None and producer is not unit.node:
        nodes.insert(0, producer)
        varying = [v for v in producer.inputs if v is not None and constant(v) is None]
        producer = varying[0].producer()
    return nodes
