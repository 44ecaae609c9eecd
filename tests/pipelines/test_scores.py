"""Scores: what comes out of Softmax stays, logits become probabilities."""

import numpy as np

from q8tool.pipelines.scores import probabilities
from tests.graphs import f32


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
