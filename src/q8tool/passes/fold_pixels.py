"""Fold pixels: the model takes photos as bytes, normalized by how their codes are read.

    input: float = (pixel - mean) / std        ->  Conv(w, b)
    input: uint8 -> Dequantize(1 / std, round(mean))  ->  Conv(w, b + what rounding the mean left)

With one mean and deviation for all channels that Dequantize is cancelled later: the first
convolution reads the pixels themselves. What rounding the mean leaves out is the same everywhere
and goes into the bias, exactly, but at a padded border, where it is at most half a pixel's step.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.change import Change
from q8tool.model.graph import constant, get_int
from q8tool.numerics.qparams import QuantParams, from_range
from q8tool.passes.conversions import ConversionWriter

__all__ = ["fold_pixels"]


def fold_pixels(
    model: ir.Model, name: str, mean: Sequence[float], std: Sequence[float], axis: int
) -> tuple[list[Change], dict[str, tuple[float, float]]]:
    """Lets the float input `name` be uint8 pixels, in place.

    mean, std  of each channel, in pixels;  axis  of the channels
    Returns the changes, and the exact range of the value that takes the input's place.
    """
    graph = model.graph
    value = next(one for one in graph.inputs if one.name == name)
    readers = list(value.uses())
    params = _params(mean, std, axis)
    writer = ConversionWriter(graph)
    node = writer.dequantize(value, params, f"{name}_pixels")
    first = next(iter(graph))
    graph.insert_before(first, node)
    value.type = ir.TensorType(ir.DataType.UINT8)
    centred = node.outputs[0]
    for reader, index in readers:
        reader.replace_input_with(index, centred)
    _add_rest(writer, centred, _left_out(params, mean, std), axis)
    changes = [Change("fold_pixels", name, "uint8, normalized by its scale and zero point")]
    return changes, {centred.name or "": params.range()}


def _params(mean: Sequence[float], std: Sequence[float], axis: int) -> QuantParams:
    """One scale and zero point if all channels are alike, else one for each."""
    channels = [
        from_range(-zero / deviation, (255.0 - zero) / deviation)
        for zero, deviation in ((float(np.clip(np.rint(m), 0, 255)), s)
                                for m, s in zip(mean, std, strict=True))
    ]  # fmt: skip
    if len(set(mean)) == len(set(std)) == 1:
        return channels[0]
    scale = np.array([one.scale for one in channels], np.float32)
    zero_point = np.array([one.zero_point for one in channels], np.int32)
    return QuantParams(scale, zero_point, "uint8", axis)


def _left_out(
    params: QuantParams, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """By how much values are too small because the mean was rounded; one, or one per channel."""
    centres, deviations = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    if not params.scale.ndim:
        centres, deviations = centres[0], deviations[0]
    return np.asarray((params.zero_point - centres) / deviations, np.float32)


def _add_rest(
    writer: ConversionWriter, value: ir.Value, rest: NDArray[np.float32], axis: int
) -> None:
    """Adds what the value lacks: to the biases of convolutions, or by an Add for other readers."""
    if not rest.any():
        return
    readers = list(value.uses())
    if all(_is_foldable(node) for node, _ in readers):
        for node, _ in readers:
            _add_to_bias(writer, node, rest)
        return
    shape = [1] * 4
    shape[axis] = -1
    amount = writer.initializer(f"{value.name}_rest", rest.reshape(shape if rest.ndim else ()))
    add = writer.new("Add", [value, amount], f"{value.name}_centred", shape=value.shape)
    producer = value.producer()
    assert producer is not None
    writer.graph.insert_after(producer, add)
    for node, index in readers:
        node.replace_input_with(index, add.outputs[0])


def _is_foldable(node: ir.Node) -> bool:
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    return (
        node.op_type == "Conv"
        and get_int(node, "group", 1) == 1
        and constant(node.inputs[1]) is not None
        and (not has_bias or constant(node.inputs[2]) is not None)
    )


def _add_to_bias(writer: ConversionWriter, node: ir.Node, rest: NDArray[np.float32]) -> None:
    weights = constant(node.inputs[1])
    assert weights is not None
    sums = weights.astype(np.float64).sum(axis=tuple(range(2, weights.ndim)))  # (out, channels)
    extra = (sums * np.asarray(rest, np.float64)).sum(axis=1)
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    total = np.asarray(extra if bias is None else bias + extra, np.float32)
    value = writer.initializer(f"{node.outputs[0].name}_bias", total)
    if len(node.inputs) > 2:
        node.replace_input_with(2, value)
    else:
        node.resize_inputs(3)
        node.replace_input_with(2, value)
