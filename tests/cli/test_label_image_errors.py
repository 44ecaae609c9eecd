"""What goes wrong with label-image: one line, the right exit code, no traceback."""

from pathlib import Path

import pytest

from q8tool.cli import main
from tests.graphs import model
from tests.pipelines.classifiers import SOFTMAX, colour_model, photo, saved


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "red.png")
    (tmp_path / "text.png").write_text("no photo")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "latin1.txt").write_bytes(b"gr\xfcn")
    saved(colour_model(SOFTMAX), tmp_path / "m.onnx")
    data = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    saved(model("g (float[1,5] v) => (float[1,5] y) { y = Relu(v) }"), tmp_path / "vector.onnx")
    saved(
        model("g (float[1,3,8,8] a, float[1,3,8,8] b) => (float[1,3,8,8] y) { y = Add(a, b) }"),
        tmp_path / "two.onnx",
    )
    saved(
        model("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }"),
        tmp_path / "picture.onnx",
    )
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "error", "hint"),
    [
        ("absent.png --graph m.onnx", 5, "absent.png: no such file, folder or pattern", None),
        ("*.bmp --graph m.onnx", 5, "*.bmp: no such file, folder or pattern", None),
        ("red.png absent.png --graph m.onnx", 5, "absent.png: no such file", None),
        ("empty --graph m.onnx", 5, "empty: no photo in this folder", "looked for .bmp, "),
        ("text.png --graph m.onnx", 5, "text.png: not a photo", None),
        ("red.png --graph absent.onnx", 5, "absent.onnx: no such file", None),
        ("red.png --graph empty", 5, "empty: ", None),
        ("red.png --graph text.onnx", 5, "text.onnx: ", None),
        ("red.png --graph cut.onnx", 5, "cut.onnx: ", None),
        ("red.png --graph vector.onnx", 5,
         "the model does not take one picture: its inputs are v (1, 5)", "a picture is N x 3"),
        ("red.png --graph vector.onnx --input-layer v", 5,
         "input 'v', float32 (1, 5), takes no picture", "a picture is N x 3"),
        ("red.png --graph two.onnx --input-layer b", 2, "input 'a' is missing", None),
        ("red.png --graph two.onnx", 5, "the model does not take one picture", "a picture is "),
        ("red.png --graph picture.onnx", 5,
         "picture.onnx: output 'y' (float32, 1 x 3 x 8 x 8) is not one score per class", None),
        ("red.png --graph m.onnx --labels absent.txt", 5, "absent.txt: no such file", None),
        ("red.png --graph m.onnx --labels empty", 5, "empty: labels cannot be read", None),
        ("red.png --graph m.onnx --labels latin1.txt", 5, "latin1.txt: labels must be text", None),
        ("red.png --graph m.onnx --compare absent.onnx", 5, "absent.onnx: no such file", None),
        ("red.png --graph m.onnx --compare vector.onnx", 5, "the model does not take", None),
        ("red.png --graph m.onnx --input-layer data", 2, "the model has no input 'data'",
         "its inputs: x"),
        ("red.png --graph m.onnx --output-layer prob", 2, "the model has no output 'prob'",
         "its outputs: y"),
        ("red.png --graph m.onnx --size 9", 2, "photos would become 9x9, input 'x' takes 8x8",
         "without --size"),
        ("red.png --graph m.onnx --input-height 9", 2, "photos would become 9x8", None),
        ("red.png --graph m.onnx --isa neno", 2, "instruction set 'neno' is unknown", "this CPU"),
        ("red.png --graph m.onnx --top 0", 2, "invalid value for '--top'", None),
        ("red.png --graph m.onnx --mean a", 2, "invalid value for '--mean'", None),
        ("red.png --graph m.onnx --std 0", 2, "invalid value for '--std'", None),
        ("red.png --graph m.onnx --preset imagnet", 2, "invalid value for '--preset'",
         "did you mean imagenet?"),
        ("red.png --graph m.onnx --size 8 --input-width 8", 2, "--size and --input-width", None),
        ("red.png --grahp m.onnx", 2, "no such option: --grahp", "did you mean --graph?"),
        ("red.png", 2, "missing option '--graph'", None),
        ("--graph m.onnx", 2, "missing argument 'PHOTO...'", None),
    ],
)  # fmt: skip
def test_one_line(
    words: str, code: int, error: str, hint: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label-image", *words.split()]) == code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines[0].startswith(f"error: {error}")
    if hint is not None:
        assert lines[1].startswith(f"hint: {hint}")
    assert len(lines) <= 2
    assert "Error" not in captured.err
