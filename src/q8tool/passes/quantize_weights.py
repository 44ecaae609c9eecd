"""Quantize weights only: a quarter of the file, float arithmetic as before.

    weights          w  ->  int8 codes -> DequantizeLinear -> readers          (a quarter now)
    weights-rounded  w  ->  the nearest of 256 evenly spaced values, float32   (a third once zipped)

The second keeps every runtime and every operator as it is: 256 different values compress well, and
downloads are compressed. Source: TensorFlow's 2016 quantize_graph, modes weights and
weights_rounded.
"""

import zlib

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.change import Change
from q8tool.model.graph import constant
from q8tool.numerics.qparams import weight_params
from q8tool.numerics.rounding import quantize_balanced
from q8tool.ops.registry import row
from q8tool.passes.conversions import ConversionWriter, output_channel_axis

__all__ = ["SMALLEST", "quantize_weights", "round_weights", "zipped_share"]

LEVELS = 256
# What is smaller than this is not worth a node, its scales and a rounding error.
SMALLEST = 64


def quantize_weights(
    model: ir.Model, excluded: frozenset[ir.Node] = frozenset(), per_channel: bool = True
) -> list[Change]:
    """Stores float weights as int8 behind DequantizeLinear; equal weights stay shared."""
    writer = ConversionWriter(model.graph)
    changes = []
    for value, axis in _weights(model, excluded):
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
    for value, _ in _weights(model, excluded):
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


def _weights(model: ir.Model, excluded: frozenset[ir.Node]) -> list[tuple[ir.Value, int]]:
    """Float initializers that operators read as weights, with their output-channel axis."""
    found: dict[ir.Value, int] = {}
    for node in model.graph:
        described = row(node.domain, node.op_type)
        is_table = node.op_type == "Gather"
        if described is None or not (described.quantization == "weights" or is_table):
            continue
        index = 0 if is_table else 1
        value = node.inputs[index]
        array = constant(value)
        if value is None or array is None or array.dtype != np.float32 or node in excluded:
            continue
        if array.ndim >= 2 and array.size >= SMALLEST and np.isfinite(array).all():
            found.setdefault(
                value, 0 if is_table else min(output_channel_axis(node), array.ndim - 1)
            )
    return list(found.items())


def _snapped(array: NDArray[np.float32], levels: int) -> NDArray[np.float32]:
    low, high = float(array.min()), float(array.max())
    if low == high:
        return array
    width = (high - low) / levels
    index = np.clip(np.floor((array.astype(np.float64) - low) / width), 0, levels - 1)
    return np.asarray(low + width * (index + 0.5), np.float32)
