"""Fold BatchNormalization: in inference it is one multiplication and one addition per channel.

    c = Conv(x, w, b); y = BatchNormalization(c, g, h, m, v)     ->     y = Conv(x, w', b')

    with s = g / sqrt(v + epsilon):    w' = w * s,    b' = (b - m) * s + h

Into Conv, ConvTranspose and Gemm; where the input comes from something else, or somebody else
reads it too, it becomes Mul and Add.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import (
    Names,
    all_graphs,
    constant,
    get_float,
    get_int,
    make_initializer,
    node_label,
)
from q8tool.passes.affine import Affine, absorb, absorber

__all__ = ["fold_batchnorm"]


def fold_batchnorm(model: ir.Model) -> list[Change]:
    """Remove every BatchNormalization in inference whose parameters are constants.

    Computed in float64, stored in the weights' own type. Shapes should have been inferred: a
    BatchNormalization of unknown rank that cannot be folded into its input stays.
    """
    changes = []
    names = Names(model.graph)
    for graph in all_graphs(model):
        for node in list(graph):
            affine = _affine(model, node)
            if affine is None:
                continue
            label = node_label(node)
            target = absorber(node)
            if target is not None and absorb(target, affine, node, names):
                changes.append(Change("fold_batchnorm", label, f"into {node_label(target)}"))
            elif _write_out(graph, names, node, affine):
                changes.append(Change("fold_batchnorm", label, "into Mul and Add"))
    return changes


def _affine(model: ir.Model, node: ir.Node) -> Affine | None:
    if node.domain != "" or node.op_type != "BatchNormalization" or not _in_inference(model, node):
        return None
    arrays = [constant(value) for value in node.inputs[1:5]]
    if len(arrays) < 4 or any(array is None for array in arrays):
        return None
    with np.errstate(invalid="ignore"):
        gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    if not gamma.shape == beta.shape == mean.shape == variance.shape == (gamma.size,):
        return None
    spread = variance + get_float(node, "epsilon", 1e-5)
    factor = gamma / np.sqrt(spread, where=spread > 0, out=np.full_like(spread, np.nan))
    affine = Affine(factor, beta - mean * factor)
    # Statistics that are no numbers stay in a node of their own, where everybody can see them.
    return affine if np.isfinite([affine.factor, affine.offset]).all() else None


def _in_inference(model: ir.Model, node: ir.Node) -> bool:
    if any(value.name for value in node.outputs[1:]):  # it trains
        return False
    # Before opset 7 the mode is an attribute; before 9 statistics may be per element.
    if model.opset_imports.get("", 1) < 7 and not get_int(node, "is_test", 0):
        return False
    return get_int(node, "training_mode", 0) == 0 and get_int(node, "spatial", 1) == 1


def _write_out(graph: ir.Graph, names: Names, node: ir.Node, affine: Affine) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or source.dtype is None or len(source.shape) < 2:
        return False
    shape = (-1, *[1] * (len(source.shape) - 2))
    dtype = source.dtype.numpy()
    name = node.name or result.name or "BatchNormalization"

    def weight(suffix: str, values: npt.NDArray[np.float64]) -> ir.Value:
        with np.errstate(over="ignore"):
            array = values.reshape(shape).astype(dtype)
        return make_initializer(graph, names.new(f"{name}_{suffix}"), array)

    scaled = ir.node("Mul", [source, weight("scale", affine.factor)], name=names.new(f"{name}_Mul"))
    scaled.outputs[0].name = names.new(f"{name}_scaled")
    scaled.outputs[0].shape, scaled.outputs[0].type = source.shape, source.type
    shift = weight("shift", affine.offset)
    shifted = ir.node("Add", [scaled.outputs[0], shift], name=names.new(f"{name}_Add"))
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], [scaled, shifted], [result], shifted.outputs
    )
    return True
