"""A few cases of every fuzzer, and every file that once found something.

`make fuzz` runs them by the minute. What it keeps of its findings goes to tests/fuzz/found, under
a name that says what is wrong with the file.
"""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.run import try_case, working_folder
from tests.fuzz.targets import MODEL_RUNS, TARGETS, Run
from tests.fuzz.worker import ask

FEW = 12
FILES = sorted((Path(__file__).parent / "found").glob("*.onnx"))


def _read_by(run: Run, file: Path) -> tuple[int, int]:
    return run(file, np.random.default_rng(0)), file.stat().st_size


@pytest.fixture(scope="module")
def made() -> Iterator[dict[str, bytes]]:
    """The working folder, and the seeds that damage of kept plans must not reach."""
    with working_folder():
        yield {f"plan/{name}": make() for name, make in TARGETS["plan"].seeds.items()}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damage_gets_an_answer(made: dict[str, bytes], name: str) -> None:
    for number in range(FEW):
        answer = try_case(name, number, made)
        assert not answer.finding, f"{name} case {number}: {answer.finding}\n{answer.text}"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_damaged_models_get_an_answer(made: dict[str, bytes], file: Path) -> None:
    copy = Path(shutil.copy(file, "case.onnx"))
    for number, run in enumerate(MODEL_RUNS):
        case = partial(_read_by, run, copy)
        answer = ask(case, Path("case.log"))
        assert not answer.finding, f"run {number}: {answer.finding}\n{answer.text}"
