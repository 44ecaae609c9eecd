"""Fold scales: a constant factor or offset per channel goes into the weights before it.

    c = Conv(x, w, b); y = Mul(c, s)        ->        y = Conv(x, w * s, b * s)
    c = Conv(x, w, b); y = Add(c, h)        ->        y = Conv(x, w, b + h)

Also Sub and Div by a constant, and Gemm and ConvTranspose. Only where the constant has one number
in all or one per channel and does not widen the result.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import Names, all_graphs, constant, node_label
from q8tool.passes.affine import Affine, absorb, absorber, output_channels

__all__ = ["fold_scales"]

_OPS = frozenset({"Add", "Div", "Mul", "Sub"})


def fold_scales(model: ir.Model) -> list[Change]:
    """Fold Mul, Div, Add and Sub by constants into the Conv, ConvTranspose or Gemm before them."""
    changes = []
    names = Names(model.graph)
    for graph in all_graphs(model):
        for node in list(graph):
            label = node_label(node)
            target = _fold(node, names)
            if target is not None:
                changes.append(Change("fold_scales", label, f"into {node_label(target)}"))
    return changes


def _fold(node: ir.Node, names: Names) -> ir.Node | None:
    if node.domain != "" or node.op_type not in _OPS:
        return None
    for index in (0, 1):
        other = constant(node.inputs[1 - index])
        target = absorber(node, index)
        if other is None or target is None or other.dtype.kind != "f":
            continue
        affine = _affine(node, index, target, other.astype(np.float64))
        if affine is not None and absorb(target, affine, node, names):
            return target
    return None


def _affine(
    node: ir.Node, index: int, target: ir.Node, other: npt.NDArray[np.float64]
) -> Affine | None:
    channels = output_channels(target)
    weights = constant(target.inputs[1])
    if channels is None or weights is None:
        return None
    numbers = _per_channel(other, channels, weights.ndim)
    if numbers is None:
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    if node.op_type == "Mul":
        return Affine(numbers, zeros)
    if node.op_type == "Add":
        return Affine(ones, numbers)
    if node.op_type == "Sub":
        return Affine(ones, -numbers) if index == 0 else Affine(-ones, numbers)
    is_divisor = index == 0 and bool(np.all(numbers != 0))
    return Affine(1 / numbers, zeros) if is_divisor else None


def _per_channel(
    other: npt.NDArray[np.float64], channels: int, rank: int
) -> npt.NDArray[np.float64] | None:
    """One number per channel, or None if the constant varies elsewhere or has more dimensions."""
    if other.ndim > rank:
        return None
    dims = (1,) * (rank - other.ndim) + other.shape
    if any(dim != 1 for axis, dim in enumerate(dims) if axis != 1) or dims[1] not in (1, channels):
        return None
    return np.broadcast_to(other.reshape(-1), (channels,)).copy()
