"""Ctrl-C at random moments: a command ends in time, says one line, leaves nothing half-written."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from q8tool.cli.interrupts import INTERRUPTED, MESSAGE
from q8tool.native.interrupts import are_plans_stopped, stop_plans
from tests.pipelines.classifiers import colour_model, saved
from tests.pipelines.test_search import COSTS, Model, searched
from tests.train.photos import colour_folders

MOMENTS = 5
# What a command has; the tests' machine may be busy with other things.
SECONDS = 1.0 if os.environ.get("CI") != "true" else 3.0


def interrupted(words: list[str], after: float) -> tuple[int, float, str]:
    """Exit code, seconds from the signal to the end, stderr; Ctrl-C goes to the whole group."""
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
    start = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - start, stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["quantize", "retrain", "bench"])
def test_at_any_moment(command: str, tmp_path: Path) -> None:
    model = saved(colour_model(), tmp_path / "m.onnx")
    photos = colour_folders(tmp_path / "photos", {"red": 20, "green": 20, "blue": 20})
    out = tmp_path / "out"
    options: dict[str, list[object]] = {
        "quantize": ["--input", model, "--output", out / "o.onnx", "--images", photos, "--force"],
        "retrain": ["--image-dir", photos, "-o", out / "o.onnx", "--bottleneck-dir", out / "c"],
        "bench": [model],
    }
    out.mkdir()
    whole = [sys.executable, "-m", "q8tool", command, *map(str, options[command])]
    start = time.monotonic()
    subprocess.run(whole, check=command != "quantize", capture_output=True)
    took = time.monotonic() - start
    complete = {path.name for path in out.iterdir()}
    moments = random.Random(command)
    for _ in range(MOMENTS):
        for path in out.glob("*.*"):
            path.unlink()
        code, seconds, stderr = interrupted(whole, moments.uniform(0.2, 0.9) * took)
        assert seconds < SECONDS
        if code == INTERRUPTED:
            assert stderr.strip() == f"error: {MESSAGE}"
        assert {path.name for path in out.iterdir()} <= complete


DEAF = """
import sys, time
from pathlib import Path
from q8tool.cli import freeze
from q8tool.__main__ import main
from q8tool.model.files import temporary_beside, temporary_folder

def run(*unused, **options):
    with temporary_beside(Path("o.onnx")), temporary_folder() as folder:
        while True:
            try:
                print(folder, flush=True)
                time.sleep(60)
            except BaseException:
                pass

freeze.command.callback = run
sys.argv = ["q8tool", "freeze", "--input", "m.onnx", "--output", "o.onnx"]
sys.exit(main())
"""


# In the callback of a weak reference, as imports have them: the exception goes nowhere, and Python
# would print where it was.
WEAK = """
lock = Lock()
reference = weakref.ref(lock, lambda _: signal.raise_signal(signal.SIGINT))
del lock
time.sleep(60)
"""
# C that prints the exception and goes on with another one, as import_array of numpy does.
PRINTED = """
ctypes.pythonapi.PyRun_SimpleString(b"import signal; signal.raise_signal(signal.SIGINT)")
raise ImportError("numpy._core.multiarray failed to import")
"""
# The same while nothing was interrupted: such an exception is for the user to see.
OTHER = """
ctypes.pythonapi.PyRun_SimpleString(b"1 / 0")
raise SystemExit(3)
"""
LOST = """
import ctypes, signal, sys, time, weakref
from q8tool.cli import freeze
from q8tool.__main__ import main

class Lock:
    pass

def run(*unused, **options):
    exec(program)

program = sys.argv[1]
freeze.command.callback = run
sys.argv = ["q8tool", "freeze", "--input", "m.onnx", "--output", "o.onnx"]
sys.exit(main())
"""


def losing(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command whose work is the program."""
    words = [sys.executable, "-c", LOST, program]
    return subprocess.run(words, cwd=folder, text=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("program", [WEAK, PRINTED])
def test_an_exception_that_is_lost_is_not_shown(program: str, tmp_path: Path) -> None:
    start = time.monotonic()
    done = losing(program, tmp_path)
    assert time.monotonic() - start < 30
    assert done.returncode == INTERRUPTED
    assert done.stderr == f"error: {MESSAGE}\n"


def test_what_else_is_printed_is_shown(tmp_path: Path) -> None:
    done = losing(OTHER, tmp_path)
    assert "ZeroDivisionError" in done.stderr


def test_a_call_that_does_not_listen_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DEAF], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert process.wait(60) == INTERRUPTED
        assert time.monotonic() - start < SECONDS
        assert process.stderr.read() == f"error: {MESSAGE}\n"
    assert not folder.exists()
    assert not list(tmp_path.iterdir())


def test_a_search_that_is_content_with_less_goes_on(tmp_path: Path) -> None:
    """Its interrupt is answered: the plans that write its result must run."""
    stop_plans(True)
    try:
        found = searched(Model(COSTS, stops_after=25), tmp_path / "s")
        assert found.stopped == "interrupted"
        assert not are_plans_stopped()
    finally:
        stop_plans(False)
