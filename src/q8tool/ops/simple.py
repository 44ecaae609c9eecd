"""Operators that are one call of numpy: for constants, and for tables of elementwise functions.

onnx.reference computes the same, bit for bit; loading it takes longer than compiling most models.
Where simple_results returns None, host.py is to be asked.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.ops.codes import dequantized

__all__ = ["SIMPLE", "simple_results"]

Array = NDArray[Any]
Inputs = Sequence[Array | None]
Attributes = Mapping[str, Any]


def simple_results(op_type: str, attributes: Attributes, inputs: Inputs) -> list[Array] | None:
    """The outputs of a node of the standard domain; None if it is not simple for these inputs.

    inputs  in the node's order, None for those left out
    """
    function = _FUNCTIONS.get(op_type)
    if function is None or not (op_type in _OF_CODES or all(map(_is_usual, inputs))):
        return None
    try:
        with np.errstate(all="ignore"):
            result = function(attributes, *inputs)
    except (LookupError, OverflowError, TypeError, ValueError):
        return None  # inputs that do not fit: whoever is asked next says why
    return None if result is None else [np.asarray(result)]


def _is_usual(value: Array | None) -> bool:
    return value is not None and value.dtype in (np.float32, np.int64, np.bool_)


def _binary(function: Callable[[Array, Array], Array]) -> Callable[..., Array | None]:
    def run(attributes: Attributes, a: Array, b: Array) -> Array | None:
        return function(a, b) if a.dtype == b.dtype and a.dtype != np.bool_ else None

    return run


def _divided(attributes: Attributes, a: Array, b: Array) -> Array | None:
    return np.divide(a, b) if a.dtype == b.dtype == np.float32 else None


def _equal(attributes: Attributes, a: Array, b: Array) -> Array | None:
    return np.equal(a, b) if a.dtype == b.dtype else None


def _unary(function: Callable[[Array], Array]) -> Callable[..., Array | None]:
    def run(attributes: Attributes, x: Array) -> Array | None:
        return function(x) if x.dtype == np.float32 and not attributes else None

    return run


def _sigmoid(x: Array) -> Array:
    e = np.exp(x)
    return np.where(x > 0, 1.0 / (1.0 + np.exp(-x)), e / (1.0 + e)).astype(x.dtype)


def _erf(x: Array) -> Array:
    return np.asarray([math.erf(v) for v in x.ravel()], np.float32).reshape(x.shape)


def _gather(attributes: Attributes, x: Array, indices: Array) -> Array | None:
    axis = int(attributes.get("axis", 0))
    if indices.dtype != np.int64 or not -x.ndim <= axis < x.ndim:
        return None
    return np.take(x, indices, axis=axis)


def _gather_nd(attributes: Attributes, x: Array, indices: Array) -> Array | None:
    if attributes or indices.dtype != np.int64 or not 1 <= indices.shape[-1] <= x.ndim:
        return None
    return np.asarray(x[tuple(np.moveaxis(indices, -1, 0))])


def _axes(attributes: Attributes, given: Array | None) -> tuple[int, ...]:
    return tuple(attributes["axes"] if given is None else (int(axis) for axis in given.ravel()))


def _unsqueeze(attributes: Attributes, x: Array, axes: Array | None = None) -> Array:
    return np.expand_dims(x, _axes(attributes, axes))


def _squeeze(attributes: Attributes, x: Array, axes: Array | None = None) -> Array:
    return np.squeeze(x, _axes(attributes, axes))


def _concat(attributes: Attributes, *inputs: Array) -> Array | None:
    if len({value.dtype for value in inputs}) > 1:
        return None
    return np.concatenate(inputs, axis=int(attributes["axis"]))


def _reshape(attributes: Attributes, x: Array, shape: Array) -> Array | None:
    if attributes.get("allowzero", 0) or shape.ndim != 1:
        return None
    dims = [x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)]
    return x.reshape(dims)


def _where(attributes: Attributes, condition: Array, x: Array, y: Array) -> Array | None:
    return np.where(condition, x, y) if x.dtype == y.dtype else None


def _expand(attributes: Attributes, x: Array, shape: Array) -> Array:
    return np.array(np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape))))


def _shape(attributes: Attributes, x: Array) -> Array | None:
    return None if attributes else np.array(x.shape, np.int64)


def _filled(attributes: Attributes, shape: Array) -> Array:
    value = np.asarray(attributes.get("value", np.zeros(1, np.float32))).reshape(-1)
    return np.full(tuple(shape), value[0], value.dtype)


def _dequantized(
    attributes: Attributes,
    codes: Array | None,
    scale: Array | None,
    zero_point: Array | None = None,
) -> Array | None:
    if codes is None or scale is None:
        return None
    result = dequantized(codes, scale, zero_point, attributes)
    return None if result is None or result.shape != codes.shape else result


_FUNCTIONS: dict[str, Callable[..., Array | None]] = {
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _divided,
    "Equal": _equal,
    "Erf": _unary(_erf),
    "Exp": _unary(np.exp),
    "Neg": _unary(np.negative),
    "Sigmoid": _unary(_sigmoid),
    "Sqrt": _unary(np.sqrt),
    "Tanh": _unary(np.tanh),
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "DequantizeLinear": _dequantized,
    "Expand": _expand,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Reshape": _reshape,
    "Shape": _shape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}

_OF_CODES = frozenset({"DequantizeLinear"})

SIMPLE = frozenset(_FUNCTIONS)
"""Operators of the standard domain that may be simple."""
