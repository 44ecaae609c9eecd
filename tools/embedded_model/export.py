"""The trained student as a standard ONNX model, node by node.

BatchNormalization is left unfolded, so that `q8tool freeze` has something to fold.
"""

import json
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from embedded_model.photos import LABELS, MEAN, STD
from embedded_model.student import BLOCKS, Student

__all__ = ["build_onnx", "preprocess_note"]


def build_onnx(student: Student, size: int) -> onnx.ModelProto:
    """The student (opset 13, IR 8), batch size free, with labels and preprocessing inside.

    size         input height and width

    Raises onnx.checker.ValidationError if the model is not valid.
    """
    model = helper.make_model(
        _build_graph(student, size),
        producer_name="q8tool",
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 13)],
        doc_string="Five flower classes; made by tools/train_embedded_model.py. Apache-2.0.",
    )
    helper.set_model_props(model, _metadata(size))
    onnx.checker.check_model(model, full_check=True)
    return model


def preprocess_note(size: int) -> str:
    """How a photo becomes the input, as label-image and retrain read it."""
    preprocess = {
        "size": [size, size],
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "layout": "NCHW",
        "channels": "RGB",
        "resize": "stretch",
    }
    return json.dumps(preprocess)


def _build_graph(student: Student, size: int) -> onnx.GraphProto:
    """`input` through body, pooling and head to `probabilities`."""
    build = _Builder()
    build.constant("zero", np.float32(0))
    build.constant("six", np.float32(6))
    x = _add_body(build, "input", list(student.body))
    x = build.node("GlobalAveragePool", "features/pool", [x])
    x = build.node("Flatten", "features", [x], axis=1)
    weight = build.constant("head/weight", student.head.weight)
    bias = build.constant("head/bias", student.head.bias)
    x = build.node("Gemm", "logits", [x, weight, bias], transB=1)
    build.node("Softmax", "probabilities", [x], axis=1)
    return helper.make_graph(
        build.nodes,
        "flowers",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(LABELS)])],
        build.initializers,
    )


class _Builder:
    """Nodes and initializers in the order they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        """Add a float32 initializer and return its name."""
        if isinstance(value, torch.Tensor):
            value = value.detach().contiguous().numpy()
        array = np.ascontiguousarray(value, np.float32).reshape(np.shape(value))
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node with one output, named like the node."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name


def _add_body(build: _Builder, x: str, layers: list[nn.Module]) -> str:
    """Stem and blocks of `layers` (triples: see Student) on top of the value `x`."""
    names = ["stem"]
    for i in range(len(BLOCKS)):
        names += [f"block{i + 1}/depthwise", f"block{i + 1}/pointwise"]
    for i, name in enumerate(names):
        x = _add_conv_bn(build, name, x, layers[3 * i], layers[3 * i + 1])
    return x


def _add_conv_bn(build: _Builder, name: str, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
    """Conv, BatchNormalization and Clip(0, 6) of one trained layer."""
    x = build.node(
        "Conv", name + "/conv", [x, build.constant(name + "/weight", conv.weight)],
        dilations=[1, 1], group=conv.groups, kernel_shape=list(conv.kernel_size),
        pads=list(conv.padding) * 2, strides=list(conv.stride),
    )  # fmt: skip
    statistics = [
        build.constant(f"{name}/{what}", value)
        for what, value in (
            ("gamma", norm.weight),
            ("beta", norm.bias),
            ("mean", norm.running_mean),
            ("variance", norm.running_var),
        )
    ]
    x = build.node("BatchNormalization", name + "/norm", [x, *statistics], epsilon=norm.eps)
    return build.node("Clip", name + "/relu6", [x, "zero", "six"])


def _metadata(size: int) -> dict[str, str]:
    """Labels and preprocessing in the form label-image reads."""
    return {"q8tool.labels": json.dumps(LABELS), "q8tool.preprocess": preprocess_note(size)}
