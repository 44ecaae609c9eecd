"""The official ONNX backend suite through q8tool.backend.

Its node cases run in tests/ops/test_conformance.py, which looks at more than the answers; its
"real" models would be downloaded.
"""

import warnings
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import helper

import q8tool.backend
from q8tool.errors import UsageError
from tests.graphs import f32, proto

with np.errstate(all="ignore"), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SUITE: dict[str, Any] = (
        onnx.backend.test.BackendTest(q8tool.backend.Q8Backend, __name__)
        .include("_cpu$")
        .test_cases
    )


def on_cpu(name: str) -> Any:
    """The suite without the cases of other devices."""
    suite = SUITE[name]
    for case in [case for case in vars(suite) if not case.endswith("_cpu")]:
        if case.startswith("test_"):
            delattr(suite, case)
    return suite


TestSimple = on_cpu("OnnxBackendSimpleModelTest")
TestPyTorchConverted = on_cpu("OnnxBackendPyTorchConvertedModelTest")
TestPyTorchOperator = on_cpu("OnnxBackendPyTorchOperatorModelTest")


def relu() -> onnx.ModelProto:
    return proto("g (float[2] x) => (float[2] y) { y = Relu(x) }")


def test_results_by_index_and_name() -> None:
    ready = q8tool.backend.prepare(relu(), threads=1)
    for inputs in ([f32([-1, 2])], f32([-1, 2]), {"x": f32([-1, 2])}):
        results: Any = ready.run(inputs)
        assert results[0].tolist() == results["y"].tolist() == [0, 2]


def test_too_many_inputs() -> None:
    with pytest.raises(UsageError, match="2 arrays for a model of 1 inputs"):
        q8tool.backend.prepare(relu()).run([f32([1, 2]), f32([1, 2])])


def test_one_node() -> None:
    node = helper.make_node("Add", ["a", "b"], ["c"])
    (result,) = q8tool.backend.run_node(node, [f32([1, 2]), f32([3, 4])])
    assert result.tolist() == [4, 6]
    old = helper.make_node("Clip", ["x"], ["y"], min=0.0, max=1.0)
    (result,) = q8tool.backend.run_node(old, f32([-1, 5]), opset_version=9)
    assert result.tolist() == [0, 1]


def test_devices() -> None:
    assert q8tool.backend.supports_device("CPU")
    assert not q8tool.backend.supports_device("CUDA")
    assert not q8tool.backend.supports_device("TPU:3")
    with pytest.raises(UsageError, match="no device CUDA"):
        q8tool.backend.prepare(relu(), "CUDA")


def test_compatibility() -> None:
    assert q8tool.backend.is_compatible(relu())
    unknown = relu()
    unknown.graph.node[0].domain = "somebody.else"
    unknown.opset_import.append(helper.make_opsetid("somebody.else", 1))
    assert not q8tool.backend.is_compatible(unknown)
    with np.errstate(all="ignore"):
        assert q8tool.backend.run_model(relu(), [f32([np.nan, 1])])[0][1] == 1
