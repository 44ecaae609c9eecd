"""Insert conversions: each static unit becomes eight-bit on its own, conversions around it.

    before   x ----------------------> Conv(w, b) -> Relu -> y -> ...
    after    x -> Quantize -> Dequantize -> Conv(Dequantize(w8), Dequantize(b32)) -> Relu
                                                    -> Quantize -> Dequantize -> y' -> ...

The 2016 way: op by op, so that every operator can be read on its own; the pairs that meet between
two units are for strip-conversions to cancel. Ranges give the parameters: one per tensor, so that
what a unit delivers and what the next one wants agree. Data movement keeps its input's parameters.
"""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import constant, node_label
from q8tool.numerics.qparams import QuantParams, from_range
from q8tool.numerics.rounding import quantize
from q8tool.passes.choose_precision import Choice, Unit
from q8tool.passes.conversions import ConversionWriter, float_weights, give_output_name

__all__ = ["insert_conversions"]

Range = tuple[float, float]


def insert_conversions(
    model: ir.Model,
    choice: Choice,
    ranges: Mapping[str, Range],
    per_channel: bool = True,
) -> list[Change]:
    """Rewrites the static units of the choice.

    ranges  of every tensor in choice.tensors() and of the constants that units read, real units
    """
    inserter = _Inserter(ConversionWriter(model.graph), choice, ranges, per_channel)
    changes = []
    for unit in choice.units:
        if unit.form == "static":
            inserter.convert(unit)
            changes.append(Change("insert_conversions", node_label(unit.node), "eight-bit"))
    return changes


class _Inserter:
    """Knows under which name the range of each value is to be found, also of inserted ones."""

    def __init__(
        self,
        writer: ConversionWriter,
        choice: Choice,
        ranges: Mapping[str, Range],
        per_channel: bool,
    ) -> None:
        self._writer = writer
        self._wanted = choice.wanted
        self._ranges = ranges
        self._per_channel = per_channel
        self._origin: dict[ir.Value, str] = {}
        self._moved_from: dict[str, str] = {}
        self._shared = choice.shared_weights()

    def convert(self, unit: Unit) -> None:
        """Conversions around one unit, its weights and bias included."""
        node = unit.node
        first = self._params(unit.inputs[0])
        outputs = [unit.output] if unit.kind != "same" else list(node.outputs)
        if unit.kind == "same":
            source = self._name(unit.inputs[0])
            self._moved_from.update({value.name or "": source for value in outputs})
        delivered = [value for value in outputs if value.name in self._wanted]
        for value in unit.inputs:
            self._convert_input(value, [at for at in unit.activations if _reads(at, value)])
        if unit.has_weights:
            self._convert_weights(node, first, self._params(unit.output) if delivered else None)
        for value in delivered:
            self._convert_output(value)

    def _name(self, value: ir.Value) -> str:
        name = self._origin.get(value, value.name or "")
        while name in self._moved_from:
            name = self._moved_from[name]
        return name

    def _params(self, value: ir.Value) -> QuantParams:
        return from_range(*self._ranges[self._name(value)])

    def _convert_input(self, value: ir.Value, places: Sequence[tuple[ir.Node, int]]) -> None:
        params, array = self._params(value), constant(value)
        if array is not None:
            codes = quantize(array, params)
            nodes = [self._writer.dequantized_constant(codes, params, value.name or "constant")]
        else:
            to_codes = self._writer.quantize(value, params)
            name = f"{self._name(value)}_dq"
            nodes = [to_codes, self._writer.dequantize(to_codes.outputs[0], params, name)]
        self._writer.graph.insert_before(places[0][0], nodes)
        for node, index in places:
            node.replace_input_with(index, nodes[-1].outputs[0])

    def _convert_weights(self, node: ir.Node, x: QuantParams, y: QuantParams | None) -> None:
        """x, y: of the first input and of the result; no y: the result is float.

        The bias stays float where the result does: nothing is gained by rounding it.
        """
        found = float_weights(node)
        rounds_bias = y is not None
        is_shared = node.inputs[1] in self._shared
        params = found.params(
            self._per_channel, x if rounds_bias else None, None if is_shared else y
        )
        codes = found.codes(params)
        weights = self._writer.dequantized_constant(codes, params, _base(node, 1))
        self._writer.graph.insert_before(node, weights)
        node.replace_input_with(1, weights.outputs[0])
        if found.bias is not None and rounds_bias:
            sums = found.bias_params(x, params)
            codes = quantize(found.bias, sums)
            bias = self._writer.dequantized_constant(codes, sums, _base(node, 2))
            self._writer.graph.insert_before(node, bias)
            node.replace_input_with(2, bias.outputs[0])
        elif found.bias is not None and node.op_type == "Gemm":
            node.replace_input_with(2, self._writer.initializer(_base(node, 2), found.bias))
        # Gemm's factors are inside the weights and the bias now.
        for name in ("alpha", "beta"):
            if node.op_type == "Gemm":
                node.attributes.pop(name, None)

    def _convert_output(self, value: ir.Value) -> None:
        """value -> Quantize -> Dequantize -> whoever read value, the graph's output included."""
        producer, params, name = value.producer(), self._params(value), value.name or ""
        assert producer is not None
        readers = list(value.uses())
        to_codes = self._writer.quantize(value, params)
        dequantize = self._writer.dequantize(to_codes.outputs[0], params, f"{name}_dq")
        self._writer.graph.insert_after(producer, [to_codes, dequantize])
        result = dequantize.outputs[0]
        self._origin[result] = name
        for usage in readers:
            usage.node.replace_input_with(usage.idx, result)
        if value.is_graph_output():
            give_output_name(self._writer, value, result)


def _reads(place: tuple[ir.Node, int], value: ir.Value) -> bool:
    node, index = place
    return node.inputs[index] is value


def _base(node: ir.Node, index: int) -> str:
    """The name that a constant's codes are named after."""
    value = node.inputs[index]
    return (value.name if value is not None else None) or f"{node.name}_{index}"
