"""What goes wrong for users, through the command line, for every command.

Each case ends with one line `error: ...` that names the file (and at most one `hint: ...`), the
right exit code, no output file, no leftover temporary file, nothing on stdout and no traceback.
"""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from q8tool.cli import main
from q8tool.model import io
from tests.graphs import f32, model, random, u8

USAGE, INPUT = 2, 5

CLASSIFIER = """g (float[N,3,32,32] x) => (float[N,40] y) {
    c = Conv(x, w)  r = Relu(c)  p = GlobalAveragePool(r)  f = Flatten(p)  m = MatMul(f, v)
    y = Softmax(m) }"""
CUSTOM = """<ir_version: 8, opset_import: ["": 13, "mine": 1]>
g (float[1,3,32,32] x) => (float[1,40] y) {
    q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
    p = QuantizeLinear(d, s, z)  e = DequantizeLinear(p, s, z)  y = mine.Secret(e) }"""
QUANTIZED = """g (float[1,3,32,32] x) => (float[1,3,32,32] y) {
    q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good and bad models and photos."""
    graph = model(CLASSIFIER, w=random(40, 3, 5, 5), v=random(40, 40))
    graph.graph[0].name = "stem/conv"
    io.save(graph, tmp_path / "float.onnx", force=False)
    codes = {"s": f32(0.1), "z": u8(3)}
    io.save(model(QUANTIZED, **codes), tmp_path / "quantized.onnx", force=False)
    io.save(model(CUSTOM, **codes), tmp_path / "custom.onnx", force=False)
    data = (tmp_path / "float.onnx").read_bytes()
    (tmp_path / "truncated.onnx").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.onnx").write_text("these are\nnot the weights\n" * 20)
    (tmp_path / "nothing.onnx").write_bytes(b"")
    (tmp_path / "old.onnx").write_text("keep me")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 50), (200, 10, 30)).save(tmp_path / "photos" / "a.jpg")
    (tmp_path / "no_photos").mkdir()
    (tmp_path / "no_photos" / "readme.txt").write_text("none here")
    (tmp_path / "bad_photos").mkdir()
    (tmp_path / "bad_photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    return tmp_path


def state(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def check_message(text: str, stdout: str, message: str, hint: str | None) -> None:
    lines = text.splitlines()
    assert stdout == ""
    assert "Traceback" not in text
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert len(lines) <= 2
    if hint is not None:
        assert lines[1] == f"hint: {hint}"


Fails = Callable[..., None]


@pytest.fixture
def fails(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Fails:
    """Run a command in the folder and check how it fails."""
    monkeypatch.chdir(folder)

    def run(words: Sequence[str], code: int, message: str, hint: str | None = None) -> None:
        before = state(folder)
        assert main(words) == code
        captured = capsys.readouterr()
        check_message(captured.err, captured.out, message, hint)
        assert state(folder) == before

    return run


@dataclass(frozen=True)
class Command:
    """How a command is told which model to read; writes: whether it makes a file."""

    words: tuple[str, ...]
    model_option: str
    writes: bool = True
    good_model: str = "float.onnx"

    def line(self, path: str, output: str = "out.onnx") -> list[str]:
        target = ["--output", output] if self.writes else []
        option = [self.model_option, path] if self.model_option else [path]
        return [*self.words, *option, *target]


FREEZE = Command(("freeze",), "--input")
QUANTIZE = Command(("quantize",), "--input")
STRIP = Command(("strip-conversions",), "--input", good_model="quantized.onnx")
LABEL = Command(("label-image", "photos/a.jpg"), "--graph", writes=False)
INSPECT = Command(("inspect",), "", writes=False)

READERS = [
    pytest.param(command, id=command.words[0])
    for command in (FREEZE, QUANTIZE, STRIP, LABEL, INSPECT)
]
WRITERS = READERS[:3]
RUNNERS = READERS[:4]


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.onnx", "none.onnx: no such file"),
        ("folder.onnx", "folder.onnx: is a folder, a model file is needed"),
        ("truncated.onnx", "truncated.onnx: is not an ONNX model, or is damaged or truncated"),
        ("text.onnx", "text.onnx: is a text file, not an ONNX model"),
        ("nothing.onnx", "nothing.onnx: is empty, not an ONNX model"),
        ("photos/a.jpg", "a.jpg: is not an ONNX model, or is damaged or truncated"),
    ],
)
def test_not_a_model(fails: Fails, command: Command, path: str, message: str) -> None:
    fails(command.line(path), INPUT, message)


@pytest.mark.parametrize("command", RUNNERS)
def test_an_operator_that_nobody_implements(fails: Fails, folder: Path, command: Command) -> None:
    if command is QUANTIZE:  # which refuses the conversions of the other first
        text = CUSTOM[: CUSTOM.index("    q =")] + "    y = mine.Secret(x) }"
        io.save(model(text), folder / "custom.onnx", force=True)
    fails(command.line("custom.onnx"), INPUT, "operator Secret of domain mine is not implemented")


@pytest.mark.parametrize("path", ["quantized.onnx", "custom.onnx"])
def test_quantizing_twice(fails: Fails, path: str) -> None:
    fails(QUANTIZE.line(path), INPUT, f"{path}: is quantized already")


def test_stripping_a_float_model(fails: Fails) -> None:
    fails(STRIP.line("float.onnx"), INPUT, "float.onnx: has no conversions, it is a float model")


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        ("no_photos", "no_photos: no photo in this folder"),
        ("bad_photos", "broken.jpg: "),
        ("bad_photos/broken.jpg", "broken.jpg: "),
        ("none", "none: no such file, folder or pattern"),
        ("none/*.jpg", "none/*.jpg: no such file, folder or pattern"),
    ],
)
@pytest.mark.parametrize("command", ["quantize", "label-image"])
def test_photos(fails: Fails, command: str, photos: str, message: str) -> None:
    if command == "quantize":
        fails([*QUANTIZE.line("float.onnx"), "--images", photos], INPUT, message)
    else:
        fails(["label-image", photos, "--graph", "float.onnx"], INPUT, message)


