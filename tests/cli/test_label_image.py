"""q8tool label-image as typed: output, 2016's flags, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from q8tool.cli import main
from q8tool.model import metadata
from tests.graphs import model
from tests.pipelines.classifiers import BLUE, LOGITS, RED, SOFTMAX, colour_model, photo, saved


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: two photos, a model that knows its labels and one that knows nothing."""
    photo(tmp_path / "red.png", RED)
    photo(tmp_path / "blue.png", BLUE)
    saved(colour_model(SOFTMAX), tmp_path / "m.onnx")
    saved(model(LOGITS), tmp_path / "bare.onnx")
    (tmp_path / "labels.txt").write_text("rouge\nvert\nbleu\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_photo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label-image", "red.png", "--graph", "m.onnx"]) == 0
    captured = capsys.readouterr()
    # e^5 / (e^5 + 2) = 0.98670, as docs and eyes expect: label (index): probability.
    assert captured.out == "red (0): 0.98670\ngreen (1): 0.00665\nblue (2): 0.00665\n"
    assert captured.err == ""


def test_one_photo_loads_only_what_it_needs() -> None:
    code = (
        "import sys; from q8tool.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'rich', 'tqdm', 'safetensors', 'q8tool.calibrate', 'q8tool.passes'};"
        "print(sorted(heavy & set(sys.modules))); sys.exit(code)"
    )
    words = ["label-image", "red.png", "--graph", "m.onnx"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_several_photos_and_top(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label-image", "*.png", "--graph", "m.onnx", "--top", "1"]) == 0
    assert capsys.readouterr().out == (
        "blue.png\n  blue (2): 0.98670\nred.png\n  red (0): 0.98670\n"
    )


def test_flags_of_2016(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([
        "label_image", "--image=red.png", "--graph=bare.onnx", "--labels=labels.txt",
        "--input_width=8", "--input_height=8", "--input_mean=0", "--input_std=51",
        "--input_layer=x", "--output_layer=y",
    ]) == 0  # fmt: skip
    captured = capsys.readouterr()
    assert captured.out == "rouge (0): 0.98670\nvert (1): 0.00665\nbleu (2): 0.00665\n"
    assert captured.err == "the model gives logits: softmax was applied\n"


def test_flags_of_the_blog(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([
        "label-image", "red.png", "--input_graph=bare.onnx", "--mean_value=0", "--std_value=51",
        "--top=1",
    ]) == 0  # fmt: skip
    assert capsys.readouterr().out == "class 0 (0): 0.98670\n"


def test_what_was_assumed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    (Path.cwd() / "short.txt").write_text("one\n")
    assert main(["label-image", "red.png", "--graph", "bare.onnx", "--labels", "short.txt"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "warning: there are 1 labels for 3 classes; they may be of another model",
        "the model gives logits: softmax was applied",
        "preprocessing assumed: mobilenet; --preset says it for good",
    ]


def test_a_broken_photo_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.png").write_text("no photo")
    assert main(["label-image", ".", "--graph", "m.onnx", "--top", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("0.98670") == 2
    assert captured.err == "skipped a.png: not a photo\n"


def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    flipped = colour_model(SOFTMAX.replace("y = Softmax<axis=1>(f)", "n = Neg(f) y = Softmax(n)"))
    saved(flipped, Path("f.onnx"))
    words = ["label-image", "red.png", "blue.png", "--graph", "m.onnx", "--compare"]
    assert main([*words, "f.onnx"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "red.png m.onnx f.onnx" in lines
    assert "red (0) 0.98670 0.00336" in lines
    assert "f.onnx puts green (1) first: 0.49832" in lines
    assert lines[-1] == "both put the same label first for 0.0% of 2 photos"
    Path("sub").mkdir()
    saved(colour_model(SOFTMAX), Path("sub/m.onnx"))
    assert main([*words, "sub/m.onnx"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "red.png m.onnx sub/m.onnx" in lines
    assert not any("puts" in line for line in lines)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label-image", "red.png", "--graph", "m.onnx", "--json"]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["photos"][0]["labels"][0]["name"] == "red"
    assert answer["preprocessing"]["from"] == "metadata"
    assert captured.err == ""


def test_an_expected_label(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label-image", "red.png", "--graph", "m.onnx", "--expect", "Red"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_missed_expectation_is_exit_code_4_after_the_answers(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    photo(Path("azure.png"), BLUE)
    assert main(["label-image", ".", "--graph", "m.onnx", "--expect", "red", *words]) == 4
    captured = capsys.readouterr()
    assert captured.out.count("0.98") == 3
    assert captured.err == (
        "error: azure.png: 'blue' comes first, expected 'red', and 1 more photo misses it\n"
    )


def test_labels_with_brackets_and_umlauts(capsys: pytest.CaptureFixture[str]) -> None:
    graph = colour_model(SOFTMAX)
    metadata.set_labels(graph, ["[bold]rötlich[/bold]", "b", "c"])
    saved(graph, Path("m.onnx"))
    words = ["label-image", "red.png", "--graph", "m.onnx", "--compare", "bare.onnx"]
    assert main([*words, "--mean", "0", "--std", "51"]) == 0
    assert "[bold]rötlich[/bold] (0)" in capsys.readouterr().out
