"""Set inference mode: what a model saved while training does only in training.

    y, m, v = BatchNormalization(x, ..., training_mode=1)    ->    y = BatchNormalization(x, ...)
    y, m, v, _, _ = BatchNormalization(x, ...)  # opset < 14 ->    y = BatchNormalization(x, ...)
    y = Dropout(x, ratio, training_mode=True)                ->    y = Dropout(x, ratio)

This changes the answers, on purpose: batch statistics give way to the trained ones, and nothing
is dropped at random any more.
"""

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import all_nodes, constant, get_int, node_label

__all__ = ["set_inference_mode"]


def set_inference_mode(model: ir.Model) -> list[Change]:
    """Switch BatchNormalization and Dropout nodes from training to inference.

    A node whose other outputs (running statistics, mask) somebody reads stays as it is.
    """
    changes = []
    for node in all_nodes(model.graph):
        if node.domain != "" or not _is_training(node) or _extra_outputs_are_used(node):
            continue
        node.resize_outputs(1)
        node.attributes.pop("training_mode", None)
        if node.op_type == "Dropout":
            node.resize_inputs(2)
        changes.append(Change("set_inference_mode", node_label(node), "switched to inference"))
    return changes


def _is_training(node: ir.Node) -> bool:
    if node.op_type == "BatchNormalization":
        return get_int(node, "training_mode", 0) != 0 or any(v.name for v in node.outputs[1:])
    if node.op_type == "Dropout" and len(node.inputs) == 3:
        switch = constant(node.inputs[2])
        return switch is not None and bool(switch.all())
    return False


def _extra_outputs_are_used(node: ir.Node) -> bool:
    return any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
