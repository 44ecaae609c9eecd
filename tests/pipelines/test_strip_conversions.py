"""strip-conversions from file to file: our own files, onnxruntime's, and the proof."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime.quantization as ortq
import pytest

from q8tool.errors import ExpectationError, InputError, UsageError
from q8tool.model import io
from q8tool.model.change import Change
from q8tool.model.graph import op_counts
from q8tool.pipelines import quantize, strip_conversions
from q8tool.pipelines.strip_conversions import Options, Report
from tests.graphs import f32, model, proto, random, run, u8

TEXT = """g (float[N,3,16,16] x) => (float[N,4] y) {
    a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    t = Transpose<perm=[0,1,3,2]>(m) c = Conv<pads=[1,1,1,1]>(t, v) s = Add(c, t) d = Conv(s, v)
    p = GlobalAveragePool(d) f = Flatten(p) y = Gemm(f, k) }"""
WEIGHTS: dict[str, Any] = {
    "w": random(8, 3, 3, 3), "b": random(8), "v": random(8, 8, 3, 3) * 0.2, "k": random(8, 4),
}  # fmt: skip


def stripped(path: Path, **options: Any) -> tuple[Report, Path]:
    out = path.with_name("stripped.onnx")
    report = strip_conversions.run(Options(path, out, force=True, **options))
    onnx.checker.check_model(str(out), full_check=True)
    return report, out


@pytest.fixture
def unstripped(tmp_path: Path) -> Path:
    io.save(model(TEXT, 13, **WEIGHTS), tmp_path / "float.onnx", force=False)
    np.savez(tmp_path / "d.npz", x=random(12, 3, 16, 16))
    out = tmp_path / "unstripped.onnx"
    quantize.run(
        quantize.Options(tmp_path / "float.onnx", out, data=tmp_path / "d.npz", strip=False)
    )
    return out


def test_what_quantize_wrote_op_by_op(unstripped: Path) -> None:
    report, out = stripped(unstripped)
    assert report.kept == []
    assert report.count("cancel_conversions") >= 7
    assert report.count("sink_dequantize") >= 2
    assert report.difference == 0.0
    counts = op_counts(io.load(out))
    assert report.conversions[1] == counts["QuantizeLinear"] + counts["DequantizeLinear"]
    x = random(2, 3, 16, 16)
    np.testing.assert_array_equal(run(out, x=x)[0], run(unstripped, x=x)[0])


def test_a_second_run_changes_nothing(unstripped: Path) -> None:
    _, once = stripped(unstripped)
    again = once.with_name("again.onnx")
    report = strip_conversions.run(Options(once, again))
    assert report.changes == []
    assert report.conversions[0] == report.conversions[1]
    assert again.read_bytes() == once.read_bytes()


def test_stripping_later_gives_the_answers_of_stripping_at_once(unstripped: Path) -> None:
    _, later = stripped(unstripped)
    at_once = unstripped.with_name("at_once.onnx")
    quantize.run(
        quantize.Options(
            unstripped.with_name("float.onnx"), at_once, data=unstripped.with_name("d.npz")
        )
    )
    x = random(2, 3, 16, 16)
    np.testing.assert_array_equal(run(later, x=x)[0], run(at_once, x=x)[0])
    first, second = op_counts(io.load(later)), op_counts(io.load(at_once))
    assert first["QuantizeLinear"] == second["QuantizeLinear"]


class Feeds(ortq.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.rows = iter([{"x": random(1, 3, 16, 16, seed=i)} for i in range(4)])

    def get_next(self) -> Any:
        return next(self.rows, None)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activation", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("dedicated", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_files_of_onnxruntime(
    tmp_path: Path, per_channel: bool, activation: str, dedicated: bool
) -> None:
    onnx.save(proto(TEXT, 13, **WEIGHTS), tmp_path / "float.onnx")
    ortq.quantize_static(
        tmp_path / "float.onnx", tmp_path / "ort.onnx", Feeds(),
        quant_format=ortq.QuantFormat.QDQ, per_channel=per_channel,
        activation_type=ortq.QuantType[activation], weight_type=ortq.QuantType.QInt8,
        extra_options={"DedicatedQDQPair": dedicated},
    )  # fmt: skip
    report, out = stripped(tmp_path / "ort.onnx")
    assert report.conversions[1] <= report.conversions[0]
    # Around MaxPool and Transpose both sides have one scale.
    assert report.count("cancel_conversions") >= 2
    x = random(2, 3, 16, 16)
    np.testing.assert_array_equal(run(out, x=x)[0], run(tmp_path / "ort.onnx", x=x)[0])
    again = strip_conversions.run(Options(out, tmp_path / "again.onnx"))
    assert again.changes == []


def test_kept_pairs_are_listed_with_the_reason(tmp_path: Path) -> None:
    text = """g (uint8[4] c) => (uint8[4] q) {
        r = DequantizeLinear(c, s, z) p = QuantizeLinear(r, t, z) q = Identity(p) }"""
    onnx.save(proto(text, 13, s=f32(0.1), t=f32(0.2), z=u8(3)), tmp_path / "m.onnx")
    report, _ = stripped(tmp_path / "m.onnx")
    ((pair, reason),) = report.kept
    assert "->" in pair
    assert "differ" in reason
    assert report.to_json()["kept"] == [{"pair": pair, "reason": reason}]


def test_merged_roundings_state_their_difference(tmp_path: Path) -> None:
    text = """g (float[64] x) => (float[64] y) {
        a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z)
        c = QuantizeLinear(b, t, z) y = DequantizeLinear(c, t, z) }"""
    onnx.save(proto(text, 13, s=f32(0.05), t=f32(0.04), z=u8(128)), tmp_path / "m.onnx")
    report, _ = stripped(tmp_path / "m.onnx")
    assert report.count("merge_conversions") == 1
    assert report.difference is not None
    assert 0 < report.difference <= 0.0401


def test_open_sizes(tmp_path: Path) -> None:
    text = """g (float[N,3,H,W] x) => (float[N,3,a,b] y) {
        q = QuantizeLinear(x, s, z) r = DequantizeLinear(q, s, z) p = QuantizeLinear(r, s, z)
        t = DequantizeLinear(p, s, z) y = AveragePool<kernel_shape=[5,5]>(t) }"""
    onnx.save(proto(text, 13, s=f32(0.05), z=u8(128)), tmp_path / "m.onnx")
    assert stripped(tmp_path / "m.onnx")[0].count("cancel_conversions") == 1


def test_a_float_model_is_refused(tmp_path: Path) -> None:
    onnx.save(proto(TEXT, 13, **WEIGHTS), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="no conversions"):
        stripped(tmp_path / "m.onnx")
    assert not (tmp_path / "stripped.onnx").exists()


def test_an_existing_output_stays(unstripped: Path) -> None:
    before = unstripped.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        strip_conversions.run(Options(unstripped, unstripped))
    assert unstripped.read_bytes() == before


def test_a_wrong_pass_would_be_caught(unstripped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(graph: Any) -> list[Change]:
        scale = next(v for n, v in graph.graph.initializers.items() if v.dtype.name == "FLOAT")
        scale.const_value = ir.tensor(f32(123.0), name=scale.name)
        return [Change("cancel_conversions", "x", "wrongly")]

    monkeypatch.setattr(strip_conversions, "strip", breaks)
    with pytest.raises(ExpectationError, match="differs"):
        stripped(unstripped)
    assert not unstripped.with_name("stripped.onnx").exists()
