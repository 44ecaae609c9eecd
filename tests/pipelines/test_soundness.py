"""Who is to blame when a command fails in a way that nobody foresaw: the file, or we."""

from pathlib import Path

import onnx
import pytest

from q8tool.cli import main
from q8tool.errors import NativeError
from q8tool.pipelines import freeze
from q8tool.pipelines.soundness import fault
from tests.graphs import proto

SOUND = """
agraph (float[1, 4] x) => (float[1, 4] y) {
    y = Relu(x)
}
"""


def saved(folder: Path, text: str) -> Path:
    path = folder / "model.onnx"
    onnx.save(proto(text), path)
    return path


def test_a_sound_model_is_not_to_blame(tmp_path: Path) -> None:
    assert fault(saved(tmp_path, SOUND)) is None


def test_a_model_that_the_checker_refuses_is(tmp_path: Path) -> None:
    found = fault(saved(tmp_path, SOUND.replace("float[1, 4] y", "float[1, 5] y")))
    assert found is not None
    assert "is not valid ONNX" in found.message


def test_what_is_no_model_is_not(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(b"no photo")
    assert fault(photo) is None
    assert fault(tmp_path / "missing.onnx") is None


@pytest.mark.parametrize("error", [ZeroDivisionError("modulo"), NativeError("no such tensor")])
@pytest.mark.parametrize(("text", "code"), [(SOUND, 1), (SOUND.replace("4] y", "5] y"), 5)])
def test_a_command_blames_the_model_if_it_may(
    text: str, code: int, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(freeze, "run", fails)
    words = ["--input", str(saved(tmp_path, text)), "--output", str(tmp_path / "out.onnx")]
    assert main(["freeze", *words]) == code
    assert len([line for line in capsys.readouterr().err.splitlines() if "error: " in line]) == 1
