"""The command line as a whole: help, near misses, exit codes, interruption, closed pipes."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click
import pytest

from q8tool import cli, errors
from q8tool.calibrate.observers import METHODS
from q8tool.cli import main, report
from q8tool.cli.group import LazyGroup
from q8tool.cli.quantize import command as quantize_command
from q8tool.image.spec import PRESETS, Resize
from q8tool.model import io
from q8tool.pipelines.quantize import MODES
from tests.graphs import model, random

COMMANDS = [
    "freeze", "quantize", "strip-conversions", "label-image", "inspect", "selftest", "demo",
]  # fmt: skip


def q8tool(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "q8tool", *map(str, words)]


def test_help_lists_the_commands_in_order_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)


def test_help_and_version_load_neither_onnx_nor_numpy() -> None:
    code = (
        "import sys; from q8tool.cli import main; code = main([sys.argv[1]]);"
        "heavy = {'onnx', 'onnx_ir', 'numpy', 'rich', 'PIL'};"
        "print(sorted(heavy & set(sys.modules))); sys.exit(code)"
    )  # fmt: skip
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", code, option], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example:\n    q8tool" in text
    assert max(map(len, text.splitlines())) <= 80


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("q8tool 0.")


def test_without_a_command_the_help_comes_and_the_code_is_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["frieze"], "no such command: frieze", "did you mean freeze?"),
        (["label_imag"], "no such command: label_imag", "did you mean label-image?"),
        (["xyzzy"], "no such command: xyzzy", None),
        (["freeze", "--inptu", "a"], "no such option: --inptu", "did you mean --input?"),
        (["freeze", "--input", "a"], "missing option '--output'", None),
        (["freeze", "--input"], "option '--input' requires an argument", None),
        (["freeze", "--dim", "N"], "invalid value for '--dim': 'N' is not NAME=NUMBER", None),
        (["freeze", "--dim", "N=0"], "invalid value for '--dim': 'N=0' is not NAME=NUMBER", None),
        (["freeze", "--output-names", "a,,b"], "invalid value for '--output-names'", None),
        (
            ["quantize", "--mode", "eigthbit"],
            "invalid value for '--mode': 'eigthbit' is not one of eightbit, weights",
            "did you mean eightbit?",
        ),
        (["inspect"], "missing argument 'MODEL'", None),
    ],
)  # fmt: skip
def test_usage_errors_name_the_nearest(
    words: list[str], error: str, hint: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines[0].startswith(f"error: {error}")
    assert lines[1:] == ([f"hint: {hint}"] if hint else [])


def raising(monkeypatch: pytest.MonkeyPatch, problem: BaseException) -> None:
    def run(words: list[str]) -> int:
        raise problem

    monkeypatch.setattr(cli, "_run", run)


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (errors.Q8Error("m", "h"), 1),
        (errors.NativeError("m", "h"), 1),
        (errors.UsageError("m", "h"), 2),
        (errors.SlowerError("m", "h"), 3),
        (errors.ExpectationError("m", "h"), 4),
        (errors.InputError("m", "h"), 5),
        (errors.UnsupportedError("m", "h"), 5),
    ],
)
def test_exit_codes(
    problem: errors.Q8Error, code: int,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    raising(monkeypatch, problem)
    assert main(["freeze"]) == code
    assert capsys.readouterr().err == "error: m\nhint: h\n"


def test_a_bug_is_one_line_and_a_traceback_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, ZeroDivisionError("of\nall things"))
    assert main(["freeze"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: ZeroDivisionError: of all things",
        "hint: this is a bug; --debug shows where",
    ]
    assert main(["freeze", "--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "problem", [MemoryError(), ImportError("_philox.so: failed to map segment from shared object")]
)
def test_out_of_memory(
    problem: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, problem)
    assert main(["freeze"]) == 5
    assert capsys.readouterr().err == "error: not enough memory\n"


def test_a_file_that_the_system_refuses_is_no_bug(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of intermediate models that cannot be one is met after the training only."""
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(OSError, match="Not a directory") as caught:
        (path / "below").mkdir()
    assert report.failure(caught.value) == 2
    assert capsys.readouterr().err == f"error: {path / 'below'}: not a directory\n"


