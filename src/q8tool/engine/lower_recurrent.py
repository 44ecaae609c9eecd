"""LSTM, GRU and RNN: one product of all time steps, then one step that goes through them.

    x -> Conv of one row (x W^T + bias, all directions side by side) -> recurrent -> y, y_h, y_c

Weights, biases and peepholes are constants; initial states and lengths may be known at run time
only. Functions of gates that C does not have are left to the host.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.graph import Node
from q8tool.engine.lower_matmul import as_row
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.tensors import Layout, Tensor, new_tensor
from q8tool.engine.values import Declined, QuantizedConstant, Value

__all__ = ["LOWERINGS"]

Array = NDArray[Any]

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
# Name in lower case -> operator of C, its default alpha and beta, how many of them a node may give.
_FUNCTIONS: dict[str, tuple[str, float, float, int]] = {
    "affine": ("affine", 1.0, 0.0, 2),
    "elu": ("elu", 1.0, 0.0, 1),
    "hardsigmoid": ("hard_sigmoid", 0.2, 0.5, 2),
    "leakyrelu": ("leaky_relu", 0.01, 0.0, 1),
    "relu": ("clamp", 0.0, float("inf"), 0),
    "sigmoid": ("sigmoid", 0.0, 0.0, 0),
    "softplus": ("softplus", 0.0, 0.0, 0),
    "tanh": ("tanh", 0.0, 0.0, 0),
}


@dataclass(eq=False)
class _Recurrent:
    """A node whose operands fit together.

    steps, batch, inputs of x; directions, hidden of r
    """

    node: Node
    x: Value
    w: Value
    r: Value
    steps: int
    batch: int
    inputs: int
    directions: int
    hidden: int

    @property
    def gates(self) -> int:
        return _GATES[self.node.op_type]

    @property
    def is_batch_first(self) -> bool:
        return bool(self.node.attributes.get("layout", 0))

    @property
    def resets_late(self) -> bool:
        """True if a GRU's reset multiplies the product and not what goes into it."""
        is_gru = self.node.op_type == "GRU"
        return is_gru and bool(self.node.attributes.get("linear_before_reset", 0))


def lower_recurrent(lowering: Lowering, node: Node) -> None:
    """The product of all time steps, then the steps."""
    if node.version < 7:
        raise Declined(f"{node.op_type} of opset {node.version} has no C kernel")
    found = _checked(lowering, node)
    functions = _functions(node, found.directions)
    of_x, reset_bias = _biases(lowering, found)
    states = _states(lowering, found)
    inner = _input_product(lowering, found, of_x)
    peepholes = _constant(lowering, node, 7) if node.op_type == "LSTM" else None
    lowering.emit(
        "recurrent",
        {"x": inner, **states},
        _results(lowering, found),
        cell=node.op_type.lower(),
        **_state_weights(found.r),
        reset_bias=reset_bias,
        peepholes=peepholes,
        input_forget=node.op_type == "LSTM" and bool(node.attributes.get("input_forget", 0)),
        clip=float(node.attributes.get("clip", 0.0)) or float("inf"),
        batch_first=found.is_batch_first,
        is_turned=_direction(node) == "reverse",
        **functions,
    )


def _checked(lowering: Lowering, node: Node) -> _Recurrent:
    x, w, r = (lowering.input(node, position) for position in range(3))
    if not all(value.is_float for value in (x, w, r)):
        raise Declined("its inputs are not float32")
    if not (w.is_constant and r.is_constant):
        raise Declined("its weights are known only at run time")
    if x.rank != 3 or w.rank != 3 or r.rank != 3:
        raise Declined("its inputs have not three dimensions")
    is_batch_first = bool(node.attributes.get("layout", 0))
    batch, steps = x.shape[:2] if is_batch_first else x.shape[1::-1]
    directions, hidden = r.shape[0], r.shape[2]
    found = _Recurrent(node, x, w, r, steps, batch, x.shape[2], directions, hidden)
    wide = found.gates * hidden
    if w.shape != (directions, wide, found.inputs) or r.shape != (directions, wide, hidden):
        raise Declined("its weights do not fit its input")
    if directions != (2 if _direction(node) == "bidirectional" else 1):
        raise Declined("its weights are not those of its directions")
    return found


