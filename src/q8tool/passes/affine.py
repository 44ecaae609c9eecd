"""One factor and one offset per channel, absorbed by the weights of the node before.

Shared by fold_batchnorm and fold_scales; not a pass.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.model.graph import (
    Names,
    constant,
    get_float,
    get_int,
    make_initializer,
    replace_uses,
)

__all__ = ["Affine", "absorb", "absorber", "output_channels"]

_ABSORBING = frozenset({"Conv", "ConvTranspose", "Gemm"})


@dataclass(frozen=True)
class Affine:
    """y = x * factor + offset; both float64 of shape (channels,)."""

    factor: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]


def absorber(node: ir.Node, index: int = 0) -> ir.Node | None:
    """The node that makes input `index` of a node, if its constant weights can take a factor.

    That is a Conv, ConvTranspose or Gemm whose result nobody else reads.
    """
    source = node.inputs[index]
    producer = source.producer() if source is not None else None
    if source is None or producer is None or producer.graph is not node.graph:
        return None
    if producer.domain != "" or producer.op_type not in _ABSORBING:
        return None
    if source.is_graph_output() or len(source.uses()) != 1:
        return None
    return producer if output_channels(producer) is not None else None


def output_channels(node: ir.Node) -> int | None:
    """Channels that a Conv, ConvTranspose or Gemm makes; None if its weights are not constant."""
    weights = constant(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if weights is None or weights.ndim < 2 or (bias is not None and constant(bias) is None):
        return None
    if node.op_type == "Conv":
        return int(weights.shape[0])
    if node.op_type == "ConvTranspose":
        return int(weights.shape[1]) * get_int(node, "group", 1)
    return int(weights.shape[0 if get_int(node, "transB", 0) else 1])


def absorb(target: ir.Node, affine: Affine, follower: ir.Node, names: Names) -> bool:
    """Fold an affine step into the weights and bias of target; follower, which did it, goes.

    Weights that others share stay as they are for those. False, and nothing done, if the channels
    do not agree, a Gemm's bias varies by row, or the products leave the range of the type.
    """
    channels = output_channels(target)
    weights, bias = constant(target.inputs[1]), _bias(target)
    if channels is None or weights is None or bias is None:
        return False
    if affine.factor.shape != (channels,) or affine.offset.shape != (channels,):
        return False
    graph = target.graph
    assert isinstance(graph, ir.Graph)
    with np.errstate(all="ignore"):
        scaled = (weights * _along_weights(target, weights, affine.factor)).astype(weights.dtype)
        shifted = (bias * affine.factor + affine.offset).astype(weights.dtype)
    if not (np.isfinite(scaled).all() and np.isfinite(shifted).all()):
        return False
    _set_weight(graph, names, target, 1, scaled)
    _set_weight(graph, names, target, 2, shifted)
    if target.op_type == "Gemm":
        target.attributes.pop("beta", None)
    replace_uses(follower.outputs[0], target.outputs[0])
    graph.remove(follower, safe=True)
    return True


def _set_weight(
    graph: ir.Graph, names: Names, node: ir.Node, index: int, array: npt.NDArray[Any]
) -> None:
    """Give a node other weights; under the old name, unless others share them."""
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and old.is_initializer() and old.graph is graph and len(old.uses()) == 1:
        old.const_value = ir.Tensor(array, name=old.name)
        old.shape = ir.Shape(array.shape)
        return
    base = old.name if old is not None else f"{node.outputs[0].name}_bias"
    node.resize_inputs(max(len(node.inputs), index + 1))
    weight = make_initializer(graph, names.new(base or "weight"), array)
    node.replace_input_with(index, weight)


def _bias(target: ir.Node) -> npt.NDArray[np.float64] | None:
    """The bias as one number per channel, zeros if there is none, Gemm's beta applied."""
    channels = output_channels(target) or 0
    bias = constant(target.inputs[2]) if len(target.inputs) > 2 else None
    if bias is None:
        return np.zeros(channels)
    if bias.size not in (1, channels) or bias.shape[-1:] not in ((), (1,), (channels,)):
        return None
    beta = get_float(target, "beta", 1.0) if target.op_type == "Gemm" else 1.0
    return np.broadcast_to(bias.astype(np.float64).reshape(-1), (channels,)) * beta


def _along_weights(
    target: ir.Node, weights: npt.NDArray[np.float32], factor: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The factors, shaped so that they multiply the weights of their output channel."""
    if target.op_type == "Gemm":
        return factor[:, None] if get_int(target, "transB", 0) else factor
    spatial = [1] * (weights.ndim - 2)
    if target.op_type == "Conv":
        return factor.reshape(-1, 1, *spatial)
    # ConvTranspose: (C, M/group, ...); input channels of group g make output channels of group g.
    groups = get_int(target, "group", 1)
    per_group = np.repeat(factor.reshape(groups, -1), weights.shape[0] // groups, axis=0)
    return per_group.reshape(*per_group.shape, *spatial)