def test_ctrl_c_while_working(tmp_path: Path) -> None:
    pipe, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    os.mkfifo(pipe)
    # Opening the pipe waits until the command has begun to read its model.
    with (
        subprocess.Popen(
            q8tool("freeze", "--input", pipe, "--output", out),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process,
        pipe.open("wb"),
    ):  # fmt: skip
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.strip() == "error: interrupted; nothing half-written remains"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_ctrl_c_inside_the_engine(tmp_path: Path) -> None:
    """A single run of many seconds, in one C call, ends within one."""
    product = " ".join(f"x{i + 1} = MatMul(x{i}, w)" for i in range(400))
    io.save(
        model(
            f"g (float[1500,600] x0) => (float[1500,600] x400) {{ {product} }}",
            w=random(600, 600) / 25,
        ),
        tmp_path / "m.onnx", force=False,
    )  # fmt: skip
    code = """
import os, signal, sys, threading, time
from q8tool.cli import main, report
from q8tool.native import Plan

def interrupt():
    print(time.time(), flush=True)
    os.kill(os.getpid(), signal.SIGINT)

def run(*arguments, of=Plan.run):
    threading.Timer(0.5, interrupt).start()
    return of(*arguments)

Plan.run = run
sys.exit(main(["explain", sys.argv[1], "--threads", "1", "--isa", "scalar"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "m.onnx"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    # One of 400 products of scalar code is far below a second; the whole takes minutes.
    assert time.time() - float(done.stdout) < 5


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    io.save(
        model("g (float[300,300] x) => (float[300,300] y) { y = Add(x, w) }", w=random(300, 300)),
        tmp_path / "m.onnx", force=False,
    )  # fmt: skip
    with subprocess.Popen(
        q8tool("inspect", tmp_path / "m.onnx", "--json", "--tensor", "w"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_choices_of_options_are_those_of_the_pipelines() -> None:
    """The commands spell them out, because help must not wait for the pipelines."""
    options = {param.name: param for param in quantize_command.params}
    for name, known in (
        ("mode", MODES),
        ("calibration", METHODS),
        ("preset", PRESETS),
        ("resize", get_args(Resize)),
    ):
        choice = options[name].type
        assert isinstance(choice, click.Choice)
        assert set(choice.choices) == set(known)


ENCODINGS = ["ascii", "latin-1", "utf-8"]


@pytest.fixture
def odd_name(tmp_path: Path) -> Path:
    """A model in a file whose name few encodings have, and UTF-8 not either."""
    path = tmp_path / os.fsdecode("blümchen 花 ".encode() + b"\xff.onnx")
    text = "g (float[2,3] x) => (float[2,4] y) { y = MatMul(x, w) }"
    io.save(model(text, w=random(3, 4)), path, force=False)
    return path


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_text_on_any_terminal(odd_name: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for words in (("inspect", odd_name), ("freeze", "--input", odd_name, "--output", odd_name)):
        done = subprocess.run(q8tool(*words), capture_output=True, env=environment, check=False)
        assert done.returncode == (0 if words[0] == "inspect" else 2)
        assert b"bug" not in done.stderr
    text = subprocess.check_output(q8tool("inspect", odd_name, "--json"), env=environment)
    assert json.loads(text.decode(encoding))["path"] == str(odd_name)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(odd_name: Path, closed: str) -> None:
    for words, code in ((["inspect", odd_name], 0), (["inspect", "none"], 5), (["--help"], 0)):
        line = f"{shlex.join(q8tool(*words))} {closed}"
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False)
        assert done.returncode == code
        assert b"Traceback" not in done.stderr
        assert b"bug" not in done.stderr
        assert b"error:" not in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
@pytest.mark.parametrize("words", [["--version"], ["selftest", "--help"]])
def test_a_full_disk_behind_stdout(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(q8tool(*words), stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr == b"error: stdout cannot be written: no space left on device\n"


def test_commands_are_imported_only_when_called_for() -> None:
    group = LazyGroup(modules={"ghost": "no.such.module"})
    assert group.get_command(None, "other") is None  # type: ignore[arg-type]
    call: Callable[..., object] = group.get_command
    with pytest.raises(ModuleNotFoundError):
        call(None, "ghost")
