"""q8tool calibrate and q8tool ranges as typed."""

import json
from pathlib import Path

import numpy as np
import pytest

from q8tool.cli import main
from tests.graphs import model, random
from tests.pipelines.classifiers import saved


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = "g (float[N,4] x) => (float[N,5] y) { c = MatMul(x, w) r = Relu(c) y = MatMul(r, v) }"
    graph = model(text, w=random(4, 8), v=random(8, 5))
    saved(graph, tmp_path / "m.onnx")
    np.savez(tmp_path / "a.npz", x=random(4, 4))
    np.savez(tmp_path / "b.npz", x=random(3, 4) * 2)
    return tmp_path


def calibrate(folder: Path, data: str, *words: str) -> Path:
    out = folder / f"{data}.json"
    typed = ["calibrate", "--input", folder / "m.onnx", "--data", folder / f"{data}.npz"]
    assert main([*map(str, typed), "--output", str(out), *words]) == 0
    return out


def test_calibrate_merge_show_quantize(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [calibrate(folder, name, "--calibration", "mse") for name in "ab"]
    printed = capsys.readouterr()
    assert "samples      3" in printed.out
    assert printed.err == ""
    both = folder / "both.json"
    assert main(["ranges", "merge", *map(str, parts), "--output", str(both)]) == 0
    assert "samples      7" in capsys.readouterr().out
    assert main(["ranges", "show", str(both)]) == 0
    shown = capsys.readouterr().out
    assert "zero point" in shown
    assert "edited" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert main(["ranges", "show", str(both), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["ranges"]) == ["r", "x", "y"]
    words = ["--input", str(folder / "m.onnx"), "--output", str(folder / "q.onnx")]
    assert main(["quantize", *words, "--ranges", str(both)]) == 0
    assert "a ranges file" in capsys.readouterr().out


def test_edited_ranges_are_marked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = calibrate(folder, "a")
    text = json.loads(path.read_text())
    text["ranges"]["x"] = [-9, 9]
    path.write_text(json.dumps(text))
    capsys.readouterr()
    assert main(["ranges", "show", str(path)]) == 0
    assert "edited" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["calibrate", "--input", "m.onnx", "--output", "r.json"], 2, "photos or arrays"),
        (["ranges", "mrge"], 2, "did you mean merge?"),
        (["ranges", "show", "none.json"], 5, "none.json"),
        (["ranges", "merge", "--output", "r.json"], 2, "missing argument"),
        (["calibrate", "--input", "m.onnx", "--data", "a.npz", "--output", "a.npz"], 2, "--force"),
    ],
)
def test_mistakes(
    folder: Path,
    words: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert main(words) == code
    assert message in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before
