"""Functions of one element and of two: tables on codes, else eight-bit or float steps.

A function of a value that exists as codes costs nothing here: its table is computed by the host's
own operator on the 256 values that the codes stand for, and QuantizeLinear makes one step of it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.affine import batch_norm_affine
from q8tool.engine.epilogue import Epilogue, clamp_bounds, find_epilogue
from q8tool.engine.evaluation import evaluated
from q8tool.engine.finishing import finished_by_producer
from q8tool.engine.graph import Node
from q8tool.engine.known_functions import known_function
from q8tool.engine.lower_arithmetic import lower_arithmetic, lower_sign_arithmetic
from q8tool.engine.lowering import (
    Lowering,
    LoweringFunction,
    constant_tensor,
    number_beside,
    scalar,
)
from q8tool.engine.strided import broadcast_form
from q8tool.engine.tensors import Layout, Tensor, new_tensor, physical_axis, physical_shape
from q8tool.engine.values import Codes, Declined, Value

__all__ = ["LOWERINGS"]


class _Unary(NamedTuple):
    """A function that C has: its name and the attributes (with defaults) of its parameters."""

    op: str
    alpha: tuple[str, float] | None = None
    beta: tuple[str, float] | None = None

    def parameters(self, node: Node) -> tuple[float, float]:
        """alpha and beta of this node."""
        values = [
            0.0 if given is None else float(node.attributes.get(*given) or 0.0)
            for given in (self.alpha, self.beta)
        ]
        return values[0], values[1]


_UNARY = {
    "Sigmoid": _Unary("sigmoid"),
    "Tanh": _Unary("tanh"),
    "Exp": _Unary("exp"),
    "Log": _Unary("log"),
    "Sqrt": _Unary("sqrt"),
    "Neg": _Unary("neg"),
    "Abs": _Unary("abs"),
    "Erf": _Unary("erf"),
    "Reciprocal": _Unary("reciprocal"),
    "LeakyRelu": _Unary("leaky_relu", ("alpha", 0.01)),
    "Elu": _Unary("elu", ("alpha", 1.0)),
    "HardSigmoid": _Unary("hard_sigmoid", ("alpha", 0.2), ("beta", 0.5)),
    "HardSwish": _Unary("hard_swish"),
    "Softplus": _Unary("softplus"),
    "Floor": _Unary("floor"),
    "Ceil": _Unary("ceil"),
    "Round": _Unary("round"),
    "Sin": _Unary("sin"),
    "Cos": _Unary("cos"),
}
_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "Min": "min",
    "Max": "max", "Sum": "add", "Mean": "add",
}  # fmt: skip


# ---- one element ----


def lower_unary(lowering: Lowering, node: Node) -> None:
    """A table where the input is codes, else one float step."""
    if not lowering.input(node, 0).is_float:
        lower_sign_arithmetic(lowering, node)
        return
    parameters = _clamp if node.op_type in ("Relu", "Clip") else _function
    parameters(lowering, node)
    if _made_table(lowering, node, _emit_unary):
        return
    product = lowering.sole_consumer(lowering.output(node).name)
    if product is not None and _gate_of(lowering, product) is not None:
        lowering.defer(node, _emit_unary)
    else:
        _emit_unary(lowering, node)


def _emit_unary(lowering: Lowering, node: Node) -> None:
    parameters = _clamp if node.op_type in ("Relu", "Clip") else _function
    op, alpha, beta = parameters(lowering, node)
    _emit_function(lowering, lowering.input(node, 0), lowering.output(node), op, alpha, beta)


def _emit_function(
    lowering: Lowering, x: Value, y: Value, op: str, alpha: float = 0.0, beta: float = 0.0
) -> None:
    if finished_by_producer(lowering, x, y, op=op, alpha=alpha, beta=beta):
        return
    layout = lowering.layout_of(x)
    source = lowering.form(x, layout)
    target = lowering.new_form(y, layout)
    lowering.emit("unary_f32", {"x": source}, {"y": target}, op=op, alpha=alpha, beta=beta)


def _gate_of(lowering: Lowering, product: Node) -> tuple[Node, Value, str] | None:
    """x * Sigmoid(x) or x * HardSigmoid(x), which C has as one function: the gate, x, the name.

    None for other nodes, and where others read the gate as well.
    """
    if product.op_type != "Mul" or product.domain or len(product.inputs) != 2:
        return None
    for name, other in (product.inputs, product.inputs[::-1]):
        gate = lowering.producers.get(name)
        if gate is None or gate.domain or gate.input(0) != other or name == other:
            continue
        if lowering.sole_consumer(name) is not product:
            continue
        if gate.op_type == "Sigmoid":
            return gate, lowering.value(other), "silu"
        if gate.op_type == "HardSigmoid":
            alpha, beta = _UNARY["HardSigmoid"].parameters(gate)
            if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
                return gate, lowering.value(other), "hard_swish"
    return None


def _clamp(lowering: Lowering, node: Node) -> tuple[str, float, float]:
    bounds = clamp_bounds(lowering, node)
    if bounds is None:
        raise Declined("its bounds are known only at run time")
    return "clamp", *bounds


def _function(lowering: Lowering, node: Node) -> tuple[str, float, float]:
    if node.op_type == "Gelu":
        is_tanh = node.attributes.get("approximate", "none") == "tanh"
        return ("gelu_tanh" if is_tanh else "gelu"), 0.0, 0.0
    if node.op_type == "Swish":
        if node.attributes.get("alpha", 1.0) != 1.0:
            raise Declined("an alpha other than 1 has no C kernel")
        return "silu", 0.0, 0.0
    unary = _UNARY[node.op_type]
    return unary.op, *unary.parameters(node)


def _made_table(lowering: Lowering, node: Node, emit: LoweringFunction) -> bool:
    """True if the node is a function of one tensor of codes, whose table it becomes.

    emit  its float steps, should somebody want its result in float
    """
    tables: list[NDArray[Any]] = []
    codes: Codes | None = None
    shape = lowering.output(node).shape
    for name in node.reads:
        value = lowering.value(name)
        constant = scalar(value)
        if constant is not None:
            tables.append(value.fact.array().reshape(()))
        elif (
            value.codes is None
            or value.is_constant
            or value.shape != shape
            or (codes is not None and codes.source is not value.codes.source)
        ):
            return False
        else:
            codes = value.codes
            tables.append(codes.table)
    if codes is None:
        return False
    table = np.asarray(evaluated(node, tables, lowering.graph.opsets)[0], np.float32)
    lowering.output(node).codes = Codes(codes.source, codes.grid, table)
    lowering.defer(node, _deferred(emit))
    return True


def _deferred(emit: LoweringFunction) -> LoweringFunction:
    def lower(lowering: Lowering, node: Node) -> None:
        lowering.explain("its result is used as float")
        emit(lowering, node)

    return lower


# ---- one element, in several steps ----


def lower_composed(lowering: Lowering, node: Node) -> None:
    """A function that C has in parts: a table where the input is codes, else step by step."""
    if not lowering.input(node, 0).is_float:
        raise Declined("its input is not float32")
    if not _made_table(lowering, node, _emit_composed):
        _emit_composed(lowering, node)


def _emit_composed(lowering: Lowering, node: Node) -> None:
    x = lowering.input(node, 0)
    layout = lowering.layout_of(x)
    source = lowering.form(x, layout)
    op, a, b = _COMPOSED[node.op_type](_FloatSteps(lowering), source, node)
    target = lowering.new_form(lowering.output(node), layout)
    lowering.emit("binary_f32", {"a": a, "b": b}, {"y": target}, op=op)


class _FloatSteps(NamedTuple):
    """Float steps with results of their own."""

    lowering: Lowering

    def unary(self, op: str, x: Tensor, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        y = new_tensor(np.float32, x.shape)
        self.lowering.emit("unary_f32", {"x": x}, {"y": y}, op=op, alpha=alpha, beta=beta)
        return y

    def step(self, x: Tensor, low: float) -> Tensor:
        """low for negative numbers, 0 for 0, 1 for positive ones, down to the smallest."""
        large = float(np.finfo(np.float32).max)
        huge = self.binary("mul", self.binary("mul", x, large), large)
        return self.unary("clamp", huge, low, 1.0)

    def binary(self, op: str, a: Tensor, b: float) -> Tensor:
        y = new_tensor(np.float32, a.shape)
        self.lowering.emit("binary_f32", {"a": a, "b": number_beside(a, b)}, {"y": y}, op=op)
        return y


# The last step of each, as its operator and operands.
_Step = tuple[str, Tensor, Tensor]


def _selu(steps: _FloatSteps, x: Tensor, node: Node) -> _Step:
    alpha = float(node.attributes.get("alpha", 1.67326319217681884765625))
    gamma = float(node.attributes.get("gamma", 1.05070102214813232421875))
    return "mul", steps.unary("elu", x, alpha), number_beside(x, gamma)


def _celu(steps: _FloatSteps, x: Tensor, node: Node) -> _Step:
    alpha = float(node.attributes.get("alpha", 1.0))
    return "mul", steps.unary("elu", steps.binary("div", x, alpha), 1.0), number_beside(x, alpha)


def _mish(steps: _FloatSteps, x: Tensor, node: Node) -> _Step:
    return "mul", x, steps.unary("tanh", steps.unary("softplus", x))


def _softsign(steps: _FloatSteps, x: Tensor, node: Node) -> _Step:
    return "div", x, steps.binary("add", steps.unary("abs", x), 1.0)


def _sign(steps: _FloatSteps, x: Tensor, node: Node) -> _Step:
    return "mul", steps.step(x, -1.0), number_beside(x, 1.0)


def _thresholded_relu(steps: _FloatSteps, x: Tensor, node: Node) -> _Step:
    alpha = float(node.attributes.get("alpha", 1.0))
    above = steps.binary("max", x, alpha)  # NaN, too, is not above
    excess = steps.binary("max", steps.binary("sub", x, alpha), 0.0)
    return "mul", above, steps.step(excess, 0.0)


_COMPOSED = {
    "Selu": _selu,
    "Celu": _celu,
    "Mish": _mish,
    "Softsign": _softsign,
    "Sign": _sign,
    "ThresholdedRelu": _thresholded_relu,
}


# ---- two elements ----


def lower_binary(lowering: Lowering, node: Node) -> None:
    """Add, Sub, Mul of codes where QuantizeLinear follows; everything else in float."""
    values = [lowering.input(node, position) for position in range(len(node.inputs))]
    if not all(value.is_float for value in values):
        lower_arithmetic(lowering, node, values, _BINARY[node.op_type])
        return
    if _made_table(lowering, node, _emit_chain):
        return
    if len(values) == 2 and node.op_type in ("Add", "Sub", "Mul"):
        codes = [lowering.affine_codes(value) for value in values]
        if codes[0] is not None and codes[1] is not None:
            epilogue = find_epilogue(lowering, node.outputs[0])
            if epilogue.params is not None:
                _emit_codes(lowering, node, codes[0], codes[1], epilogue)
                return
            lowering.explain("no QuantizeLinear follows")
        elif codes[0] is not None or codes[1] is not None:
            lowering.explain("one of its inputs is float")
    _emit_chain(lowering, node)


def _common_layout(lowering: Lowering, values: Sequence[Value], rank: int) -> Layout:
    """Channels last if an operand of full rank lies so."""
    return lowering.layout_of(*[value for value in values if value.rank == rank])


def _emit_codes(lowering: Lowering, node: Node, a: Codes, b: Codes, epilogue: Epilogue) -> None:
    rank = lowering.output(node).rank
    layout = _common_layout(lowering, [a.source, b.source], rank)
    reads: dict[str, Tensor | None] = {
        "a": broadcast_form(lowering, a.source, rank, layout),
        "b": broadcast_form(lowering, b.source, rank, layout),
    }
    y = epilogue.result(layout)
    assert epilogue.params is not None
    a_scale, b_scale = np.float32(a.grid.scale), np.float32(b.grid.scale)
    y_scale = np.float32(epilogue.params.scale)
    is_product = node.op_type == "Mul"
    low, high = epilogue.code_bounds()
    lowering.emit(
        "binary",
        reads,
        {"y": y},
        op=_BINARY[node.op_type],
        a_zero_point=a.grid.zero_point,
        b_zero_point=b.grid.zero_point,
        y_zero_point=epilogue.params.zero_point,
        a_multiplier=float(a_scale * b_scale / y_scale if is_product else a_scale / y_scale),
        b_multiplier=1.0 if is_product else float(b_scale / y_scale),
        y_low=low,
        y_high=high,
    )


def _emit_chain(lowering: Lowering, node: Node) -> None:
    """Float steps, one per further input."""
    known = known_function(lowering, node)
    if known is not None:
        x, op, before = known
        lowering.take_back(before)
        _emit_function(lowering, x, lowering.output(node), op)
        return
    gated = _gate_of(lowering, node)
    if gated is not None:
        gate, x, op = gated
        lowering.absorb([gate])
        _emit_function(lowering, x, lowering.output(node), op)
        return
    values = [lowering.input(node, position) for position in range(len(node.inputs))]
    y = lowering.output(node)
    layout = _common_layout(lowering, values, y.rank)
    op, operands = _BINARY[node.op_type], values
    if op == "pow" and scalar(values[1]) == 2.0:
        op, operands = "mul", [values[0], values[0]]
    tensors = [broadcast_form(lowering, value, y.rank, layout) for value in operands]
    is_mean = node.op_type == "Mean" and len(tensors) > 1
    if len(tensors) == 1:
        y.forms[layout] = tensors[0]
        return
    result = tensors[0]
    for position, other in enumerate(tensors[1:], 2):
        if position == len(tensors) and not is_mean:
            target = lowering.new_form(y, layout)
        else:
            target = new_tensor(np.float32, np.broadcast_shapes(result.shape, other.shape))
        lowering.emit("binary_f32", {"a": result, "b": other}, {"y": target}, op=op)
        result = target
    if is_mean:
        count, mean = number_beside(result, len(tensors)), lowering.new_form(y, layout)
        lowering.emit("binary_f32", {"a": result, "b": count}, {"y": mean}, op="div")


# ---- a constant per channel ----


def lower_batch_norm(lowering: Lowering, node: Node) -> None:
    """A product and a sum with constants per channel."""
    x = lowering.input(node, 0)
    affine = batch_norm_affine(lowering, node)
    if affine is None or not x.is_float:
        raise Declined("its parameters are not constant")
    layout = lowering.layout_of(x)
    dims = [1] * x.rank
    dims[physical_axis(1, x.rank, layout)] = -1
    source = lowering.form(x, layout)
    scaled = new_tensor(np.float32, source.shape)
    y = lowering.new_form(lowering.output(node), layout)
    factor, offset = (constant_tensor(values.reshape(dims)) for values in affine)
    lowering.emit("binary_f32", {"a": source, "b": factor}, {"y": scaled}, op="mul")
    lowering.emit("binary_f32", {"a": scaled, "b": offset}, {"y": y}, op="add")


def lower_prelu(lowering: Lowering, node: Node) -> None:
    """A table where the slope is one number, codes where QuantizeLinear follows, else float."""
    x, slope = lowering.input(node, 0), lowering.input(node, 1)
    if not (x.is_float and slope.is_float):
        raise Declined("its inputs are not float32")
    if _made_table(lowering, node, _emit_prelu):
        return
    codes = lowering.affine_codes(x), lowering.affine_codes(slope)
    epilogue = find_epilogue(lowering, node.outputs[0])
    if codes[0] is None or codes[1] is None or epilogue.params is None:
        _emit_prelu(lowering, node)
    else:
        _emit_prelu_codes(lowering, node, codes[0], codes[1], epilogue)


def _emit_prelu(lowering: Lowering, node: Node) -> None:
    """max(x, 0) + slope * min(x, 0)."""
    x, slope, y = lowering.input(node, 0), lowering.input(node, 1), lowering.output(node)
    layout = lowering.layout_of(x)
    source = lowering.form(x, layout)
    slopes = broadcast_form(lowering, slope, x.rank, layout)
    dims = physical_shape(y.shape, layout)
    above, below, scaled = (new_tensor(np.float32, dims) for _ in range(3))
    clamp = partial(lowering.emit, "unary_f32", {"x": source}, op="clamp")
    clamp({"y": above}, alpha=0.0, beta=np.inf)
    clamp({"y": below}, alpha=-np.inf, beta=0.0)
    lowering.emit("binary_f32", {"a": below, "b": slopes}, {"y": scaled}, op="mul")
    target = lowering.new_form(y, layout)
    lowering.emit("binary_f32", {"a": above, "b": scaled}, {"y": target}, op="add")


def _emit_prelu_codes(
    lowering: Lowering, node: Node, x: Codes, slope: Codes, epilogue: Epilogue
) -> None:
    """The same in codes; of the two terms one is 0, so that only one is ever rounded."""
    assert epilogue.params is not None
    rank, params = lowering.output(node).rank, epilogue.params
    layout = _common_layout(lowering, [x.source], rank)
    source = broadcast_form(lowering, x.source, rank, layout)
    slopes = broadcast_form(lowering, slope.source, rank, layout)
    every = np.arange(256)
    positive = params.codes(np.maximum(x.table, np.float32(0))).astype(np.uint8)
    negative = np.minimum(every, x.grid.zero_point).astype(np.uint8)
    above, below, scaled = (new_tensor(np.uint8, source.shape) for _ in range(3))
    lowering.emit("table", {"x": source}, {"y": above}, table=positive)
    lowering.emit("table", {"x": source}, {"y": below}, table=negative)
    factor = np.float32(x.grid.scale) * np.float32(slope.grid.scale) / np.float32(params.scale)
    lowering.emit(
        "binary", {"a": below, "b": slopes}, {"y": scaled}, op="mul",
        a_zero_point=x.grid.zero_point, b_zero_point=slope.grid.zero_point,
        y_zero_point=params.zero_point, a_multiplier=float(factor),
    )  # fmt: skip
    low, high = epilogue.code_bounds()
    zero = params.zero_point
    lowering.emit(
        "binary", {"a": above, "b": scaled}, {"y": epilogue.result(layout)}, op="add",
        a_zero_point=zero, b_zero_point=zero, y_zero_point=zero, a_multiplier=1.0,
        y_low=low, y_high=high,
    )  # fmt: skip


LOWERINGS: dict[str, LoweringFunction] = {
    **dict.fromkeys([*_UNARY, "Relu", "Clip", "Gelu", "Swish"], lower_unary),
    **dict.fromkeys(_COMPOSED, lower_composed),
    **dict.fromkeys(_BINARY, lower_binary),
    "BatchNormalization": lower_batch_norm,
    "PRelu": lower_prelu,
}
