"""Raise opset: a newer version of the standard where the result needs it.

Per-channel DequantizeLinear exists since opset 13. The standard's own converter rewrites what
changed in between; large weights stay outside of it, so that models of any size pass, and what it
forgets (metadata, names of nodes) is put back.
"""

import onnx
import onnx_ir as ir

from q8tool.errors import UnsupportedError
from q8tool.model.change import Change
from q8tool.model.graph import all_nodes

__all__ = ["OPSET_FOR_EIGHT_BIT", "raise_opset"]

OPSET_FOR_EIGHT_BIT = 13
# The converter reads the values of small constants (axes, scales); weights are larger.
_LARGE_BYTES = 1000
# The version of the file format that came with opset 13.
_LEAST_IR_VERSION = 7
# From this version on Resize says where its pixels lie, and its default is another than before.
_COORDINATES_SINCE = 11


def raise_opset(model: ir.Model, least: int = OPSET_FOR_EIGHT_BIT) -> tuple[ir.Model, list[Change]]:
    """The model at opset `least` or newer (a new model only if it had to be converted).

    Raises UnsupportedError if an operator cannot be converted.
    """
    current = model.opset_imports.get("", least)
    if current >= least:
        return model, []
    lean = model.clone()
    lean.ir_version = max(lean.ir_version, _LEAST_IR_VERSION)
    weights = _take_large_weights(lean.graph)
    try:
        converted = ir.from_proto(onnx.version_converter.convert_version(ir.to_proto(lean), least))
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedError(
            f"the model cannot be converted from opset {current} to {least}: {reason}"
        ) from error
    _give_weights_back(converted.graph, weights)
    if current < _COORDINATES_SINCE:
        _keep_coordinates(converted.graph)
    converted.metadata_props.update(model.metadata_props)
    _restore_names(model, converted)
    change = Change("raise_opset", model.graph.name or "model", f"opset {current} -> {least}")
    return converted, [change]


def _take_large_weights(graph: ir.Graph) -> dict[str, ir.TensorProtocol]:
    """Turns large initializers into inputs; name -> what they held."""
    taken = {}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.nbytes < _LARGE_BYTES or value.is_graph_input():
            continue
        taken[name] = tensor
        value.shape = ir.Shape(tensor.shape.numpy())
        value.type = ir.TensorType(tensor.dtype)
        del graph.initializers[name]
        value.const_value = None
        graph.inputs.append(value)
    return taken


def _give_weights_back(graph: ir.Graph, weights: dict[str, ir.TensorProtocol]) -> None:
    for value in list(graph.inputs):
        if value.name in weights:
            graph.inputs.remove(value)
            value.const_value = weights[value.name]
            graph.register_initializer(value)


def _keep_coordinates(graph: ir.Graph) -> None:
    """Upsample and the first Resize put pixel i at i / scale; the converter does not say so."""
    for node in all_nodes(graph):
        if node.op_type == "Resize" and node.domain == "":
            for name, mode in (
                ("coordinate_transformation_mode", "asymmetric"),
                ("nearest_mode", "floor"),
            ):
                node.attributes[name] = ir.AttrString(name, mode)


def _restore_names(original: ir.Model, converted: ir.Model) -> None:
    """Nodes that make the value of an original node get its name: patterns go by names."""
    names = {value.name: node.name for node in all_nodes(original.graph) for value in node.outputs}
    for node in all_nodes(converted.graph):
        known = next((names[v.name] for v in node.outputs if names.get(v.name)), None)
        node.name = known or node.name
