"""q8tool quantize and q8tool strip-conversions as typed: reports, exit codes, nothing left over."""

import json
from pathlib import Path

import numpy as np
import pytest

from q8tool.calibrate.ranges import RangesFile
from q8tool.cli import main
from q8tool.model import io
from q8tool.model.graph import is_quantized, op_counts
from tests.graphs import model, random

TEXT = """g (float[N,3,8,8] x) => (float[N,4] y) {
    c = Conv(x, w) r = Relu(c) d = Conv(r, v) p = GlobalAveragePool(d) f = Flatten(p)
    y = Gemm(f, k) }"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    graph = model(
        TEXT, 13, w=random(16, 3, 3, 3), v=random(16, 16, 3, 3) * 0.1, k=random(16, 4)
    )  # fmt: skip
    for node, name in zip(graph.graph, ["first", None, "second", None, None, "head"], strict=True):
        node.name = name
    io.save(graph, tmp_path / "m.onnx", force=False)
    np.savez(tmp_path / "d.npz", x=random(10, 3, 8, 8))
    return tmp_path / "m.onnx"


def typed(command: str, path: Path, *words: object) -> tuple[int, Path]:
    out = path.with_name("out.onnx")
    return main([command, "--input", str(path), "--output", str(out), *map(str, words)]), out


def quantized(path: Path, *words: object) -> Path:
    code, out = typed("quantize", path, *words)
    assert code == 0
    return out


def facts(text: str) -> dict[str, str]:
    """Name -> value of the lines of a report."""
    pairs = [line.split("  ", 1) for line in text.splitlines() if "  " in line]
    return {name.strip(): value.strip() for name, value in pairs}


def failed(path: Path, capsys: pytest.CaptureFixture[str], command: str, *words: object) -> str:
    """Runs what must fail without writing; its exit code and message."""
    out = path.with_name("out.onnx")
    before = out.read_bytes() if out.exists() else None
    files = sorted(path.parent.iterdir())
    code, _ = typed(command, path, *words)
    captured = capsys.readouterr()
    assert (out.read_bytes() if out.exists() else None) == before
    assert sorted(path.parent.iterdir()) == files
    lines = captured.err.splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert len(lines) <= 2
    return f"{code} {captured.err}"


def test_report_with_data(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = quantized(path, "--data", path.with_name("d.npz"))
    captured = capsys.readouterr()
    assert captured.err == ""
    found = facts(captured.out)
    assert found["mode"] == "eightbit"
    assert found["operators"] == "5 eight-bit, 0 with run-time range"
    assert found["ranges"] == "8 samples, weighted-mse"
    assert found["same label as float"].endswith("of 2 held-back samples")
    assert " dB on 2 held-back samples" in found["signal to noise"]
    assert found["written"] == str(out)
    assert "preprocessing" not in found
    assert all(len(line) <= 80 for line in captured.out.splitlines() if str(out.parent) not in line)


def test_samples_that_were_calibrated_with_are_not_called_held_back(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(path.with_name("few.npz"), x=random(4, 3, 8, 8))
    quantized(path, "--data", path.with_name("few.npz"))
    found = facts(capsys.readouterr().out)
    assert found["ranges"] == "4 samples, weighted-mse"
    assert found["signal to noise"].endswith(" dB on 4 samples, none held back")


def test_report_without_data(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized(path)
    found = facts(capsys.readouterr().out)
    assert found["operators"] == "0 eight-bit, 2 with run-time range"
    assert found["ranges"] == "operators only, the rest at run time"
    assert "same label as float" not in found
    assert "random inputs" in found["signal to noise"]


def test_report_of_an_old_opset_and_of_what_stays_float(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "g (float[2,9] x, float[9,9] m) => (float[2,9] y) { a = MatMul(x, w) y = MatMul(a, m) }"
    io.save(model(text, 11, w=random(9, 9)), tmp_path / "m.onnx", force=False)
    quantized(tmp_path / "m.onnx")
    out = capsys.readouterr().out
    assert facts(out)["opset"] == "11 -> 13"
    assert "MatMul 'MatMul_y'" in out
    assert "the range of its input is not known before run time" in out


def test_classes_are_compared_by_equality(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "g (float[50,9] x) => (int64[50] y) { a = MatMul(x, w) y = ArgMax<axis=1,keepdims=0>(a) }"
    )
    io.save(model(text, 13, w=random(9, 5)), tmp_path / "m.onnx", force=False)
    quantized(tmp_path / "m.onnx", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert answer["comparison"]["sqnr_db"] is None
    assert 0.9 < answer["comparison"]["equal_values"] <= 1
    quantized(tmp_path / "m.onnx", "--force")
    found = facts(capsys.readouterr().out)
    assert "signal to noise" not in found
    assert found["equal values"].endswith("on 2 random inputs")


def test_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized(path, "--data", path.with_name("d.npz"), "--json")
    answer = json.loads(capsys.readouterr().out)
    assert answer["static"] == 5
    assert answer["kept_float"] == []
    assert answer["bytes"]["after"] == path.with_name("out.onnx").stat().st_size
    assert set(answer["milliseconds"]) == {"float", "eight_bit"}


@pytest.mark.parametrize(
    ("words", "operator"),
    [
        (["--mode", "weights"], "DequantizeLinear"),
        (["--format", "qoperator", "--data", "d.npz"], "QLinearConv"),
        (["--mode", "simulate"], "DynamicQuantizeLinear"),
        (["--mode", "weights-rounded"], "Conv"),
        (["--calibration", "mse", "--data", "d.npz"], "QuantizeLinear"),
        (["--per-tensor"], "ConvInteger"),
        (["--input-range", "x=-4,4"], "QuantizeLinear"),
    ],
)
def test_flags(path: Path, words: list[str], operator: str) -> None:
    words = [str(path.with_name(word)) if word == "d.npz" else word for word in words]
    counts = op_counts(io.load(quantized(path, *words)))
    assert counts[operator] >= 1


def test_weights_rounded_says_what_zipping_brings(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantized(path, "--mode", "weights-rounded")
    assert facts(capsys.readouterr().out)["weights zipped"].endswith("% of their size")


def test_exclude(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = quantized(
        path, "--data", path.with_name("d.npz"), "--exclude", "sec*", "--exclude=op:Gemm"
    )
    assert "Conv 'second' and 1 more   excluded" in capsys.readouterr().out
    kept = [node.op_type for node in io.load(out).graph if node.name in ("second", "head")]
    assert sorted(kept) == ["Conv", "Gemm"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--exclude", "secondd"], 2, "hint: did you mean second?"),
        (["--exclude", "op:Convv"], 2, "hint: did you mean op:Conv?"),
        (["--exclude", "re:["], 2, "regular expression"),
        (["--mode", "eigthbit"], 2, "did you mean eightbit?"),
        (["--mode", "weigths"], 2, "did you mean weights?"),
        (["--calibration", "minmx"], 2, "did you mean minmax?"),
        (["--format", "qdqq"], 2, "did you mean qdq?"),
        (["--imags", "."], 2, "did you mean --images?"),
        (["--input-range", "x"], 2, "is not NAME=LOW,HIGH"),
        (["--input-range", "x=2,1"], 2, "is not NAME=LOW,HIGH"),
        (["--input-range", "x=nan,1"], 2, "is not NAME=LOW,HIGH"),
        (["--input-range", "x=0,inf"], 2, "is not NAME=LOW,HIGH"),
        (["--input-range", "z=0,1"], 2, "no input 'z'"),
        (["--images", "nowhere"], 5, "nowhere"),
        (["--data", "nowhere.npz"], 5, "nowhere.npz"),
        (["--ranges", "nowhere.json"], 5, "nowhere.json"),
        (["--data", "a.npz", "--images", "b.jpg"], 2, "exclude each other"),
        (["--threads", "0"], 2, "threads"),
        (["--preset", "imagnet"], 2, "did you mean imagenet?"),
    ],
)
def test_mistakes(
    path: Path, words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = failed(path, capsys, "quantize", *words)
    assert answer.startswith(f"{code} ")
    assert message in answer


def test_damaged_ranges_are_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = path.with_name("r.json")
    file.write_text('{"format": "q8tool.ranges", "version": 1, "ranges": {"r": [1]}}')
    answer = failed(path, capsys, "quantize", "--ranges", file)
    assert answer.startswith("5 error: ")
    assert "r.json: tensor 'r'" in answer
    file.write_text(RangesFile({"r": (0.0, 3.0), "reluu": (0.0, 1.0)}).text())
    assert "no tensor 'reluu'" in failed(path, capsys, "quantize", "--ranges", file)


def test_existing_output_needs_force(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = quantized(path)
    first = out.read_bytes()
    capsys.readouterr()
    answer = failed(path, capsys, "quantize")
    assert answer.startswith("2 error: ")
    assert "--force" in answer
    assert quantized(path, "--force").read_bytes() == first


def test_twice_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = quantized(path)
    again = out.rename(path.with_name("eight.onnx"))
    capsys.readouterr()
    answer = failed(again, capsys, "quantize")
    assert answer.startswith("5 error: ")
    assert "quantized already" in answer


def test_strip_conversions(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unstripped = quantized(path, "--data", path.with_name("d.npz"), "--no-strip")
    unstripped = unstripped.rename(path.with_name("unstripped.onnx"))
    capsys.readouterr()
    code, out = typed("strip-conversions", unstripped)
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    found = facts(captured.out)
    assert found["pairs removed"].endswith("equal for all codes")
    assert int(found["pairs removed"].split(",")[0]) >= 3
    assert found["difference"].startswith("0 ")
    assert is_quantized(io.load(out))
    again = out.rename(path.with_name("once.onnx"))
    assert typed("strip-conversions", again, "--json")[0] == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["removed"] == answer["merged"] == answer["moved"] == answer["shared"] == 0
    assert out.read_bytes() == again.read_bytes()


def test_strip_conversions_of_a_float_model(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = failed(path, capsys, "strip-conversions")
    assert answer.startswith("5 error: ")
    assert "hint: q8tool quantize" in answer