@pytest.mark.parametrize("command", READERS)
def test_a_typo_in_an_option(fails: Fails, command: Command) -> None:
    words = [*command.line(command.good_model), "--jsno"]
    fails(words, USAGE, "no such option: --jsno", "did you mean --json?")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ([*QUANTIZE.line("float.onnx"), "--exclude", "stem/cnov"], "'stem/cnov' matches no node",
         "did you mean stem/conv?"),
        ([*QUANTIZE.line("float.onnx"), "--mode", "eigthbit"], "'eigthbit' is not one of",
         "did you mean eightbit?"),
        ([*FREEZE.line("float.onnx"), "--output-names", "rr"], "no value or node named 'rr'", None),
        ([*FREEZE.line("float.onnx"), "--dim", "M=1"], "no input has a dimension named 'M'", None),
        ([*FREEZE.line("float.onnx"), "--only", "w"], "--only and --keep choose weights", None),
        ([*INSPECT.line("float.onnx"), "--tensor", "ww"], "no tensor 'ww'", None),
        ([*LABEL.line("float.onnx"), "--output-layer", "yy"], "no output 'yy'", None),
        (["frezee"], "no such command: frezee", "did you mean freeze?"),
    ],
)  # fmt: skip
def test_a_typo_in_a_name(fails: Fails, words: list[str], message: str, hint: str | None) -> None:
    fails(words, USAGE, message, hint)


@pytest.mark.parametrize("command", WRITERS)
def test_an_existing_output(fails: Fails, command: Command) -> None:
    words = command.line(command.good_model, "old.onnx")
    fails(words, USAGE, "old.onnx: exists already", "overwrite it with --force")


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("photos", "photos: is a folder, an output file is needed"),
        ("nowhere/out.onnx", "does not exist"),
        ("/proc/out.onnx", "/proc/out.onnx: cannot be written"),  # read-only for root as well
        ("/dev/full", "/dev/full: is not a regular file"),
    ],
)
def test_an_output_that_cannot_be(
    fails: Fails, command: Command, output: str, message: str
) -> None:
    fails(command.line(command.good_model, output), USAGE, message)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", WRITERS)
def test_a_read_only_folder(fails: Fails, folder: Path, command: Command) -> None:
    (folder / "photos").chmod(0o555)
    words = command.line(command.good_model, "photos/out.onnx")
    fails(words, USAGE, "photos/out.onnx: cannot be written: permission denied")


@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk(fails: Fails, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    def refuse(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    words = command.line(command.good_model)
    fails(words, USAGE, "out.onnx: cannot be written: no space left on device")


@pytest.mark.parametrize("command", WRITERS[:1])
def test_a_write_that_the_system_cuts_off(folder: Path, command: Command) -> None:
    """A limit on the size of files stops the real write in its middle, as a full disk does."""
    before = state(folder)
    done = subprocess.run(
        [sys.executable, "-m", "q8tool", *command.line(command.good_model)],
        cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )  # fmt: skip
    assert done.returncode == USAGE
    check_message(done.stderr, done.stdout, "out.onnx: cannot be written: file too large", None)
    assert state(folder) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "not a usable checkpoint"), (b"PK\x03\x04", "not a usable")],
)
@pytest.mark.parametrize("name", ["c.npz", "c.safetensors"])
def test_checkpoints(
    fails: Fails, folder: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    fails([*FREEZE.line("float.onnx"), "--checkpoint", name], INPUT, message)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([*QUANTIZE.line("float.onnx"), "--ranges", "none.json"], INPUT, "none.json: "),
        ([*QUANTIZE.line("float.onnx"), "--ranges", "text.onnx"], INPUT, "text.onnx:"),
        ([*QUANTIZE.line("float.onnx"), "--data", "none.npz"], INPUT, "none.npz: "),
        ([*QUANTIZE.line("float.onnx"), "--data", "text.onnx"], INPUT, "text.onnx: "),
        ([*LABEL.line("float.onnx"), "--labels", "none.txt"], INPUT, "none.txt: "),
        ([*LABEL.line("float.onnx"), "--isa", "abacus"], USAGE, "'abacus' is unknown"),
        (["selftest", "--isa", "abacus"], USAGE, "'abacus' is unknown"),
        (["demo", "/proc/demo"], USAGE, "/proc/demo: "),
        (["demo", "old.onnx"], USAGE, "old.onnx: "),
    ],
)
def test_other_files_and_names(fails: Fails, words: list[str], code: int, message: str) -> None:
    fails(words, code, message)


def test_one_bad_photo_does_not_stop_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = folder / "photos", folder / "bad_photos" / "broken.jpg"
    assert main(["label-image", str(good), str(bad), "--graph", str(folder / "float.onnx")]) == 0
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out
