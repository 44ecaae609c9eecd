"""One network in every opset from 7 on, and in the oldest IR: it runs and is quantized alike."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, version_converter

from q8tool import Session
from q8tool.pipelines import freeze, quantize
from tests.build import Array, model_of, node
from tests.graphs import random

X = random(1, 3, 12, 12)


def network() -> onnx.ModelProto:
    """Of opset 7, with operators whose form has changed since: Clip, Pad, BatchNormalization."""
    nodes = [
        node("Pad", "x", "padded", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.0),
        node("Conv", "padded w1", "c1"),
        node("BatchNormalization", "c1 s b mean variance", "n1"),
        node("Clip", "n1", "r1", min=0.0, max=6.0),
        node("Conv", "r1 w2 b2", "c2", pads=[1, 1, 1, 1]),
        node("Add", "c2 r1", "sum"),
        node("LeakyRelu", "sum", "bent", alpha=0.1),
        node("MaxPool", "bent", "small", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", "small", "low", kernel_shape=[3, 3], strides=[3, 3]),
        node("Dropout", "low", "dropped", ratio=0.5),
        node("Unsqueeze", "dropped", "more", axes=[0]),
        node("Squeeze", "more", "less", axes=[0]),
        node("Flatten", "less", "flat"),
        node("Gemm", "flat w3 b3", "logits", transB=1),
        node("Softmax", "logits", "y", axis=1),
    ]
    weights = {
        "w1": random(8, 3, 3, 3) / 4, "w2": random(8, 8, 3, 3) / 8, "b2": random(8),
        "s": random(8, low=0.5), "b": random(8, seed=1), "mean": random(8, seed=2),
        "variance": random(8, low=0.5), "w3": random(5, 32) / 6, "b3": random(5),
    }  # fmt: skip
    return model_of(nodes, {"x": X}, weights, ["y"], 7)


OPSETS = range(7, onnx.defs.onnx_opset_version() + 1)
EXPECTED: Array = Session(network()).run({"x": X})["y"]


@pytest.mark.parametrize("opset", OPSETS)
def test_runs_and_is_quantized(opset: int, tmp_path: Path) -> None:
    model = version_converter.convert_version(network(), opset)
    if opset < 9:
        # IR 3 lists initializers among the inputs.
        model.ir_version = 3
        for item in model.graph.initializer:
            model.graph.input.append(
                helper.make_tensor_value_info(item.name, item.data_type, list(item.dims))
            )
    path, frozen, small = (tmp_path / f"{name}.onnx" for name in ("float", "frozen", "eight"))
    onnx.save(model, path)
    session = Session(path, strict=True)
    np.testing.assert_allclose(session.run({"x": X})["y"], EXPECTED, atol=1e-6)
    freeze.run(freeze.Options(input_path=path, output_path=frozen))
    np.testing.assert_allclose(Session(frozen).run({"x": X})["y"], EXPECTED, atol=1e-6)
    quantize.run(quantize.Options(input_path=path, output_path=small))
    written = onnx.load(small)
    onnx.checker.check_model(written, full_check=True)
    assert any(item.data_type == onnx.TensorProto.INT8 for item in written.graph.initializer)
    np.testing.assert_allclose(Session(small).run({"x": X})["y"], EXPECTED, atol=0.05)
