"""Every node case of onnx through Session, and the page that says so."""

import onnx
import pytest

from tests.ops.conformance import EXCLUDED, Outcome, outcomes
from tests.ops.operator_page import PAGE, is_quantized, page, written_for


@pytest.fixture(scope="module")
def found() -> list[Outcome]:
    return list(outcomes())


@pytest.mark.slow
def test_every_node_case_of_onnx(found: list[Outcome]) -> None:
    failures = [f"{item.name}: {item.failure}" for item in found if item.failure]
    assert not failures, "\n".join(failures)
    assert len(found) > 1500
    # A drop would mean that a lowering declines what it used to take.
    assert sum(item.is_native for item in found) > 440
    assert sum(item.is_native for item in found if is_quantized(item.operator)) > 220


@pytest.mark.slow
def test_excluded_cases_exist(found: list[Outcome]) -> None:
    assert set(EXCLUDED) <= {item.name for item in found}


@pytest.mark.slow
def test_the_page_says_what_runs(found: list[Outcome]) -> None:
    if onnx.__version__ != written_for():
        pytest.skip(f"the page is that of onnx {written_for()}")
    assert page(found) == PAGE.read_text(encoding="utf-8"), "run `make docs`"
