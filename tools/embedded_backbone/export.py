"""The trained backbone as a standard ONNX model: BatchNorm folded, weights as float16.

A Cast behind each weight makes float32 of it, so that the file is half as large and the network
runs in float32 (and is cut, quantized and retrained) like any other. The weights are trained, not
measured: eleven bits of each are more than its eight-bit version keeps.
"""

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from embedded_backbone.student import WIDTH, Backbone
from embedded_model.export import preprocess_note

__all__ = ["build_onnx"]


def build_onnx(backbone: Backbone, size: int) -> onnx.ModelProto:
    """Pictures to features (opset 13, IR 8), batch size free, preprocessing inside.

    size         input height and width

    Raises onnx.checker.ValidationError if the model is not valid.
    """
    nodes: list[onnx.NodeProto] = []
    initializers = [
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array(6, np.float32), "six"),
    ]
    x, layers = "input", list(backbone.body)
    for number in range(0, len(layers), 3):
        name = f"layer{number // 3}"
        weight, bias = _folded(layers[number], layers[number + 1])
        for part, array in (("weight", weight), ("bias", bias)):
            initializers.append(numpy_helper.from_array(array, f"{name}/{part}16"))
            nodes.append(
                _node("Cast", f"{name}/{part}", [f"{name}/{part}16"], to=TensorProto.FLOAT)
            )
        conv = layers[number]
        nodes.append(_node(
            "Conv", f"{name}/conv", [x, f"{name}/weight", f"{name}/bias"],
            group=conv.groups, kernel_shape=list(conv.kernel_size),
            pads=list(conv.padding) * 2, strides=list(conv.stride),
        ))  # fmt: skip
        x = f"{name}/relu6"
        nodes.append(_node("Clip", x, [f"{name}/conv", "zero", "six"]))
    nodes.append(_node("GlobalAveragePool", "pool", [x]))
    nodes.append(_node("Flatten", "features", ["pool"], axis=1))
    return _model(nodes, initializers, size)


def _model(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], size: int
) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "backbone",
        [value("input", TensorProto.FLOAT, ["N", 3, size, size])],
        [value("features", TensorProto.FLOAT, ["N", WIDTH])],
        initializers,
    )
    model = helper.make_model(
        graph,
        producer_name="q8tool",
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 13)],
        doc_string="General features of photos; made by tools/train_embedded_backbone.py. "
        "Apache-2.0.",
    )
    helper.set_model_props(model, {"q8tool.preprocess": preprocess_note(size)})
    onnx.checker.check_model(model, full_check=True)
    return model


def _node(op: str, name: str, inputs: list[str], **attributes: Any) -> onnx.NodeProto:
    """A node with one output, named like the node."""
    return helper.make_node(op, inputs, [name], name=name, **attributes)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Any, Any]:
    """Weight and bias, float16, of the convolution with its BatchNorm."""
    with torch.no_grad():
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = conv.weight * factor.view(-1, 1, 1, 1)
        bias = norm.bias - norm.running_mean * factor
    return weight.numpy().astype(np.float16), bias.numpy().astype(np.float16)
