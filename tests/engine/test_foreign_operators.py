"""Every operator that onnxruntime.quantization has a rule for, behind a quantized convolution.

Codes are equal, or one apart where onnxruntime rounds on the way (test_foreign_files.py), and where
it interpolates codes: it cuts off, where the standard's reference rounds.
"""

import itertools

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime
from tests.engine.foreign_models import static
from tests.graphs import f32, random

pytestmark = pytest.mark.usefixtures("quiet_quantizers")

X = {"x": random(1, 3, 8, 8)}
FIRST = [node("Conv", "x w b", "c", pads=[1, 1, 1, 1])]
WEIGHTS: dict[str, Array] = {
    "w": random(8, 3, 3, 3) / np.float32(5), "b": random(8), "k": random(8, 1, 1),
    "g": np.abs(random(8)) + np.float32(1), "h": random(8), "m": random(8), "v": np.abs(random(8)),
    "mask": random(8, 8) > 0, "u": random(8, 8, 3, 3) / np.float32(8),
    "d": random(8, 1, 3, 3), "t": random(8, 4, 3, 3) / np.float32(6),
    "f": random(512, 5) / np.float32(20),
    "f5": random(5), "low": f32(-1), "high": f32(0.7),
    "twice": f32([1, 1, 2, 2]), "pads": np.asarray([0, 0, 1, 1, 0, 0, 1, 2]),
    "parts": np.asarray([3, 5]), "zero": np.asarray([0]), "one": np.asarray(1),
    "three": np.asarray([3]),
    "shape": np.asarray([1, 8, 4, 16]), "few": np.asarray([3, 1, 7]), "ends": np.asarray([7, 8]),
    "starts": np.asarray([1, 0]), "axes": np.asarray([1, 2]), "steps": np.asarray([2, 1]),
    "places": np.random.default_rng(0).integers(0, 8, (1, 8, 8, 8)),
}  # fmt: skip
AROUND = [1, 1, 1, 1]
CASES = {
    "Add": [node("Add", "c k", "y")],
    "Add of two": [node("Conv", "x w", "e", pads=AROUND), node("Add", "c e", "y")],
    "ArgMax": [node("ArgMax", "c", "y", axis=1)],
    "AveragePool": [node("AveragePool", "c", "y", kernel_shape=[3, 3], pads=AROUND)],
    "BatchNormalization": [node("Relu", "c", "r"), node("BatchNormalization", "r g h m v", "y")],
    "Clip": [node("Clip", "c low high", "y")],
    "Concat": [node("Concat", "c x", "y", axis=1)],
    "Conv": [node("Conv", "c u b", "y", dilations=[2, 2])],
    "Conv of groups": [node("Conv", "c d b", "y", group=8, strides=[2, 2])],
    "ConvTranspose": [node("ConvTranspose", "c t", "y", strides=[2, 2])],
    "CumSum": [node("CumSum", "c one", "y")],
    "Flatten and Gemm": [node("Flatten", "c", "r"), node("Gemm", "r f f5", "y")],
    "Gemm, alpha": [node("Flatten", "c", "r"), node("Gemm", "r f f5", "y", alpha=0.5, beta=2.0)],
    "Gather": [node("Gather", "c few", "y", axis=1)],
    "GatherElements": [node("GatherElements", "c places", "y", axis=1)],
    "GlobalAveragePool": [node("GlobalAveragePool", "c", "y")],
    "InstanceNormalization": [node("InstanceNormalization", "c g h", "y")],
    "LayerNormalization": [node("LayerNormalization", "c g h", "y")],
    "LeakyRelu": [node("LeakyRelu", "c", "y", alpha=0.3)],
    "MatMul": [node("Flatten", "c", "r"), node("MatMul", "r f", "y")],
    "MaxPool": [node("MaxPool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], pads=AROUND)],
    "Mul": [
        node("GlobalAveragePool", "c", "e"),
        node("Sigmoid", "e", "r"),
        node("Mul", "c r", "y"),
    ],
    "Pad": [node("Pad", "c pads", "y")],
    "Pad, reflect": [node("Pad", "c pads", "y", mode="reflect")],
    "Relu": [node("Relu", "c", "y")],
    "Reshape": [node("Reshape", "c shape", "y")],
    "Resize": [node("Resize", "c - twice", "y")],
    "Resize, linear": [node("Resize", "c - twice", "y", mode="linear")],
    "Sigmoid": [node("Sigmoid", "c", "y")],
    "Slice": [node("Slice", "c starts ends axes steps", "y")],
    "Softmax": [node("Softmax", "c", "y", axis=1)],
    "Split": [node("Split", "c parts", "e r", axis=1), node("Concat", "r e", "y", axis=1)],
    "Squeeze and Unsqueeze": [node("Squeeze", "c zero", "r"), node("Unsqueeze", "r zero", "y")],
    "TopK": [node("TopK", "c three", "y which", axis=1)],
    "Transpose": [node("Transpose", "c", "y", perm=[0, 1, 3, 2])],
    "Where": [node("Conv", "x w", "e", pads=AROUND), node("Where", "mask c e", "y")],
}
ON_THE_HOST = {"GatherElements", "TopK", "Where"}


def step_of(model: onnx.ModelProto) -> float:
    """One code of the result; for those without a scale of their own, of the convolution's."""
    found = {item.name: item for item in model.graph.initializer}
    names = ["y_scale", "c_scale", "r_scale"]
    scale = next(found[name] for name in names if name in found)
    return float(numpy_helper.to_array(scale).max())


@pytest.mark.parametrize("types", ["U8U8", "U8S8", "S8S8"])
@pytest.mark.parametrize("name", CASES)
def test_same_answers(name: str, types: str) -> None:
    nodes = [*FIRST, *CASES[name]]
    used = {key: array for key, array in WEIGHTS.items() if any(key in n.input for n in nodes)}
    model = model_of(nodes, X, used, ["y"])
    switches = [("QDQ", False), ("QDQ", True), ("QOperator", True)]
    for form, forced in switches if types != "U8U8" else itertools.islice(switches, 1, None):
        options = {"ForceQuantizeNoInputCheck": forced}
        written = static(model, X, form, types, per_channel=forced, extra_options=options)
        session = Session(written, threads=1)
        (expected,) = run_onnxruntime(written, X)
        (result,) = session.run(X).values()
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(result, expected, rtol=0, atol=1.001 * step_of(written))
        else:
            np.testing.assert_array_equal(result, expected)
        on_host = {step.op for step in session.explain() if step.dtype == "host"}
        assert on_host <= ({name} & ON_THE_HOST)
