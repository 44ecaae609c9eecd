"""The dynamic form: DynamicQuantizeLinear, an integer product, and floats, fused into one step."""

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto

from q8tool import Session
from tests.build import Array, int8_weights, model_of, node, run_onnxruntime
from tests.conftest import available_isas
from tests.engine.cases import numbers


def chain(op: str, weights: dict[str, Array], tail: str, **attributes: Any) -> list[NodeProto]:
    """x -> codes -> sums -> floats; tail: "", "add" or "add relu"."""
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("Mul", "s w_scale", "scale"),
        node(op, "q w z w_zero", "sums", **attributes),
        node("Cast", "sums", "real", to=1),
        node("Mul", "real scale", "product"),
    ]
    if "add" in tail:
        nodes.append(node("Add", "product bias", "biased"))
    if "relu" in tail:
        nodes.append(node("Relu", "biased", "relu"))
    return nodes


@pytest.mark.parametrize("tail", ["", "add", "add relu"])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "matmul"])
def test_the_fused_chain_gives_the_bytes_of_its_parts(kind: str, tail: str) -> None:
    x = numbers(2, 6, 9, 8)
    shape = {"conv": (7, 6, 3, 3), "depthwise": (6, 1, 3, 3), "matmul": (8, 5)}[kind]
    codes, scale = int8_weights(numbers(*shape, low=-1, high=1), 1 if kind == "matmul" else 0)
    places = (5,) if kind == "matmul" else (1, -1, 1, 1)
    weights = {
        "w": codes,
        "w_scale": scale.reshape(places),
        "w_zero": np.asarray(0, np.int8),
        "bias": numbers(len(scale)).reshape(places),
    }
    if kind == "matmul":
        nodes = chain("MatMulInteger", weights, tail)
    else:
        groups = 6 if kind == "depthwise" else 1
        nodes = chain("ConvInteger", weights, tail, group=groups, pads=[1, 1, 0, 0])
    model = model_of(nodes, {"x": x}, weights, [nodes[-1].output[0]])
    expected = run_onnxruntime(model, {"x": x})[0]
    for isa in available_isas():
        for threads in (1, 2, 3):
            session = Session(model, threads, isa, strict=True)
            result = next(iter(session.run({"x": x}).values()))
            np.testing.assert_array_equal(result, expected)
    ops = [step.op for step in session.explain()]
    wanted = {"": "Cast+Mul", "add": "Cast+Mul+Add", "add relu": "Cast+Mul+Add+Relu"}[tail]
    assert any(op.endswith(f"Integer+{wanted}") for op in ops), ops


@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_codes_follow_from_the_sums_at_once(kind: str) -> None:
    x = numbers(2, 6, 9, 8)
    shape = {"conv": (7, 6, 3, 3), "depthwise": (6, 1, 3, 3)}[kind]
    codes, scale = int8_weights(numbers(*shape, low=-1, high=1), 0)
    weights = {
        "w": codes,
        "w_scale": scale.reshape(1, -1, 1, 1),
        "w_zero": np.asarray(0, np.int8),
        "bias": numbers(len(scale)).reshape(1, -1, 1, 1),
        "y_scale": np.asarray(0.04, np.float32),
        "y_zero": np.asarray(3, np.uint8),
    }
    groups = 6 if kind == "depthwise" else 1
    nodes = chain("ConvInteger", weights, "add relu", group=groups, pads=[1, 1, 0, 0])
    nodes.append(node("QuantizeLinear", "relu y_scale y_zero", "y"))
    model = model_of(nodes, {"x": x}, weights, ["y"])
    expected = run_onnxruntime(model, {"x": x})[0].astype(np.int32)
    results = []
    for isa in available_isas():
        for threads in (1, 2, 3):
            session = Session(model, threads, isa, strict=True)
            results.append(next(iter(session.run({"x": x}).values())))
            np.testing.assert_array_equal(results[-1], results[0])
    assert np.abs(results[0].astype(np.int32) - expected).max() <= 1
    assert len(np.unique(expected)) > 30
    assert any(step.op.endswith("+Relu+QuantizeLinear") for step in session.explain())


def test_two_products_share_one_quantization() -> None:
    x = numbers(4, 12)
    codes, scale = int8_weights(numbers(12, 5), None)
    weights = {"w": codes, "w_scale": scale, "w_zero": np.asarray(3, np.int8)}
    nodes = chain("MatMulInteger", weights, "")
    again = [
        node("MatMulInteger", "q w z", "sums2"),
        node("Cast", "sums2", "real2", to=1),
        node("Mul", "real2 scale", "product2"),
        node("Sub", "product product2", "y"),
    ]
    model = model_of([*nodes, *again], {"x": x}, weights, ["y", "sums2", "q", "z"])
    for result, wanted in zip(
        Session(model, strict=True).run({"x": x}).values(),
        run_onnxruntime(model, {"x": x}),
        strict=True,
    ):
        np.testing.assert_array_equal(result, wanted)
