"""Every node test case of onnx through Session: native where C has it, else on the host."""

import warnings
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from q8tool import Session

# Cases that cannot hold, by name or by the beginning of it.
EXCLUDED = {
    "test_bernoulli": "random numbers",
    "test_range_float_type_positive_delta_expanded": "onnx.reference stacks Loop scalars as (n, 1)",
    "test_range_float16_type_positive_delta_expanded": "onnx.reference stacks Loop scalars",
    "test_range_bfloat16_type_positive_delta_expanded": "onnx.reference stacks Loop scalars",
    "test_range_int32_type_negative_delta_expanded": "onnx.reference stacks Loop scalars",
    "test_scan_sum": "onnx.reference has no Scan of opset 8",
}


def array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def check(case: Any) -> bool:
    """Raises if the case fails; returns whether all of it ran in C."""
    session = Session(case.model, threads=1)
    names = [value.name for value in case.model.graph.input]
    for inputs, expected in case.data_sets:
        results = session.run({n: array(v) for n, v in zip(names, inputs, strict=True)})
        for result, wanted in zip(results.values(), map(array, expected), strict=True):
            if not isinstance(wanted, np.ndarray):
                continue
            assert result.dtype == wanted.dtype
            assert result.shape == wanted.shape
            if wanted.dtype.kind in "biuO":
                assert np.array_equal(result, wanted)
            else:
                is_complex = wanted.dtype.kind == "c"
                wide = np.complex128 if is_complex else np.float64
                np.testing.assert_allclose(
                    result.astype(wide), wanted.astype(wide), rtol=max(case.rtol, 1e-3), atol=1e-5
                )
    return all(step.dtype != "host" for step in session.explain())


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for case in collect_testcases(None) if case.data_sets is not None]


def is_excluded(name: str) -> bool:
    return name in EXCLUDED or name.startswith("test_bernoulli")


@pytest.mark.slow
def test_every_node_case_of_onnx(cases: list[Any]) -> None:
    failures, native = [], 0
    for case in cases:
        if is_excluded(case.name):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                native += check(case)
        except Exception as error:
            failures.append(f"{case.name}: {type(error).__name__}: {error}"[:300])
    assert not failures, "\n".join(failures)
    assert len(cases) > 1500
    # A drop would mean that a lowering declines what it used to take.
    assert native > 440


def test_excluded_cases_exist(cases: list[Any]) -> None:
    names = {case.name for case in cases}
    assert set(EXCLUDED) <= names
