"""Softmax regression: weights and biases that explain the classes best, to convergence.

Minimizes the weighted mean of the cross-entropy plus decay / 2 * |weights|^2, which is convex: one
answer, wherever the search begins. By L-BFGS, or by mini-batch gradient descent if asked to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.train.lbfgs import minimize

__all__ = ["Descent", "Step", "balanced_weights", "fit_softmax", "probabilities"]

Array = NDArray[Any]
# Called with the number of a step, the weights (D + 1, K; the last row is the biases), the loss.
Step = Callable[[int, Array, float], None]

TOLERANCE = 3e-5
MOST_STEPS = 300


@dataclass(frozen=True)
class Descent:
    """Mini-batch gradient descent instead of L-BFGS: the way of 2016.

    batch   photos, 0: all
    """

    learning_rate: float
    batch: int
    seed: int


def fit_softmax(
    x: Array,
    classes: Array,
    weights: Array,
    count: int,
    decay: float,
    start: Array | None = None,
    most_steps: int = MOST_STEPS,
    descent: Descent | None = None,
    seen: Step = lambda step, theta, loss: None,
) -> Array:
    """Weights and, in the last row, biases: float64 (D + 1, count).

    x         float32 or float64 (N, D), in which type the products are computed
    classes   int (N,), below count
    weights   float64 (N,) of the photos, mean 1
    start     where the search begins; None: zeros
    """
    problem = _Problem(x, np.eye(count)[classes], weights, decay)
    theta = np.zeros((x.shape[1] + 1) * count) if start is None else start.ravel()

    def report(step: int, point: Array, loss: float) -> bool:
        seen(step, point.reshape(-1, count), loss)
        return True

    if descent is not None:
        return _descend(problem, theta, most_steps, descent, report).reshape(-1, count)
    return minimize(problem, theta, most_steps, TOLERANCE, report).reshape(-1, count)


def probabilities(x: Array, theta: Array) -> Array:
    """float64 (N, K) of x, (N, D), by weights and biases as fit_softmax returns them."""
    powers = x.astype(np.float64) @ theta[:-1] + theta[-1]
    powers = np.exp(powers - powers.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def balanced_weights(classes: Array, count: int) -> Array:
    """A weight per photo, mean 1, so that all classes weigh the same, float64 (N,)."""
    sizes = np.bincount(classes, minlength=count)
    present = max(1, int((sizes > 0).sum()))
    return np.asarray(len(classes) / (present * np.maximum(sizes, 1)))[classes]


@dataclass(frozen=True)
class _Problem:
    """The loss as a function of all weights and biases in one vector."""

    x: Array
    targets: Array
    weights: Array
    decay: float

    def __call__(self, vector: Array) -> tuple[float, Array]:
        theta = vector.reshape(self.x.shape[1] + 1, -1)
        scores = self.x @ theta[:-1].astype(self.x.dtype) + theta[-1]
        scores -= scores.max(1, keepdims=True)
        powers = np.exp(scores)
        sums = powers.sum(1, keepdims=True)
        losses = np.log(sums[:, 0]) - (scores * self.targets).sum(1)
        value = float(self.weights @ losses) / len(losses)
        value += self.decay / 2 * float((theta[:-1] ** 2).sum())
        away = (powers / sums - self.targets) * (self.weights / len(losses))[:, None]
        slopes = self.x.T @ away.astype(self.x.dtype)
        gradient = np.vstack([slopes + self.decay * theta[:-1], away.sum(0)])
        return value, gradient.ravel()

    def part(self, chosen: Array) -> "_Problem":
        return _Problem(self.x[chosen], self.targets[chosen], self.weights[chosen], self.decay)


def _descend(
    problem: _Problem,
    theta: Array,
    steps: int,
    descent: Descent,
    report: Callable[[int, Array, float], bool],
) -> Array:
    rng = np.random.default_rng(descent.seed)
    count = len(problem.x)
    batch = min(descent.batch or count, count)
    # Biases, the last row, are not penalized.
    free = np.ones_like(theta)
    free[-problem.targets.shape[1] :] = 0.0
    # The penalty's own step is taken exactly, so that no rate is too large for it.
    shrinking = 1.0 / (1.0 + descent.learning_rate * problem.decay * free)
    for step in range(1, steps + 1):
        part = problem if batch == count else problem.part(rng.integers(0, count, batch))
        loss, gradient = part(theta)
        slope = gradient - problem.decay * theta * free
        theta = (theta - descent.learning_rate * slope) * shrinking
        report(step, theta, loss)
    return theta
