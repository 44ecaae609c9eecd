"""LSTM, GRU and RNN: onnx.reference leaves out lengths of sequences, clipping and activations.

    x W^T of all steps at once  ->  step by step  + h R^T  ->  gates  ->  h (and c)

X (steps, batch, inputs); W (directions, gates * hidden, inputs), gates in the standard's order:
i o f c, or z r h. A reversed direction reads every sequence from its own last entry. What lies
beyond the end of a sequence is 0 in Y, and the last state stays. Source: the operators' formulas in
the ONNX standard; the inputs of gates are clipped, as onnxruntime does, but not the cell's state.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

__all__ = ["GRU", "LSTM", "RNN"]

Array = NDArray[Any]
Function = Callable[[Array], Array]
# One step: gate inputs (batch, gates * hidden), h and c -> the next h and c.
Cell = Callable[[Array, Array, Array], tuple[Array, Array]]


class LSTM(OpRun):
    """i, o, f, c; peepholes P (directions, 3 * hidden) in the order i o f."""

    def _run(
        self,
        x: Array,
        w: Array,
        r: Array,
        b: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        p: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        def cell(direction: int, functions: Sequence[Function], hidden: int) -> _Direction:
            peepholes = np.zeros(3 * hidden) if p is None else p[direction]
            couples = bool(attributes.get("input_forget"))
            return _lstm(_Weights(w[direction], r[direction], _bias(b, direction)),
                         functions, np.asarray(peepholes, np.float32), couples)  # fmt: skip

        names = ["Sigmoid", "Tanh", "Tanh"]
        found = _run(x, r, lengths, initial_h, initial_c, names, attributes, cell)
        return found[: len(self.onnx_node.output)]


class GRU(OpRun):
    """z, r, h."""

    def _run(
        self,
        x: Array,
        w: Array,
        r: Array,
        b: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        def cell(direction: int, functions: Sequence[Function], hidden: int) -> _Direction:
            weights = _Weights(w[direction], r[direction], _bias(b, direction))
            return _gru(weights, functions, bool(attributes.get("linear_before_reset")))

        names = ["Sigmoid", "Tanh"]
        found = _run(x, r, lengths, initial_h, None, names, attributes, cell)
        return found[: min(2, len(self.onnx_node.output))]


class RNN(OpRun):
    """One gate."""

    def _run(
        self,
        x: Array,
        w: Array,
        r: Array,
        b: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        def cell(direction: int, functions: Sequence[Function], hidden: int) -> _Direction:
            return _rnn(_Weights(w[direction], r[direction], _bias(b, direction)), functions)

        found = _run(x, r, lengths, initial_h, None, ["Tanh"], attributes, cell)
        return found[: min(2, len(self.onnx_node.output))]


@dataclass(frozen=True)
class _Weights:
    """Of one direction: w (gates * hidden, inputs), r (gates * hidden, hidden), b of w and of r."""

    w: Array
    r: Array
    b: Array | None


@dataclass(frozen=True)
class _Direction:
    """What a direction adds to x W^T, and its step."""

    weights: Array
    bias: Array
    cell: Cell


def _bias(b: Array | None, direction: int) -> Array | None:
    return None if b is None else np.asarray(b[direction], np.float32)


def _halves(weights: _Weights) -> tuple[Array, Array]:
    """The biases of w and of r."""
    size = len(weights.w)
    if weights.b is None:
        return np.zeros(size, np.float32), np.zeros(size, np.float32)
    return weights.b[:size], weights.b[size:]


def _lstm(
    weights: _Weights, functions: Sequence[Function], peepholes: Array, couples: bool
) -> _Direction:
    gate, candidate, output = functions
    recurrent = np.ascontiguousarray(np.asarray(weights.r, np.float32).T)
    hidden = len(recurrent)
    p_i, p_o, p_f = np.split(peepholes, 3)
    looks = bool(peepholes.any())

    def cell(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        sums = x + h @ recurrent
        i, o, f, new = (sums[:, k * hidden : (k + 1) * hidden] for k in range(4))
        opened = gate(i + p_i * c if looks else i)
        kept = 1 - opened if couples else gate(f + p_f * c if looks else f)
        c = kept * c + opened * candidate(new)
        return gate(o + p_o * c if looks else o) * output(c), c

    return _Direction(weights.w, np.add(*_halves(weights)), cell)


def _gru(weights: _Weights, functions: Sequence[Function], is_linear: bool) -> _Direction:
    gate, candidate = functions
    recurrent = np.ascontiguousarray(np.asarray(weights.r, np.float32).T)
    hidden = len(recurrent)
    of_w, of_r = _halves(weights)
    last = slice(2 * hidden, None)
    bias = of_w + of_r
    if is_linear:
        bias[last] = of_w[last]

    def cell(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        sums = x[:, : 2 * hidden] + h @ recurrent[:, : 2 * hidden]
        update, reset = gate(sums[:, :hidden]), gate(sums[:, hidden:])
        if is_linear:
            inner = reset * (h @ recurrent[:, last] + of_r[last])
        else:
            inner = (reset * h) @ recurrent[:, last]
        return (1 - update) * candidate(x[:, last] + inner) + update * h, c

    return _Direction(weights.w, bias, cell)


def _rnn(weights: _Weights, functions: Sequence[Function]) -> _Direction:
    recurrent = np.ascontiguousarray(np.asarray(weights.r, np.float32).T)

    def cell(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        return functions[0](x + h @ recurrent), c

    return _Direction(weights.w, np.add(*_halves(weights)), cell)


def _run(
    x: Array,
    r: Array,
    lengths: Array | None,
    initial_h: Array | None,
    initial_c: Array | None,
    names: Sequence[str],
    attributes: dict[str, Any],
    make: Callable[[int, Sequence[Function], int], _Direction],
) -> tuple[Array, Array, Array]:
    """Y, the last h and the last c of all directions, in x's type; computed in float32."""
    is_batch_first = attributes.get("layout") == 1
    steps = np.asarray(x.swapaxes(0, 1) if is_batch_first else x, np.float32)
    time, batch, _ = steps.shape
    count, hidden = len(r), r.shape[2]
    chosen = _functions(attributes, names, count)
    y = np.zeros((time, count, batch, hidden), np.float32)
    ends = np.zeros((2, count, batch, hidden), np.float32)
    for state, given in zip(ends, (initial_h, initial_c), strict=True):
        if given is not None:
            state[:] = given.swapaxes(0, 1) if is_batch_first else given
    long = np.full(batch, time) if lengths is None else np.asarray(lengths).astype(np.int64)
    for d in range(count):
        direction = make(d, chosen[d * len(names) : (d + 1) * len(names)], hidden)
        is_backward = d == 1 or attributes.get("direction") == "reverse"
        places = _places(time, long, is_backward)
        inputs = steps @ np.asarray(direction.weights, np.float32).T + direction.bias
        read = np.take_along_axis(inputs, places[:, :, None], 0)
        written = np.zeros((time, batch, hidden), np.float32)
        ends[0, d], ends[1, d] = _walk(direction.cell, read, long, ends[0, d], ends[1, d], written)
        np.put_along_axis(y[:, d], places[:, :, None], written, 0)
    if is_batch_first:
        return (
            y.transpose(2, 0, 1, 3).astype(x.dtype),
            ends[0].swapaxes(0, 1).astype(x.dtype),
            ends[1].swapaxes(0, 1).astype(x.dtype),
        )
    return y.astype(x.dtype), ends[0].astype(x.dtype), ends[1].astype(x.dtype)


