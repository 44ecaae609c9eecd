"""LSTM, GRU and RNN against onnxruntime, with what onnx.reference leaves out."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from q8tool import Session
from tests.graphs import Array, random, run

STEPS, BATCH, INPUTS, HIDDEN = 7, 3, 5, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
BOTH = {"direction": "bidirectional"}
BACK = {"direction": "reverse"}


def recurrent(op: str, options: str = "", **attributes: Any) -> onnx.ModelProto:
    """A model of one node.

    options  of b (bias), l (lengths 7, 3, 5), h (initial states), p (peepholes)
    """
    count, wide = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[op] * HIDDEN
    states = (BATCH, count, HIDDEN) if attributes.get("layout") else (count, BATCH, HIDDEN)
    arrays: dict[str, Array] = {
        "w": random(count, wide, INPUTS),
        "r": random(count, wide, HIDDEN, seed=1),
        "b": random(count, 2 * wide, seed=2),
        "l": np.asarray([7, 3, 5], np.int32),
        "h": random(*states, seed=3),
    }
    if op == "LSTM":
        arrays |= {"c": random(*states, seed=4), "p": random(count, 3 * HIDDEN, seed=5)}
    wanted = {*"wr", *options, *("c" if "h" in options else "")}
    names = [name if name in wanted else "" for name in arrays]
    while not names[-1]:
        names.pop()
    outputs = ["y", "yh", "yc"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, ["x", *names], outputs, hidden_size=HIDDEN, **attributes)
    shape = [BATCH, STEPS, INPUTS] if attributes.get("layout") else [STEPS, BATCH, INPUTS]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, None) for y in outputs],
        [numpy_helper.from_array(arrays[name], name) for name in names if name],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def x() -> Array:
    return random(STEPS, BATCH, INPUTS, seed=9)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("options", ["", "b", "bl", "bh", "blh"])
@pytest.mark.parametrize("direction", [{}, BOTH, BACK], ids=["forward", "both", "back"])
def test_directions_lengths_and_states(op: str, options: str, direction: dict[str, str]) -> None:
    check(recurrent(op, options, **direction))


@pytest.mark.parametrize(
    ("op", "options", "attributes"),
    [
        ("LSTM", "bp", {}),
        ("LSTM", "bplh", BOTH),
        ("LSTM", "b", {"clip": 0.5}),
        ("LSTM", "b", {"input_forget": 1}),
        ("LSTM", "b", {"activations": ["HardSigmoid", "Relu", "Tanh"]}),
        ("LSTM", "b", {**BOTH, "activations": ["Sigmoid", "Softsign", "Tanh"] * 2}),
        ("GRU", "b", {"linear_before_reset": 1}),
        ("GRU", "blh", {**BOTH, "linear_before_reset": 1}),
        ("GRU", "b", {"clip": 0.5}),
        ("GRU", "b", {"activations": ["HardSigmoid", "Tanh"]}),
        ("RNN", "b", {"activations": ["Relu"]}),
        ("RNN", "b", {"activations": ["LeakyRelu"], "activation_alpha": [0.2]}),
        ("RNN", "b", {"activations": ["Elu"], "activation_alpha": [0.5]}),
        ("RNN", "b", {**BOTH, "activations": ["ScaledTanh", "Affine"],
                      "activation_alpha": [0.7, 0.3], "activation_beta": [1.2, 0.1]}),
    ],
)  # fmt: skip
def test_attributes(op: str, options: str, attributes: dict[str, Any]) -> None:
    check(recurrent(op, options, **attributes))


def check(model: onnx.ModelProto) -> None:
    found = Session(model).run({"x": x()})
    for value, wanted in zip(found.values(), run(model, x=x()), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", GATES)
def test_the_batch_may_come_first(op: str) -> None:
    """onnxruntime refuses layout 1: it is layout 0 with the first two dimensions exchanged."""
    plain = Session(recurrent(op, "b", **BOTH)).run({"x": x()})
    turned = Session(recurrent(op, "b", layout=1, **BOTH)).run({"x": x().swapaxes(0, 1).copy()})
    np.testing.assert_array_equal(turned["y"], plain["y"].transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(turned["yh"], plain["yh"].swapaxes(0, 1))
