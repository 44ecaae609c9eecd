"""Scores: what comes out of Softmax stays, logits become probabilities."""

import numpy as np
import pytest

from q8tool.pipelines.scores import gives_probabilities, probabilities
from tests.graphs import f32, i64, model, u8

HEAD = "g (float[1,3] x) => (float[1,3] y) { "


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Softmax(x)", True),
        ("y = Sigmoid(x)", True),
        ("y = HardSigmoid(x)", True),
        ("s = Softmax(x) r = Reshape(s, shape) y = Identity(r)", True),
        ("s = Softmax(x) q = QuantizeLinear(s, scale, zero) y = DequantizeLinear(q, scale, zero)",
         True),
        ("y = LogSoftmax(x)", False),
        ("s = Softmax(x) y = Neg(s)", False),
        ("s = Softmax(x) y = Add(s, x)", False),
        ("y = Identity(x)", False),
    ],
)  # fmt: skip
def test_which_outputs_are_probabilities(nodes: str, expected: bool) -> None:
    weights = {"shape": i64([1, 3]), "scale": f32(1 / 256), "zero": u8(0)}
    graph = model(f"{HEAD}{nodes} }}", **{k: v for k, v in weights.items() if k in nodes})
    assert gives_probabilities(graph, "y") is expected
    assert gives_probabilities(graph, "no such output") is False


def test_softmax_of_logits() -> None:
    row, applied = probabilities(f32([0, np.log(2), np.log(5)]))
    np.testing.assert_allclose(row, [1 / 8, 2 / 8, 5 / 8], rtol=1e-6)
    assert applied


def test_softmax_of_large_logits_does_not_overflow() -> None:
    row, _ = probabilities(f32([1e6, -1e6]))
    assert row.tolist() == [1.0, 0.0]


def test_values_that_sum_to_one_are_probabilities() -> None:
    row, applied = probabilities(f32([0.25, 0.74]))
    assert not applied
    assert row.tolist() == [0.25, f32(0.74).item()]


def test_what_the_model_calls_probabilities_need_not_sum_to_one() -> None:
    row, applied = probabilities(f32([0.5, 0.1, 0]), True)
    assert not applied
    assert row[0] == 0.5
