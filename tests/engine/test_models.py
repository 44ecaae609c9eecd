"""Real models: float, QDQ and dynamic, against onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from q8tool import Session
from tests.conftest import available_isas

pytestmark = pytest.mark.data
SHAPES = {
    "mobilenet_v1_0.75_224": (2, 3, 224, 224),
    "mobilenet_v2_1.0_224": (1, 3, 224, 224),
    "deeplabv3_mobilenet_v2_0.5_pascal": (1, 3, 513, 513),
    "ultraface_rfb_320": (1, 3, 240, 320),
}


def picture(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Smooth noise in -1..1: flat areas and edges, as photos have."""
    generator = np.random.default_rng(shape[-1])
    coarse = generator.uniform(-1, 1, (*shape[:2], 17, 17)).astype(np.float32)
    rows, columns = (np.arange(n) * 17 // n for n in shape[2:])
    return np.ascontiguousarray(coarse[:, :, rows][:, :, :, columns])


def onnxruntime_outputs(path: Path, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return list(onnxruntime.InferenceSession(str(path), options).run(None, feeds))


@pytest.mark.parametrize("name", SHAPES)
def test_float_models(data_dir: Path, name: str) -> None:
    path = data_dir / "models" / f"{name}.onnx"
    feeds = {"input": picture(SHAPES[name])}
    expected = onnxruntime_outputs(path, feeds)
    session = Session(path, strict=True)
    for result, wanted in zip(session.run(feeds).values(), expected, strict=True):
        assert result.shape == wanted.shape
        if wanted.dtype.kind == "i":
            # Classes: equal but where two scores are equal up to rounding.
            assert np.mean(result == wanted) > 0.9999
        else:
            largest = np.abs(wanted).max()
            np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-3 * largest)


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Two batches for onnxruntime's own quantizer."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._left = [{"input": picture(shape)}, {"input": -picture(shape)}]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


@pytest.mark.parametrize("activation", [QuantType.QUInt8, QuantType.QInt8])
@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_224", "deeplabv3_mobilenet_v2_0.5_pascal"])
def test_models_that_onnxruntime_quantized(
    data_dir: Path, tmp_path: Path, name: str, activation: QuantType
) -> None:
    shape = SHAPES.get(name, (1, 3, 224, 224))
    path = tmp_path / "qdq.onnx"
    quantize_static(
        data_dir / "models" / f"{name}.onnx",
        path,
        Pictures(shape),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=activation,
        weight_type=QuantType.QInt8,
    )
    feeds = {"input": picture(shape)}
    expected = onnxruntime_outputs(path, feeds)[0]
    results = [
        next(iter(Session(path, threads, isa, strict=True).run(feeds).values()))
        for isa in available_isas()
        for threads in (1, 3)
        # The reference kernels are slow, and each has its own test.
        if isa != "scalar" or (threads == 3 and shape[2] < 300)
    ]
    assert all(np.array_equal(result, results[0]) for result in results)
    if expected.dtype.kind == "i":
        assert np.mean(results[0] == expected) > 0.999
    else:
        # The last step of the model is DequantizeLinear of one scale.
        codes = np.unique(np.concatenate([expected.ravel(), results[0].ravel()]))
        step = np.diff(codes).min() if len(codes) > 1 else 1.0
        assert np.abs(results[0] - expected).max() <= 1.01 * step


def test_a_model_that_onnxruntime_quantized_dynamically(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "dynamic.onnx"
    quantize_dynamic(data_dir / "models" / "mobilenet_v1_0.25_224.onnx", path)
    feeds = {"input": picture((1, 3, 224, 224))}
    expected = onnxruntime_outputs(path, feeds)[0]
    session = Session(path, strict=True)
    np.testing.assert_allclose(session.run(feeds)[session.outputs[0].name], expected, atol=1e-4)
    products = [step.op for step in session.explain() if step.macs]
    assert len(products) >= sum(n.op_type == "ConvInteger" for n in onnx.load(path).graph.node)
    assert all(op.startswith("ConvInteger+Cast+Mul") for op in products)
