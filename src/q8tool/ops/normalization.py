"""BatchNormalization, LRN and LpNormalization on the host.

onnx.reference trains where opset 9 to 13 names a momentum; its LRN takes as many channels as there
are samples, its LpNormalization sums of numbers with their signs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_batch_normalization import BatchNormalization_14

__all__ = ["LRN", "BatchNormalization", "LpNormalization"]

Array = NDArray[Any]
_train: Any = BatchNormalization_14._run


class BatchNormalization(OpRun):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias; training_mode goes to the reference."""

    def _run(
        self, x: Array, scale: Array, bias: Array, mean: Array, variance: Array, **attributes: Any
    ) -> tuple[Array, ...]:
        epsilon = attributes.get("epsilon") or 1e-5
        if attributes.get("training_mode"):
            momentum = attributes.get("momentum")
            return tuple(_train(self, x, scale, bias, mean, variance, epsilon, momentum, 1))
        shape = (-1, *[1] * (x.ndim - 2))
        factor = scale / np.sqrt(variance + np.asarray(epsilon, variance.dtype))
        offset = bias - mean * factor
        return ((x * factor.reshape(shape) + offset.reshape(shape)).astype(x.dtype),)


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
