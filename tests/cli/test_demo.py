"""q8tool demo: the whole chain, twice, and folders that are not its own."""

import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from q8tool.cli import demo, main
from q8tool.engine.session import Session

MADE = {
    "README.txt", "cache", "own.float.onnx", "own.onnx", "frozen.onnx", "labels.txt",
    "loose.onnx", "nodata.onnx", "pictures", "report.json", "small.onnx", "split.csv",
    "sunflower.jpg",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "q8tool-demo"


def test_help_ends_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example:\n    q8tool demo" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_whole_chain(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert main(["demo"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    shown = [line[2:] for line in lines if line.startswith("$ ")]
    assert shown == ["cd q8tool-demo", *(f"q8tool {words}" for _, words in demo.STEPS)]
    # It ends with the labels of the drawn photo.
    rows = [line.split() for line in lines[-6:]]
    assert rows[0][:2] == ["sunflower", "(3)"]
    assert float(rows[0][2]) > 0.5
    assert Path.cwd() == folder.parent
    assert {path.name for path in folder.iterdir()} == MADE
    assert len(list((folder / "pictures").rglob("*.png"))) == 100
    assert all(len(line) <= 80 for line in lines)


def test_what_it_wrote_is_valid_and_eight_bit(folder: Path) -> None:
    sizes = {}
    for path in folder.glob("*.onnx"):
        onnx.checker.check_model(str(path), full_check=True)
        sizes[path.name] = path.stat().st_size
    assert sizes["small.onnx"] < 0.4 * sizes["frozen.onnx"]
    assert sizes["nodata.onnx"] < sizes["loose.onnx"]
    tensor = np.zeros((1, 3, 128, 128), np.float32)
    before, after = (Session(folder / name).run({"input": tensor}) for name in
                     ("own.float.onnx", "frozen.onnx"))  # fmt: skip
    np.testing.assert_allclose(after["final_result"], before["final_result"], atol=1e-5)


def test_every_drawn_picture_is_labelled_right(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("daisy", "dandelion", "rose", "sunflower", "tulip"):
        pattern = str(folder / "pictures" / kind / "*.png")
        graph = str(folder / "own.onnx")
        assert main(["label-image", pattern, "--graph", graph, "--expect", kind]) == 0
    capsys.readouterr()


def test_again_in_the_same_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "small.onnx").write_text("broken")
    (folder / "mine.txt").write_text("keep")
    assert main(["demo", str(folder)]) == 0
    assert (folder / "mine.txt").read_text() == "keep"
    onnx.checker.check_model(str(folder / "small.onnx"))
    assert f"$ cd {shlex.quote(str(folder))}" in capsys.readouterr().out


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "STEPS", ())
    (tmp_path / "small.onnx").write_text("mine")
    assert main(["demo", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path}: holds something else than a demo",
        "hint: name another folder, or --force to put the demo's files there",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]
    assert main(["demo", str(tmp_path), "--force"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.txt", "pictures", "sunflower.jpg",
    }  # fmt: skip


def test_a_file_and_a_folder_that_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/file: is no folder\n"
    assert main(["demo", str(tmp_path / "file" / "deeper")]) == 2
    assert "not a directory" in capsys.readouterr().err


def test_a_failing_command_stops_it_with_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (("one", "selftest --help"), ("two", "inspect absent.onnx"), ("three", "--help"))
    monkeypatch.setattr(demo, "STEPS", steps)
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "here"]) == 5
    captured = capsys.readouterr()
    assert captured.err.startswith("error: absent.onnx: no such file")
    assert "# three" not in captured.out
    assert Path.cwd() == tmp_path


def test_the_photo_is_none_of_those_that_ranges_were_measured_with(folder: Path) -> None:
    photo = np.asarray(Image.open(folder / "sunflower.jpg")).astype(int)
    assert photo.shape == (240, 240, 3)
    for path in (folder / "pictures" / "sunflower").glob("*.png"):
        assert np.abs(photo - np.asarray(Image.open(path))).mean() > 5
