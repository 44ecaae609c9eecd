"""L-BFGS: minimizes a smooth convex function in float64; same input, same result.

Source: Nocedal and Wright, Numerical Optimization (2nd edition), algorithms 7.4 and 7.5; the step
length halves until Armijo's condition holds (chapter 3), enough where the curvature is positive.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["minimize"]

Vector = NDArray[np.float64]
# Value and gradient at a point.
Function = Callable[[Vector], tuple[float, Vector]]

MEMORY = 12
ARMIJO = 1e-4
SHORTEST = 1e-12


def minimize(
    function: Function,
    start: Vector,
    most_steps: int,
    tolerance: float = 1e-6,
    seen: Callable[[int, Vector, float], bool] = lambda step, point, value: True,
) -> Vector:
    """The point where the gradient's largest component is below tolerance, or the last one tried.

    start       float64 (N,), not changed
    seen        is called after each step with its number (from 1), point and value; the search
                ends when it says False
    """
    point, (value, gradient) = start, function(start)
    pairs: deque[tuple[Vector, Vector]] = deque(maxlen=MEMORY)
    for step in range(1, most_steps + 1):
        if np.abs(gradient).max(initial=0.0) < tolerance:
            break
        direction = _direction(gradient, pairs)
        slope = float(gradient @ direction)
        length = 1.0 if pairs else min(1.0, 1.0 / float(np.abs(gradient).sum()))
        while True:
            moved = point + length * direction
            new_value, new_gradient = function(moved)
            if new_value <= value + ARMIJO * length * slope or length < SHORTEST:
                break
            length *= 0.5
        if not new_value < value:  # rounding is all that is left
            break
        change, bend = moved - point, new_gradient - gradient
        if float(change @ bend) > 0.0:
            pairs.append((change, bend))
        point, value, gradient = moved, new_value, new_gradient
        if not seen(step, point, value):
            break
    return point


def _direction(gradient: Vector, pairs: deque[tuple[Vector, Vector]]) -> Vector:
    """Minus the gradient times the inverse Hessian as the last steps show it (two loops)."""
    direction = -gradient
    factors = []
    for change, bend in reversed(pairs):
        factor = float(change @ direction) / float(change @ bend)
        direction = direction - factor * bend
        factors.append(factor)
    if pairs:
        change, bend = pairs[-1]
        direction = direction * (float(change @ bend) / float(bend @ bend))
    for (change, bend), factor in zip(pairs, reversed(factors), strict=True):
        back = float(bend @ direction) / float(change @ bend)
        direction = direction + (factor - back) * change
    return direction
