"""Quantize weights only: a quarter of the file, float arithmetic as before.

    weights          w  ->  int8 codes -> DequantizeLinear -> readers          (a quarter now)
    weights-rounded  w  ->  the nearest of 256 evenly spaced values, float32   (a third once zipped)

The second keeps every runtime and every operator as it is: 256 different values compress well, and
downloads are compressed. Source: TensorFlow's 2016 quantize_graph, modes weights and
weights_rounded.
"""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.change import Change
from q8tool.model.graph import Names, all_graphs, all_nodes, constant
from q8tool.numerics.qparams import weight_params
from q8tool.numerics.rounding import quantize_balanced
from q8tool.ops.registry import row
from q8tool.passes.conversions import ConversionWriter, output_channel_axis

__all__ = [
    "SMALLEST",
    "move_weights_out",
    "quantize_weights",
    "round_weights",
    "store_weights",
    "weights_of",
    "zipped_share",
]

LEVELS = 256
# What is smaller than this is not worth a node, its scales and a rounding error.
SMALLEST = 64
_RECURRENT = ("LSTM", "GRU", "RNN")


def quantize_weights(
    model: ir.Model, excluded: frozenset[ir.Node] = frozenset(), per_channel: bool = True
) -> list[Change]:
    """Stores float weights as int8 behind DequantizeLinear; equal weights stay shared."""
    move_weights_out(model)
    nodes = all_nodes(model.graph)
    return store_weights(model, weights_of(nodes, excluded), excluded, per_channel)


def store_weights(
    model: ir.Model,
    weights: Sequence[tuple[ir.Value, int]],
    excluded: frozenset[ir.Node] = frozenset(),
    per_channel: bool = True,
) -> list[Change]:
    """Stores these initializers of the main graph, given with their channel axis, as int8."""
    writer = ConversionWriter(model.graph)
    changes = []
    for value, axis in weights:
        array = constant(value)
        assert array is not None
        params = weight_params(array, axis if per_channel else None)
        codes = quantize_balanced(array, params, axis)
        node = writer.dequantized_constant(codes, params, value.name or "weights")
        readers = [usage for usage in value.uses() if usage.node not in excluded]
        first = next(iter(model.graph), None)
        assert first is not None
        writer.graph.insert_before(first, node)
        for usage in readers:
            usage.node.replace_input_with(usage.idx, node.outputs[0])
        changes.append(Change("quantize_weights", value.name or "", "int8"))
    return changes


def round_weights(
    model: ir.Model, excluded: frozenset[ir.Node] = frozenset(), levels: int = LEVELS
) -> list[Change]:
    """Snaps float weights to the centres of `levels` even buckets between lowest and highest."""
    changes = []
    move_weights_out(model)
    for value, _ in weights_of(all_nodes(model.graph), excluded):
        array = constant(value)
        assert array is not None
        rounded = _snapped(np.asarray(array, np.float32), levels)
        value.const_value = ir.Tensor(rounded, name=value.name)
        changes.append(Change("round_weights", value.name or "", f"{levels} values"))
    return changes


def zipped_share(model: ir.Model) -> float:
    """Size of all weights compressed (zlib, level 6) as a share of their plain size, 0..1."""
    plain = packed = 0
    for value in model.graph.initializers.values():
        array = constant(value)
        if array is not None and array.dtype != object:
            data = array.tobytes()
            plain += len(data)
            packed += len(zlib.compress(data))
    return packed / plain if plain else 1.0


def move_weights_out(model: ir.Model) -> None:
    """Initializers of If and Loop bodies become the main graph's, which the bodies can read."""
    names = Names(model.graph)
    _, *inner = all_graphs(model)
    for body in inner:
        for name, value in list(body.initializers.items()):
            if value.is_graph_input() or value.is_graph_output():
                continue
            del body.initializers[name]
            # Two bodies may have used one name.
            value.name = names.new(f"{name}_outer")
            model.graph.register_initializer(value)


def weights_of(
    nodes: Iterable[ir.Node], excluded: frozenset[ir.Node] = frozenset()
) -> list[tuple[ir.Value, int]]:
    """Float initializers that operators read as weights, with their output-channel axis."""
    found: dict[ir.Value, int] = {}
    for node in nodes:
        for index, axis in _weight_inputs(node):
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is None or value.is_graph_output() or node in excluded:
                continue
            array = constant(value)
            if array is None or array.dtype != np.float32 or array.ndim < 2:
                continue
            if array.size >= SMALLEST and np.isfinite(array).all():
                found.setdefault(value, min(axis, array.ndim - 1))
    return list(found.items())


def _weight_inputs(node: ir.Node) -> list[tuple[int, int]]:
    """(input, output-channel axis) of what the operator reads as weights."""
    if node.domain == "" and node.op_type in _RECURRENT:
        return [(1, 1), (2, 1)]  # directions, gates, ...
    if node.domain == "" and node.op_type == "Gather":
        return [(0, 0)]
    described = row(node.domain, node.op_type)
    is_weighted = described is not None and described.quantization == "weights"
    return [(1, output_channel_axis(node))] if is_weighted else []


def _snapped(array: NDArray[np.float32], levels: int) -> NDArray[np.float32]:
    low, high = float(array.min()), float(array.max())
    if low == high:
        return array
    width = (high - low) / levels
    index = np.clip(np.floor((array.astype(np.float64) - low) / width), 0, levels - 1)
    return np.asarray(low + width * (index + 0.5), np.float32)
