"""Scores, against tables and small cases worked by hand."""

import numpy as np
import pytest

from q8tool.train.scores import confidence_interval, doubtful_labels, score_answers


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
     (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_wilsons_interval(right: int, count: int, low: float, high: float) -> None:
    assert confidence_interval(right, count) == pytest.approx((low, high), abs=5e-5)


def test_confusion_rows_are_true_and_shares_follow() -> None:
    truth = np.array([0, 0, 0, 1, 1])
    answers = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0.4, 0.6, 0], [1, 0, 0]])
    found = score_answers(answers, truth, ["a", "b", "c"])
    assert found.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert found.accuracy == 0.6
    a, b, c = found.classes
    assert a.precision == a.recall == pytest.approx(2 / 3)
    assert a.support == 3
    assert (b.precision, b.recall, b.f1) == (0.5, 0.5, 0.5)
    assert (c.precision, c.recall, c.f1, c.support) == (None, None, None, 0)
    assert found.to_json()["photos"] == 5


def test_labels_that_a_sure_answer_contradicts() -> None:
    answers = np.array([[0.99, 0.01], [0.05, 0.95], [0.4, 0.6], [0.005, 0.995]])
    assert doubtful_labels(answers, np.array([0, 0, 0, 0])) == [3, 1]
