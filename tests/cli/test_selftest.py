"""q8tool selftest: what it says of this machine, and what it does when a kernel is wrong."""

import json
import os
import subprocess
import sys

import pytest

from q8tool import native
from q8tool.cli import main
from q8tool.errors import NativeError


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("Q8_ISA", raising=False)


def test_help_ends_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example:\n    q8tool selftest" in text
    assert max(map(len, text.splitlines())) <= 80


def test_every_instruction_set_of_this_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = [" ".join(line.split()) for line in captured.out.splitlines()]
    assert lines[0] == f"CPU {' '.join(native.cpu_name().split())}"
    assert lines[1].startswith(f"in use {native.isa_active()}, ")
    for name in native.isa_names():
        row = next(line for line in lines if line.startswith(f"{name} "))
        says = "equal the reference" if native.isa_available(name) else "not on this CPU"
        assert says in row


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--json", "--isa", "scalar", "--seed", "7"]) == 0
    answer = json.loads(capsys.readouterr().out)
    scalar, *others = answer["instruction_sets"]
    assert (answer["seed"], answer["passed"], answer["q8_isa"]) == (7, True, None)
    assert scalar["name"] == "scalar"
    assert scalar["comparisons"] > 1000
    assert scalar["gops"] > 0
    assert scalar["mismatch"] is None
    assert all(row["comparisons"] is None for row in others)


def test_only_one_is_tested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--isa", "scalar"]) == 0
    text = capsys.readouterr().out
    assert text.count("equal the reference") == 1
    available = [name for name in native.isa_names() if native.isa_available(name)]
    assert text.count("not tested") == len(available) - 1


def test_a_mismatch_is_named_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(isa: str, seed: int) -> int:
        raise NativeError(f"selftest of {isa}, seed {seed}: gemm: element 3 is 7, not 8")

    monkeypatch.setattr(native, "selftest", broken)
    assert main(["selftest", "--isa", "scalar", "--seed", "9"]) == 1
    captured = capsys.readouterr()
    assert "wrong" in captured.out
    assert captured.err.splitlines() == [
        "error: selftest of scalar, seed 9: gemm: element 3 is 7, not 8",
        "hint: Q8_ISA=scalar is the reference; please report this with the CPU",
    ]
    assert main(["selftest", "--isa", "scalar", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert not answer["passed"]
    assert answer["instruction_sets"][0]["mismatch"].endswith("not 8")


def test_an_unknown_instruction_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--isa", "mmx"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: instruction set 'mmx' is unknown"
    assert lines[1].startswith("hint: this CPU has scalar")


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [("scalar", 0, "scalar, as Q8_ISA=scalar says"), ("mmx", 2, "environment variable Q8_ISA")],
)
def test_the_environment_variable(value: str, code: int, text: str) -> None:
    # The engine reads it once per process.
    done = subprocess.run(
        [sys.executable, "-m", "q8tool", "selftest", "--isa", "scalar"],
        capture_output=True, text=True, env={**os.environ, "Q8_ISA": value}, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert text in done.stdout + done.stderr
