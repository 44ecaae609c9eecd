"""BatchNormalization on the host: onnx.reference trains where opset 9 to 13 names a momentum."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_batch_normalization import BatchNormalization_14

__all__ = ["BatchNormalization"]

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