def _walk(
    cell: Cell, inputs: Array, lengths: Array, h: Array, c: Array, y: Array
) -> tuple[Array, Array]:
    """The states after the last step of each sequence; fills y."""
    shortest = int(lengths.min(initial=len(inputs)))
    for step, x in enumerate(inputs):
        new_h, new_c = cell(x, h, c)
        if step >= shortest:
            runs = (step < lengths)[:, None]
            y[step] = np.where(runs, new_h, 0)
            h, c = np.where(runs, new_h, h), np.where(runs, new_c, c)
        else:
            y[step] = h = new_h
            c = new_c
    return h, c


def _places(time: int, lengths: Array, is_backward: bool) -> NDArray[np.int64]:
    """(time, batch): which entry each step reads; backwards within the sequence's own length."""
    forward = np.broadcast_to(np.arange(time)[:, None], (time, len(lengths)))
    if not is_backward:
        return np.ascontiguousarray(forward)
    return np.where(forward < lengths, lengths - 1 - forward, forward)


def _functions(
    attributes: dict[str, Any], default: Sequence[str], directions: int
) -> list[Function]:
    """The activations of all directions, each with its own alpha and beta, behind the clipping."""
    names = [_text(name) for name in attributes.get("activations") or [*default] * directions]
    alphas = iter(attributes.get("activation_alpha") or [])
    betas = iter(attributes.get("activation_beta") or [])
    clip = attributes.get("clip")
    found = [_activation(name, alphas, betas) for name in names]
    # The third one, of LSTM, is that of the state.
    is_gate = [position % len(default) < 2 for position in range(len(found))]
    return [_clipped(f, clip) if gate else f for f, gate in zip(found, is_gate, strict=True)]


def _text(name: "str | bytes") -> str:
    return (name.decode() if isinstance(name, bytes) else name).lower()


def _clipped(function: Function, clip: float | None) -> Function:
    if not clip:
        return function
    return lambda x: function(np.clip(x, -clip, clip))


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Function:
    """One of the standard's activations; raises KeyError for others."""
    if name in _PLAIN:
        return _PLAIN[name]
    alpha, beta = _DEFAULTS[name]
    a = np.float32(next(alphas, alpha))
    b = np.float32(0 if beta is None else next(betas, beta))
    return {
        "affine": lambda x: a * x + b,
        "elu": lambda x: np.where(x < 0, a * np.expm1(x), x),
        "hardsigmoid": lambda x: np.clip(a * x + b, 0, 1),
        "leakyrelu": lambda x: np.where(x < 0, a * x, x),
        "scaledtanh": lambda x: a * np.tanh(b * x),
        "thresholdedrelu": lambda x: np.where(x > a, x, 0),
    }[name]


_PLAIN: dict[str, Function] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, np.float32(0)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh": np.tanh,
}
# alpha and beta where nothing says others; None: it has no beta.
_DEFAULTS: dict[str, tuple[float, float | None]] = {
    "affine": (1.0, 0.0),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "scaledtanh": (1.0, 1.0),
    "thresholdedrelu": (1.0, None),
}
