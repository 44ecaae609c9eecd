"""Softmax, LogSoftmax and Hardmax on the host, of all opsets.

Before opset 13 they look along all axes from one on, the second unless told; onnx.reference takes
that one alone.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

__all__ = ["Hardmax", "LogSoftmax", "Softmax"]

Array = NDArray[Any]
# The first opset in which they look along one axis.
_FIRST_OF_ONE_AXIS = 13


class _AlongAxis(OpRun):
    def _run(self, x: Array, axis: int | None = None) -> tuple[Array, ...]:
        # What the node leaves out has the default of the newest opset here.
        given = [attribute.i for attribute in self.onnx_node.attribute if attribute.name == "axis"]
        if self.run_params["opsets"].get("", _FIRST_OF_ONE_AXIS) >= _FIRST_OF_ONE_AXIS:
            return (np.asarray(self._along(x, given[0] if given else -1), x.dtype),)
        first = given[0] if given else 1
        dims = x.shape[: first + x.ndim if first < 0 else first]
        rows = x.reshape(int(np.prod(dims)), -1)
        return (np.asarray(self._along(rows, 1), x.dtype).reshape(x.shape),)

    @abstractmethod
    def _along(self, x: Array, axis: int) -> Array:
        """The result along one axis of x, in its shape."""


class Softmax(_AlongAxis):
    """exp(x) / sum exp(x)."""

    def _along(self, x: Array, axis: int) -> Array:
        powers: Array = np.exp(x - x.max(axis=axis, keepdims=True))
        return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


class LogSoftmax(_AlongAxis):
    """x - log sum exp(x)."""

    def _along(self, x: Array, axis: int) -> Array:
        below: Array = x - x.max(axis=axis, keepdims=True)
        return np.asarray(below - np.log(np.exp(below).sum(axis=axis, keepdims=True)))


class Hardmax(_AlongAxis):
    """1 at the first of the greatest values, else 0."""

    def _along(self, x: Array, axis: int) -> Array:
        result = np.zeros_like(x)
        np.put_along_axis(result, np.expand_dims(np.argmax(x, axis), axis), 1, axis)
        return result
