"""q8tool explain and q8tool bench: what they say of small models."""

import json
import sys
from pathlib import Path

import onnx
import pytest

from q8tool.cli import main
from tests.build import Case, float_model, node, quantized_model
from tests.engine.cases import numbers


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """An eight-bit model with a float tail, and the float one."""
    case = Case(
        "net",
        [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "y")],
        {"x": numbers(1, 3, 12, 12)},
        {"w": numbers(8, 3, 3, 3)},
        {"w": 0},
    )
    paths = tmp_path / "q.onnx", tmp_path / "f.onnx"
    onnx.save(quantized_model(case, "uint8", float_output=True), paths[0])
    onnx.save(float_model(case), paths[1])
    return paths


def test_explain(models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(models[0]), "--threads", "1", "--isa", "scalar"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = [" ".join(line.split()) for line in captured.out.splitlines()]
    assert lines[0] == "in use scalar, 1 thread"
    assert "multiply-adds" in lines[1]
    row = next(line for line in lines if "Conv" in line and "scalar" in line)
    assert " u8 " in row
    assert "%" in row


def test_explain_as_json(models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(models[0]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # 8 x 12 x 12 results of 3 x 3 x 3 products.
    assert found["macs"] == 8 * 12 * 12 * 27
    assert found["microseconds"] == pytest.approx(sum(s["microseconds"] for s in found["steps"]))
    product = next(step for step in found["steps"] if step["macs"])
    assert 0 < product["share_of_peak"] < 1.5
    assert "Conv" in product["operators"]


def test_explain_top(models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(models[1]), "--top", "1"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if " f32 " in line]
    assert len(rows) == 1


def test_bench(models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", *map(str, models), "--against", "onnxruntime", "--rounds", "2", "--json"]
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["title"] for row in rows] == [
        f"{name}, {engine}" for name in ("q.onnx", "f.onnx") for engine in ("q8tool", "onnxruntime")
    ]
    assert rows[0]["ratio"] == 1
    for row in rows:
        assert row["milliseconds"] > 0
        assert row["load_ms"] > 0
        assert row["peak_mb"] > 10


def test_bench_as_a_table(models: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(models[0]), "--rounds", "1", "--threads", "1,2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("q.onnx, q8tool" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "missing argument"),
        (["f.onnx", "--against", "tensorrt"], "'tensorrt' is not one of onnxruntime, openvino"),
        (["f.onnx", "--threads", "0"], "not a list of numbers from 1"),
        (["f.onnx", "--batch", "2"], "its batch size is fixed"),
    ],
)
def test_what_bench_does_not_take(
    arguments: list[str], says: str, models: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(models[0].parent)
    assert main(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert says in captured.err


def test_a_contender_that_dies(
    models: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ready, and killed in its first round, as the system does when memory runs out."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho ready 0.5 10\nread line\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert main(["bench", str(models[0])]) == 5
    assert "it stopped while it ran" in capsys.readouterr().err


def test_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("bench", "explain"):
        assert main([command, str(tmp_path / "none.onnx")]) == 5
        assert "no such file" in capsys.readouterr().err
