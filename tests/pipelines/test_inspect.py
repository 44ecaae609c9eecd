"""inspect: what it reads out of files, ours and onnxruntime's, in all three forms."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    quantize_dynamic,
    quantize_static,
)

from q8tool.errors import UsageError
from q8tool.model import io, metadata
from q8tool.pipelines import inspect
from q8tool.pipelines.inspect import Options
from tests.graphs import f32, i8, model, random, u8

QDQ = """g (float[1,2] x) => (float[1,2] y) {
    q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
    w = DequantizeLinear<axis=1>(codes, ws)  y = MatMul(d, w) }"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    graph = model(QDQ, s=f32(40 / 255), z=u8(64), codes=i8([[127, 0], [-127, 2]]), ws=f32([0.5, 2]))
    metadata.set_labels(graph, ["a", "b"])
    metadata.set_preprocess(graph, {"size": [2, 1]})
    io.save(graph, tmp_path / "m.onnx", force=False)
    return tmp_path / "m.onnx"


def tensors(report: inspect.Report) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in report.to_json()["quantized"]}


def test_a_report_by_hand(path: Path) -> None:
    answer = inspect.run(Options(path)).to_json()
    assert answer["inputs"] == [{"name": "x", "dtype": "float", "shape": [1, 2]}]
    assert answer["outputs"] == [{"name": "y", "dtype": "float", "shape": [1, 2]}]
    assert answer["opsets"] == {"ai.onnx": 13}
    assert answer["operators"] == {"DequantizeLinear": 2, "MatMul": 1, "QuantizeLinear": 1}
    assert answer["labels"] == ["a", "b"]
    assert answer["preprocess"] == {"size": [2, 1]}
    assert answer["bytes"] == path.stat().st_size
    assert {"dtype": "int8", "tensors": 1, "elements": 4, "bytes": 4} in answer["weights"]


def test_ranges_by_hand(path: Path) -> None:
    # The 2016 example: -10..30 in 256 codes, nudged so that 0.0 is code 64.
    found = tensors(inspect.run(Options(path)))
    x, w = found["x"], found["codes"]
    assert (x["kind"], x["dtype"], x["zero_point"]) == ("activation", "uint8", 64)
    assert x["min"] == pytest.approx(-64 * 40 / 255)
    assert x["max"] == pytest.approx(191 * 40 / 255)
    assert (w["kind"], w["dtype"], w["axis"]) == ("weights", "int8", 1)
    assert (w["min"], w["max"]) == (-63.5, 63.5)
    assert w["scale"] == [0.5, 2]
    assert list(found) == ["x", "codes"]


def test_values_both_ways(path: Path) -> None:
    values = inspect.run(Options(path, "codes")).to_json()
    assert values["stored"]
    assert values["codes"] == [[127, 0], [-127, 2]]
    assert values["reals"] == [[63.5, 0], [-63.5, 4]]


def test_sample_codes_of_a_computed_tensor(path: Path) -> None:
    values = inspect.run(Options(path, "x")).to_json()
    assert not values["stored"]
    assert values["codes"] == [0, 32, 64, 96, 128, 159, 191, 223, 255]
    assert values["reals"][2] == 0
    assert values["reals"][-1] == pytest.approx(191 * 40 / 255)


def test_float_weights_and_special_numbers(tmp_path: Path) -> None:
    graph = model("g (float[3] x) => (float[3] y) { y = Add(x, w) }", w=f32([1, np.inf, np.nan]))
    io.save(graph, tmp_path / "m.onnx", force=False)
    values = inspect.run(Options(tmp_path / "m.onnx", "w")).to_json()
    assert values["codes"] is None
    assert values["reals"] == [1.0, "inf", "nan"]


def test_per_block_scales(tmp_path: Path) -> None:
    graph = model(
        """g (float[1,4] x) => (float[1,2] y) {
            w = DequantizeLinear<axis=0,block_size=2>(codes, s)  y = MatMul(x, w) }""",
        21, codes=i8([[1, 2], [3, 4], [5, 6], [7, 8]]), s=f32([[1, 10], [2, 20]]),
    )  # fmt: skip
    io.save(graph, tmp_path / "m.onnx", force=False)
    values = inspect.run(Options(tmp_path / "m.onnx", "codes")).to_json()
    assert values["reals"] == [[1, 20], [3, 40], [10, 120], [14, 160]]


def test_unknown_and_unstored_tensors(path: Path) -> None:
    with pytest.raises(UsageError, match="no tensor 'code'") as caught:
        inspect.run(Options(path, "code"))
    assert caught.value.hint == "did you mean codes?"
    with pytest.raises(UsageError, match="'y' is computed in float"):
        inspect.run(Options(path, "y"))


class OneSample(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.samples = iter([{"x": random(1, 3, 8, 8)}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.samples, None)


@pytest.fixture
def float_model(tmp_path: Path) -> Path:
    logging.getLogger().setLevel(logging.ERROR)
    graph = model(
        "g (float[1,3,8,8] x) => (float[1,4,6,6] y) { c = Conv(x, w, b)  y = Relu(c) }",
        w=random(4, 3, 3, 3), b=random(4),
    )  # fmt: skip
    io.save(graph, tmp_path / "float.onnx", force=False)
    return tmp_path / "float.onnx"


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
@pytest.mark.filterwarnings("ignore")
def test_what_onnxruntime_wrote(float_model: Path, tmp_path: Path, form: QuantFormat) -> None:
    out = tmp_path / "q.onnx"
    quantize_static(float_model, out, OneSample(), quant_format=form, per_channel=True)
    found = tensors(inspect.run(Options(out)))
    weights = found["w_quantized"]
    assert weights["axis"] == 0
    assert len(weights["scale"]) == 4
    assert weights["max"] <= random(4, 3, 3, 3).max() * 1.01
    assert weights["min"] >= random(4, 3, 3, 3).min() * 1.01
    assert any(item["kind"] == "activation" and item["scale"] for item in found.values())


@pytest.mark.filterwarnings("ignore")
def test_what_onnxruntime_wrote_dynamically(float_model: Path, tmp_path: Path) -> None:
    quantize_dynamic(float_model, tmp_path / "q.onnx")
    found = tensors(inspect.run(Options(tmp_path / "q.onnx")))
    assert found["x"]["kind"] == "dynamic"
    assert found["x"]["min"] is None
    assert found["w_quantized"]["max"] == pytest.approx(float(random(4, 3, 3, 3).max()), rel=0.02)
