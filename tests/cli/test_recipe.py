"""Recipes: what is written reads back to the same model; what is wrong in one is named."""

from pathlib import Path

import numpy as np
import pytest

from q8tool.cli import main
from q8tool.model import io
from tests.graphs import model, random
from tests.pipelines.classifiers import saved

TEXT = """g (float[N,3,8,8] x) => (float[N,4] y) {
    c = Conv(x, w) r = Relu(c) d = Conv(r, v) p = GlobalAveragePool(d) f = Flatten(p)
    y = MatMul(f, k) }"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    graph = model(TEXT, 13, w=random(8, 3, 3, 3), v=random(8, 8, 3, 3), k=random(8, 4))
    for node in graph.graph:
        node.name = node.outputs[0].name
    np.savez(tmp_path / "d.npz", x=random(10, 3, 8, 8))
    return saved(graph, tmp_path / "m.onnx").parent


def quantize(folder: Path, *words: str) -> int:
    out = folder / "q.onnx"
    return main(["quantize", "--input", str(folder / "m.onnx"), "-o", str(out), *words])


def test_a_recipe_makes_the_same_model(folder: Path) -> None:
    words = [
        "--data", str(folder / "d.npz"), "--exclude", "d", "--calibration", "mse", "--per-tensor",
        "--format", "qoperator", "--max-drop", "90%", "--input-range", "x=-3,3.5",
    ]  # fmt: skip
    recipe = folder / "r.toml"
    assert quantize(folder, *words, "--dump-recipe", str(recipe)) == 0
    first = (folder / "q.onnx").read_bytes()
    text = recipe.read_text()
    assert 'exclude = ["d"]\n' in text
    assert "per-channel = false\n" in text
    assert "max-drop = 0.9\n" in text
    assert 'mode = "eightbit"  # default\n' in text
    assert "m.onnx" not in text
    again = folder / "again.toml"
    words = ["--recipe", str(recipe), "--dump-recipe", str(again), "--force"]
    assert quantize(folder, *words) == 0
    assert (folder / "q.onnx").read_bytes() == first
    assert again.read_text().replace("  # default", "") == text.replace("  # default", "")


def test_what_is_typed_wins(folder: Path) -> None:
    recipe = folder / "r.toml"
    recipe.write_text(
        'mode = "weights"\nexclude = "y"\nmean = [1, 2, 3]\nstd = 4.5\nsize = "8x8"\n'
    )
    assert quantize(folder, "--recipe", str(recipe)) == 0
    assert "ConvInteger" not in {node.op_type for node in io.load(folder / "q.onnx").graph}
    assert quantize(folder, "--recipe", str(recipe), "--mode", "eightbit", "--force") == 0
    assert "ConvInteger" in {node.op_type for node in io.load(folder / "q.onnx").graph}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exclud = ['d']", "did you mean exclude?"),
        ("force = true", "there is no option 'force'"),
        ("calibration = 'minmx'", "did you mean minmax?"),
        ("exclude = [", "is not TOML"),
        ("max-drop = 3", "is no share"),
        ("per-channel = 'maybe'", "maybe"),
        ("[input-range]\nx = [2, 1]", "is not NAME=LOW,HIGH"),
    ],
)
def test_mistakes(
    folder: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "r.toml").write_text(text)
    assert quantize(folder, "--recipe", str(folder / "r.toml")) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "q.onnx").exists()


def test_files_that_are_missing_or_exist(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize(folder, "--recipe", str(folder / "none.toml")) == 2
    assert "none.toml" in capsys.readouterr().err
    (folder / "mine.toml").write_text("# mine")
    assert quantize(folder, "--dump-recipe", str(folder / "mine.toml")) == 2
    assert (folder / "mine.toml").read_text() == "# mine"


def test_include(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize(folder, "--include", "c..r", "--include", "d", "--json") == 0
    assert '"dynamic": 2' in capsys.readouterr().out
    assert quantize(folder, "--include", "c", "--exclude", "c", "--force") == 2
    assert "nothing to quantize" in capsys.readouterr().err
    assert quantize(folder, "--include", "cc", "--force") == 2
    assert "did you mean c?" in capsys.readouterr().err


def test_opset(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wanted in (13, 17, 21):
        assert quantize(folder, "--opset", str(wanted), "--force") == 0
        assert io.load(folder / "q.onnx").opset_imports[""] == wanted
    assert quantize(folder, "--opset", "12", "--force") == 2
    assert "opset 12 cannot be written" in capsys.readouterr().err
    assert quantize(folder, "--opset", "99", "--force") == 2
