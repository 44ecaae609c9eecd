"""Scores: what a classifier's output holds, and probabilities from it."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["gives_probabilities", "probabilities"]

_PROBABILITY_OPS = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
# What may stand between the operator that makes probabilities and the output.
_PASSING_OPS = frozenset(
    {
        "Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip
# How far the sum of probabilities may be from 1 where only the values tell them from logits.
_SUM_TOLERANCE = 0.02


def gives_probabilities(model: ir.Model, output: str) -> bool:
    """Whether the output comes from Softmax or a sigmoid, through data movement or conversions.

    The values alone do not tell: rounded to eight bits, a thousand small ones may sum to 0.6.
    """
    value = next((value for value in model.graph.outputs if value.name == output), None)
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _PASSING_OPS:
        source = node.inputs[0] if node.inputs else None
        node = source.producer() if source is not None else None
    return node is not None and node.op_type in _PROBABILITY_OPS


def probabilities(
    scores: NDArray[Any], are_probabilities: bool = False
) -> tuple[NDArray[np.float64], bool]:
    """A row of scores as probabilities, and whether softmax had to be applied (logits).

    are_probabilities  the model says so; else values from 0 that sum to 1 are taken for some
    """
    values = scores.astype(np.float64)
    sums_to_one = values.min() >= 0.0 and abs(float(values.sum()) - 1.0) < _SUM_TOLERANCE
    if are_probabilities or sums_to_one:
        return values, False
    powers = np.exp(values - values.max())
    return powers / powers.sum(), True
