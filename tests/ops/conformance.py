"""Runs onnx's own node cases through Session: what passes, what of it runs in C, and why not."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from q8tool import Session

# Cases that cannot hold.
EXCLUDED = {
    "test_bernoulli": "random numbers",
    "test_bernoulli_double": "random numbers",
    "test_bernoulli_double_expanded": "random numbers",
    "test_bernoulli_expanded": "random numbers",
    "test_bernoulli_seed": "random numbers; no seed is the same in two programs",
    "test_bernoulli_seed_expanded": "random numbers; no seed is the same in two programs",
    "test_scan_sum": "Scan of opset 8, which onnx.reference does not have",
}


@dataclass(frozen=True)
class Outcome:
    """One case.

    operator  of its only node, "" for a function that was expanded into several
    failure   "" if it passed, or is excluded
    reasons   why steps are on the host; empty: all of it runs in C
    types     of its inputs
    """

    name: str
    operator: str
    failure: str
    reasons: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def is_native(self) -> bool:
        """True if C runs all of it."""
        return not self.reasons and not self.failure and self.name not in EXCLUDED


def outcomes() -> Iterator[Outcome]:
    """Every case of the installed onnx, run."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in collect_testcases(None):
            if case.data_sets is not None:
                yield _outcome(case)


def _outcome(case: Any) -> Outcome:
    nodes = case.model.graph.node
    operator = nodes[0].op_type if len(nodes) == 1 else ""
    kinds = [_array(value) for value in case.data_sets[0][0]]
    types = tuple(sorted({a.dtype.name for a in kinds if isinstance(a, np.ndarray)}))
    failure = ""
    reasons: tuple[str, ...] = ("excluded",)
    if case.name not in EXCLUDED:
        try:
            reasons = _host_reasons(case)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"[:300]
    return Outcome(case.name, operator, failure, reasons, types)


def _host_reasons(case: Any) -> tuple[str, ...]:
    """Of the steps that do not run in C. Raises if the case fails."""
    session = Session(case.model, threads=1)
    names = [value.name for value in case.model.graph.input]
    for inputs, expected in case.data_sets:
        results = session.run({n: _array(v) for n, v in zip(names, inputs, strict=True)})
        for result, wanted in zip(results.values(), map(_array, expected), strict=True):
            if isinstance(wanted, np.ndarray):
                _compare(result, wanted, max(case.rtol, 1e-3))
    return tuple(step.reason or "no reason" for step in session.explain() if step.dtype == "host")


def _compare(result: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], rtol: float) -> None:
    assert result.dtype == wanted.dtype
    assert result.shape == wanted.shape
    if wanted.dtype.kind in "biuO":
        assert np.array_equal(result, wanted)
        return
    wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
    np.testing.assert_allclose(result.astype(wide), wanted.astype(wide), rtol=rtol, atol=1e-5)


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
