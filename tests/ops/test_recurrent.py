"""LSTM, GRU and RNN of the host against onnxruntime, with what onnx.reference leaves out."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from q8tool.ops.recurrent import GRU, LSTM, RNN
from tests.graphs import Array, run
from tests.recurrent import BACK, BOTH, GATES, recurrent, sequences


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("options", ["", "b", "bl", "bh", "blh"])
@pytest.mark.parametrize("direction", [{}, BOTH, BACK], ids=["forward", "both", "back"])
def test_directions_lengths_and_states(op: str, options: str, direction: dict[str, Any]) -> None:
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


def on_host(model: onnx.ModelProto, x: Array) -> list[Array]:
    found: Any = ReferenceEvaluator(model, new_ops=[GRU, LSTM, RNN]).run(None, {"x": x})
    return list(found)


def check(model: onnx.ModelProto) -> None:
    wanted = run(model, x=sequences())
    for value, expected in zip(on_host(model, sequences()), wanted, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", GATES)
def test_the_batch_may_come_first(op: str) -> None:
    """onnxruntime refuses layout 1: it is layout 0 with the first two dimensions exchanged."""
    plain = on_host(recurrent(op, "b", **BOTH), sequences())
    turned = on_host(recurrent(op, "b", layout=1, **BOTH), sequences().swapaxes(0, 1).copy())
    np.testing.assert_array_equal(turned[0], plain[0].transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(turned[1], plain[1].swapaxes(0, 1))
