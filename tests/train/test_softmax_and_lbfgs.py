"""Softmax regression and the search behind it, against SciPy and formulas."""

import numpy as np
import pytest
from numpy.typing import NDArray

from q8tool.train.lbfgs import minimize
from q8tool.train.softmax import Descent, balanced_weights, fit_softmax, probabilities

Array = NDArray[np.float64]


def rosenbrock(point: Array) -> tuple[float, Array]:
    a, b = point
    value = (1 - a) ** 2 + 100 * (b - a * a) ** 2
    return value, np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])


def test_the_minimum_of_a_bowl_and_of_a_bent_valley() -> None:
    scales = np.geomspace(1, 1e4, 30)
    found = minimize(
        lambda x: (float(scales @ (x - 2) ** 2), 2 * scales * (x - 2)), np.zeros(30), 500, 1e-9
    )
    np.testing.assert_allclose(found, 2.0, atol=1e-4)
    np.testing.assert_allclose(minimize(rosenbrock, np.array([-1.2, 1.0]), 500, 1e-9), 1, atol=1e-5)


def test_it_stops_when_told_to() -> None:
    steps = []

    def seen(step: int, point: Array, value: float) -> bool:
        steps.append(step)
        return step < 3

    minimize(rosenbrock, np.array([-1.2, 1.0]), 500, 1e-9, seen)
    assert steps == [1, 2, 3]


def data(rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    classes = rng.integers(0, 3, 120)
    return rng.normal(size=(120, 4)) + classes[:, None] * [0.8, -0.5, 0, 0.3], classes


def test_the_gradient_vanishes_where_it_ends(rng: np.random.Generator) -> None:
    """At the optimum, decay * W = X^T (w * (Y - P)) / n, and biases balance: the formula."""
    x, classes = data(rng)
    weights = balanced_weights(classes, 3)
    theta = fit_softmax(x, classes, weights, 3, 0.01)
    left = (np.eye(3)[classes] - probabilities(x, theta)) * weights[:, None] / len(x)
    np.testing.assert_allclose(x.T @ left, 0.01 * theta[:-1], atol=2e-5)
    np.testing.assert_allclose(left.sum(0), 0.0, atol=2e-5)


def test_small_steps_come_to_the_same_place(rng: np.random.Generator) -> None:
    x, classes = data(rng)
    weights = np.ones(len(x))
    exact = fit_softmax(x, classes, weights, 3, 0.05)
    slow = fit_softmax(x, classes, weights, 3, 0.05, most_steps=4000, descent=Descent(0.3, 0, 0))
    np.testing.assert_allclose(slow, exact, atol=1e-3)
    batches = Descent(0.1, 20, 7)
    one = fit_softmax(x, classes, weights, 3, 0.05, most_steps=50, descent=batches)
    two = fit_softmax(x, classes, weights, 3, 0.05, most_steps=50, descent=batches)
    np.testing.assert_array_equal(one, two)


def test_all_classes_weigh_the_same() -> None:
    weights = balanced_weights(np.array([0] * 50 + [2] * 10), 3)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[:50].sum() == pytest.approx(weights[50:].sum())
