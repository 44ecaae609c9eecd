"""Functions of one float tensor that C has as one step, recognised by what they compute.

    Div(x, 1.414) -> Erf -> Add(1) -> Mul(x) -> Mul(0.5)        gelu

Tools write GELU in many orders and with many constants. Whatever elementwise nodes lead from one
tensor to a node are run on a row of numbers; where the result is that of a known function, they
are that function.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.evaluation import evaluated
from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, scalar
from q8tool.engine.values import Value

__all__ = ["known_function"]

Floats = NDArray[np.float64]

_INNER = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Neg", "Erf", "Tanh", "Sigmoid", "Exp"})
# One of these is part of every known function: others are not worth a run.
_TELLING = frozenset({"Erf", "Tanh", "Exp"})
_MOST_NODES = 12
# Where nothing overflows, dense where the functions bend.
_ROW = np.concatenate([np.linspace(-8, 8, 641), np.linspace(-30, 30, 61)]).astype(np.float32)
# Of the value and of x: rounding in float32 is below, GELU and its approximation differ by more.
_TOLERANCE = 1e-5


def _gelu(x: Floats) -> Floats:
    return np.asarray([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])


def _gelu_tanh(x: Floats) -> Floats:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _silu(x: Floats) -> Floats:
    return np.asarray(x / (1 + np.exp(-x)))


_KNOWN: dict[str, Callable[[Floats], Floats]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
}
# What was found for nodes that are alike but for their names.
_found: dict[Any, str | None] = {}


def known_function(lowering: Lowering, node: Node) -> tuple[Value, str, list[Node]] | None:
    """The tensor, the name of its function that a node ends, and the nodes that lead to it.

    None if it is no known one.
    """
    inside = [node]
    ends = _varying(lowering, node)
    while ends is not None and len(inside) <= _MOST_NODES:
        if len(ends) == 1 and any(n.op_type in _TELLING for n in inside):
            name = next(iter(ends))
            op = _named(lowering, inside[::-1], name)
            if op is not None:
                return lowering.value(name), op, inside[1:]
        last = _last_made(lowering, ends)
        more = None if last is None else _varying(lowering, last)
        if last is None or more is None:
            return None
        inside.append(last)
        ends = {name: None for name in (*ends, *more) if name != last.outputs[0]}
    return None


def _varying(lowering: Lowering, node: Node) -> dict[str, None] | None:
    """Names of the inputs that are no numbers; None if the node is none of those looked at."""
    if node.domain or node.op_type not in _INNER:
        return None
    shape = lowering.output(node).fact.shape
    names = {name: None for name in node.inputs if scalar(lowering.value(name)) is None}
    values = [lowering.value(name) for name in names]
    if shape is None or any(v.fact.shape != shape or not v.is_float for v in values):
        return None
    return names or None


def _last_made(lowering: Lowering, names: dict[str, None]) -> Node | None:
    """The node that makes one of the values after all others are made."""
    makers = [lowering.producers[name] for name in names if name in lowering.producers]
    return max(makers, key=lambda node: lowering.positions[node], default=None)


def _named(lowering: Lowering, nodes: Sequence[Node], start: str) -> str | None:
    """The known function that the nodes compute of the value `start`."""
    key = _signature(lowering, nodes, start)
    if key not in _found:
        _found[key] = _recognised(_evaluated(lowering, nodes, start))
    return _found[key]


def _signature(lowering: Lowering, nodes: Sequence[Node], start: str) -> Any:
    """Equal for nodes that compute the same function."""
    numbers = {start: 0, **{n.outputs[0]: i for i, n in enumerate(nodes, 1)}}
    return tuple(
        (
            node.op_type,
            node.version,
            *(numbers.get(name, (scalar(lowering.value(name)),)) for name in node.inputs),
        )
        for node in nodes
    )


def _evaluated(lowering: Lowering, nodes: Sequence[Node], start: str) -> Floats:
    """What the nodes make of the row of numbers."""
    values: dict[str, NDArray[Any]] = {start: _ROW}
    for node in nodes:
        inputs = []
        for name in node.reads:
            if name not in values:
                values[name] = lowering.value(name).fact.array().reshape(())
            inputs.append(values[name])
        with np.errstate(all="ignore"):
            results = evaluated(node, inputs, lowering.graph.opsets)
            values[node.outputs[0]] = np.asarray(results[0])
    return np.asarray(values[nodes[-1].outputs[0]], np.float64)


def _recognised(y: Floats) -> str | None:
    x = _ROW.astype(np.float64)
    if y.shape != x.shape or not np.isfinite(y).all():
        return None
    for name, function in _KNOWN.items():
        if np.all(np.abs(y - function(x)) <= _TOLERANCE * (1 + np.abs(x))):
            return name
    return None
