"""BatchNormalization, LRN and LpNormalization on the host.

onnx.reference's BatchNormalization of opset 9 to 13 trains where a momentum is named, and has one
output; its LRN takes as many channels as there are samples, its LpNormalization sums of numbers
with their signs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

__all__ = ["LRN", "BatchNormalization", "LpNormalization"]

Array = NDArray[Any]


class BatchNormalization(OpRun):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias.

    It trains, with the batch's own statistics, where training_mode says so or, before opset 14,
    more outputs than the first are asked for: the running statistics, then those of the batch.
    """

    def _run(
        self, x: Array, scale: Array, bias: Array, mean: Array, variance: Array, **attributes: Any
    ) -> tuple[Array, ...]:
        epsilon = 1e-5 if (given := attributes.get("epsilon")) is None else given
        kept = 0.9 if (given := attributes.get("momentum")) is None else given
        if not attributes.get("training_mode") and not any(self.onnx_node.output[1:]):
            return (_normalized(x, scale, bias, mean, variance, epsilon),)
        axes = (0, *range(2, x.ndim))
        own = x.mean(axes), x.var(axes)
        running = mean * kept + own[0] * (1 - kept), variance * kept + own[1] * (1 - kept)
        results = _normalized(x, scale, bias, *own, epsilon), *running, *own
        count = len(self.onnx_node.output)
        return tuple(np.asarray(result, x.dtype) for result in results[:count])


def _normalized(
    x: Array, scale: Array, bias: Array, mean: Array, variance: Array, epsilon: float
) -> Array:
    shape = (-1, *[1] * (x.ndim - 2))
    factor = scale / np.sqrt(variance + np.asarray(epsilon, variance.dtype))
    offset = bias - mean * factor
    return np.asarray(x * factor.reshape(shape) + offset.reshape(shape), x.dtype)


class LRN(OpRun):
    """x / (bias + alpha / size * squares of neighbouring channels) ** beta; any dimensions."""

    def _run(
        self, x: Array, alpha: float, beta: float, bias: float, size: int
    ) -> tuple[Array, ...]:
        squares, sums = np.square(x), np.empty_like(x)
        for channel in range(x.shape[1]):
            first = max(0, channel - (size - 1) // 2)
            sums[:, channel] = squares[:, first : channel + size // 2 + 1].sum(axis=1)
        return ((x / (bias + alpha / size * sums) ** beta).astype(x.dtype),)


class LpNormalization(OpRun):
    """x / (sum |x| ^ p) ^ (1 / p) along an axis; 0 where all are."""

    def _run(self, x: Array, axis: int | None = None, p: int | None = None) -> tuple[Array, ...]:
        power = p or 2
        sums = np.sum(np.abs(x) ** power, axis=-1 if axis is None else axis, keepdims=True)
        norms = sums ** (1 / power)
        return ((x / np.where(norms == 0, 1, norms)).astype(x.dtype),)
