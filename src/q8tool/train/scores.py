"""Scores: how good the answers on a set of photos are, and which photos look mislabelled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassScore", "Scores", "confidence_interval", "doubtful_labels", "score_answers"]

Array = NDArray[Any]

# The normal quantile of 95 %.
_Z = 1.959963984540054
# A label is doubted where another has more than this.
_DOUBT = 0.9


@dataclass(frozen=True)
class ClassScore:
    """How one class fares; None where nothing can be divided by.

    support   photos that are of it
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "label": self.label,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "support": self.support,
        }


@dataclass(frozen=True)
class Scores:
    """How good answers are.

    interval    of the accuracy, 95 %
    confusion   photos by (true class, answer): int (K, K), rows are true
    """

    accuracy: float
    interval: tuple[float, float]
    cross_entropy: float
    confusion: Array
    classes: Sequence[ClassScore]

    @property
    def photos(self) -> int:
        """How many were judged."""
        return int(self.confusion.sum())

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "photos": self.photos,
            "accuracy": self.accuracy,
            "confidence_interval_95": list(self.interval),
            "cross_entropy": self.cross_entropy,
            "confusion_matrix_rows_true": self.confusion.tolist(),
            "classes": [score.to_json() for score in self.classes],
        }


def score_answers(probabilities: Array, truth: Array, labels: Sequence[str]) -> Scores:
    """Scores of probabilities, float (N, K), for photos of classes `truth`, int (N,); N > 0."""
    count = len(labels)
    answers = probabilities.argmax(1)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (truth, answers), 1)
    right = int(confusion.trace())
    given = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return Scores(
        accuracy=right / len(truth),
        interval=confidence_interval(right, len(truth)),
        cross_entropy=float(-np.log(np.maximum(given, 1e-30)).mean()),
        confusion=confusion,
        classes=[_class_score(confusion, index, labels[index]) for index in range(count)],
    )


def confidence_interval(right: int, count: int) -> tuple[float, float]:
    """Where the share right/count lies with 95 % confidence.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    share, z2 = right / count, _Z * _Z
    middle = share + z2 / (2 * count)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    scale = 1 + z2 / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def doubtful_labels(probabilities: Array, truth: Array) -> list[int]:
    """Photos that a model which has not seen them is sure to be of another class, surest first."""
    given = probabilities[np.arange(len(truth)), truth]
    surest = probabilities.max(1)
    order = np.argsort(given - surest, kind="stable")
    return [
        int(index) for index in order if surest[index] > _DOUBT and surest[index] > given[index]
    ]


def _class_score(confusion: Array, index: int, label: str) -> ClassScore:
    right = int(confusion[index, index])
    support, answered = int(confusion[index].sum()), int(confusion[:, index].sum())
    precision = right / answered if answered else None
    recall = right / support if support else None
    f1 = 2 * right / (support + answered) if support + answered else None
    return ClassScore(label, precision, recall, f1, support)
