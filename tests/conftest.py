"""What all tests share: the real models and photos, instruction sets, reproducible numbers."""

import inspect
import math
import os
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

# The onnxruntime that expected values come from. Python 3.10 has only older ones: 1.23 lacks
# operators and misses the formula of QLinearConv in one of ten small cases.
OLDEST_ORACLE = (1, 30)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real models and photos: Q8_DATA, or ../shared/data beside the checkout."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("Q8_DATA", root.parent / "shared" / "data"))
    if not (folder / "models").is_dir():
        text = f"no models and photos in {folder} (set Q8_DATA)"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return folder


@pytest.fixture(scope="session", autouse=True)
def plan_cache(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Plans are kept in a folder of the test run, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("Q8_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def never_slower() -> Generator[None]:
    """No outcome depends on how fast this machine is: no eight-bit model is called slower."""
    from q8tool.pipelines import timing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "CLEARLY", math.inf)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20161118)


def available_isas() -> list[str]:
    """Instruction sets that this CPU runs, worst first."""
    from q8tool import native

    return [name for name in native.isa_names() if native.isa_available(name)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that asks for `isa`, and names none, once per instruction set of this CPU."""
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "isa" in metafunc.fixturenames and "isa" not in named:
        metafunc.parametrize("isa", available_isas())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skips what fails against an onnxruntime that is too old to say what is right.

    Under CI=true nothing is skipped: there the oracle has to be new enough.
    """
    try:
        return (yield)
    except Exception:
        is_old = _compares_with_onnxruntime(item) and _oracle() < OLDEST_ORACLE
        if is_old and os.environ.get("CI") != "true":
            pytest.skip(f"onnxruntime {version('onnxruntime')} is too old to compare with")
        raise


def _oracle() -> tuple[int, ...]:
    return tuple(int(part) for part in version("onnxruntime").split(".")[:2])


def _compares_with_onnxruntime(item: pytest.Item) -> bool:
    """True for tests of modules that use it, directly or through what tests share."""
    text = inspect.getsource(item.module) if isinstance(item, pytest.Function) else ""
    return any(word in text for word in ("onnxruntime", "tests.build", "tests.graphs"))
