"""Constant scale and offset per channel after a product: folded into its weights and bias.

Conv -> BatchNormalization      Conv -> Mul -> Add      MatMul -> Add
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering

__all__ = ["Affine", "batch_norm_affine", "following_affine", "scaled"]

Floats = NDArray[np.float32]


@dataclass(eq=False)
class Affine:
    """y = x * factor + offset per channel; factor None: all ones.

    nodes  those that it stands for; name the value after them
    """

    name: str
    offset: Floats
    factor: Floats | None = None
    nodes: list[Node] = field(default_factory=list)


def following_affine(
    lowering: Lowering, name: str, channels: int, axis: int, *, scales: bool
) -> Affine:
    """What follows the value `name` and is constant per channel along its ONNX axis.

    scales  False: only additions are taken
    """
    affine = Affine(name, np.zeros(channels, np.float32))
    while True:
        node = lowering.sole_consumer(affine.name)
        if node is None or not lowering.value(affine.name).is_float:
            return affine
        step = _affine_of(lowering, node, affine.name, channels, axis)
        if step is None or (step[0] is not None and not scales):
            return affine
        factor, offset = step
        if factor is not None:
            affine.factor = factor if affine.factor is None else affine.factor * factor
            affine.offset = affine.offset * factor
        affine.offset = np.asarray(affine.offset + offset, np.float32)
        affine.nodes.append(node)
        affine.name = node.outputs[0]


def batch_norm_affine(lowering: Lowering, node: Node) -> tuple[Floats, Floats] | None:
    """Factor and offset per channel of an inferring BatchNormalization with constant parameters."""
    if node.op_type != "BatchNormalization" or node.domain:
        return None
    if node.attributes.get("training_mode") or any(node.outputs[1:]):
        return None
    values = [lowering.value(name) for name in node.inputs[1:5] if name]
    if len(values) != 4 or not all(value.is_constant and value.is_float for value in values):
        return None
    if values[0].rank != 1 or len({value.shape for value in values}) != 1:
        return None
    scale, bias, mean, variance = (value.fact.array() for value in values)
    epsilon = node.attributes.get("epsilon", 1e-5)
    factor = scale / np.sqrt(variance.astype(np.float64) + epsilon)
    return factor.astype(np.float32), (bias - mean * factor).astype(np.float32)


def scaled(weights: NDArray[Any], factor: Floats | None) -> Floats:
    """Weights [OC, KH, KW, C] with each output channel times its factor."""
    weights = np.asarray(weights, np.float32)
    return weights if factor is None else weights * factor.reshape(-1, 1, 1, 1)


def _affine_of(
    lowering: Lowering, node: Node, name: str, channels: int, axis: int
) -> tuple[Floats | None, Floats] | None:
    """Factor (None: one) and offset of one node that reads `name`; None for other nodes."""
    if node.domain or node.op_type not in ("BatchNormalization", "Add", "Mul"):
        return None
    if node.op_type == "BatchNormalization":
        found = batch_norm_affine(lowering, node) if node.input(0) == name and axis == 1 else None
        return found if found is not None and found[0].size == channels else None
    other = lowering.value(node.inputs[1] if node.inputs[0] == name else node.inputs[0])
    x = lowering.value(name)
    if not other.is_constant or lowering.output(node).shape != x.shape:
        return None
    values = _per_channel(other.fact.array(), x.rank, channels, axis)
    if values is None:
        return None
    return (values, np.zeros(channels, np.float32)) if node.op_type == "Mul" else (None, values)


def _per_channel(array: NDArray[Any], rank: int, channels: int, axis: int) -> Floats | None:
    """One value per channel of a constant that broadcasts to that; None if it does not."""
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(size != 1 for d, size in enumerate(shape) if d != axis % rank):
        return None
    return np.array(np.broadcast_to(array.ravel(), (channels,)), np.float32)