def _input_product(lowering: Lowering, found: _Recurrent, bias: Array) -> Tensor:
    """x W^T + bias of all time steps and directions; of digits where the file has int8 weights."""
    x = lowering.form(found.x, Layout.PLAIN)
    rows, wide = found.steps * found.batch, found.directions * found.gates * found.hidden
    y = new_tensor(np.float32, (*x.shape[:2], found.directions, wide // found.directions))
    given = _coded(found.w)
    if given is None:
        weights = partial(_input_weights, partial(_floats, found.w))
        reads: dict[str, Tensor | None] = {"x": as_row(x)}
        lowering.emit("conv_f32", reads, {"y": y.view((1, 1, rows, wide))},
                      weights=weights, bias=bias)  # fmt: skip
        return y
    codes, units = new_tensor(np.uint8, (2 * rows, found.inputs)), new_tensor(np.float32, (rows,))
    sums = new_tensor(np.int32, (2 * rows, wide))
    of_x: dict[str, Tensor | None] = {"x": x.view((rows, found.inputs))}
    lowering.emit("digits", of_x, {"y": codes, "units": units})
    lowering.emit("conv", {"x": as_row(codes)}, {"y": as_row(sums)}, x_zero_point=128,
                  weights=partial(_input_weights, given.codes.array))  # fmt: skip
    scale = np.broadcast_to(given.scale, found.w.shape[:2]).ravel()
    lowering.emit("joined_digits", {"x": sums, "units": units}, {"y": y.view((rows, wide))},
                  scale=scale, bias=bias)  # fmt: skip
    return y


def _text(value: "str | bytes") -> str:
    return value.decode() if isinstance(value, bytes) else value


def _direction(node: Node) -> str:
    return _text(node.attributes.get("direction", "forward"))


def _functions(node: Node, directions: int) -> dict[str, Any]:
    """Operators of C for the activations of all directions. Raises Declined for others."""
    default = _DEFAULTS[node.op_type] * directions
    names = [_text(name).lower() for name in node.attributes.get("activations") or default]
    if len(names) != len(default) or not all(name in _FUNCTIONS for name in names):
        raise Declined(f"its activations {', '.join(names)} have no C kernel")
    given = {key: iter(node.attributes.get(f"activation_{key}") or []) for key in ("alpha", "beta")}
    operators, alphas, betas = list[str](), list[float](), list[float]()
    for name in names:
        operator, alpha, beta, count = _FUNCTIONS[name]
        operators.append(operator)
        alphas.append(float(next(given["alpha"], alpha)) if count > 0 else alpha)
        betas.append(float(next(given["beta"], beta)) if count > 1 else beta)
    return {"functions": operators, "alpha": alphas, "beta": betas}


def _constant(lowering: Lowering, node: Node, position: int) -> Array | None:
    """An optional constant input as float32. Raises Declined if only the run will tell."""
    value = lowering.optional(node, position)
    if value is None:
        return None
    if not value.is_constant or not value.is_float:
        raise Declined(f"'{value.name}' is known only at run time")
    return value.fact.array()


def _biases(lowering: Lowering, found: _Recurrent) -> tuple[Array, Array | None]:
    """What is added to x W^T, of all directions, and what stays behind the product of a GRU."""
    wide, hidden = found.gates * found.hidden, found.hidden
    given = _constant(lowering, found.node, 3)
    both = np.zeros((found.directions, 2 * wide), np.float32) if given is None else given
    if both.shape != (found.directions, 2 * wide):
        raise Declined("its bias does not fit its weights")
    total = both[:, :wide] + both[:, wide:]
    if not found.resets_late:
        return total.ravel(), None
    total[:, 2 * hidden :] = both[:, 2 * hidden : wide]
    return total.ravel(), both[:, wide + 2 * hidden :]


def _states(lowering: Lowering, found: _Recurrent) -> dict[str, Tensor | None]:
    """Lengths and initial states where the node has them."""
    node, tensors = found.node, dict[str, Tensor | None]()
    batch, directions = found.batch, found.directions
    outer = (batch, directions) if found.is_batch_first else (directions, batch)
    wanted = {"initial_h": (5, (*outer, found.hidden)), "lengths": (4, (batch,))}
    if node.op_type == "LSTM":
        wanted["initial_c"] = (6, (*outer, found.hidden))
    for key, (position, shape) in wanted.items():
        value = lowering.optional(node, position)
        if value is None:
            continue
        dtype = np.int32 if key == "lengths" else np.float32
        if value.dtype != dtype or value.shape != shape:
            raise Declined(f"'{value.name}' does not fit its input")
        tensors[key] = lowering.form(value, Layout.PLAIN)
    return tensors


def _results(lowering: Lowering, found: _Recurrent) -> dict[str, Tensor]:
    """The outputs that the node has; where it has none at all, there is nothing to compute."""
    keys = ("y", "y_h", "y_c")
    return {
        key: lowering.new_form(lowering.value(name), Layout.PLAIN)
        for key, name in zip(keys, found.node.outputs, strict=False)
        if name
    }


def _coded(weights: Value) -> QuantizedConstant | None:
    """The weights as their file has them, if that is int8 with scales per channel, else None."""
    given = weights.quantized
    if given is None or given.codes.dtype != np.int8 or given.zero_point.any():
        return None
    return given if given.axis in (None, 1) else None


def _state_weights(r: Value) -> dict[str, Any]:
    """R as the step takes it."""
    given = _coded(r)
    if given is None:
        return {"weights": partial(_floats, r)}
    scales = np.ascontiguousarray(np.broadcast_to(given.scale, r.shape[:2]))
    return {"weights": given.codes.array, "scales": scales}


def _floats(value: Value) -> Array:
    return np.asarray(value.fact.array(), np.float32)


def _input_weights(read: Callable[[], Array]) -> Array:
    """W as C takes weights of a product: [outputs, 1, 1, inputs]."""
    array = read()
    return array.reshape(-1, 1, 1, array.shape[-1])


LOWERINGS: dict[str, LoweringFunction] = dict.fromkeys(_GATES, lower_recurrent)
