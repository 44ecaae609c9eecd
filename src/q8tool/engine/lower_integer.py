"""Operators on codes themselves: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger.

    DynamicQuantizeLinear -> ConvInteger -> Cast -> Mul(x_scale * w_scale) -> Add -> Relu

becomes one step that reads scale and zero point at run time and writes floats, or the codes of a
QuantizeLinear that follows.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.affine import following_affine
from q8tool.engine.epilogue import Epilogue, find_epilogue, find_residual
from q8tool.engine.graph import Node
from q8tool.engine.lower_conv import channels_last_weights, conv_picture
from q8tool.engine.lower_matmul import as_row, batches, repeated
from q8tool.engine.lowering import Lowering, LoweringFunction, scalar
from q8tool.engine.products import CodeWeights, LateCodes, code_weights, emit_code_product
from q8tool.engine.tensors import Layout, Tensor
from q8tool.engine.values import CodeParams, Declined, Value
from q8tool.engine.windows import as_picture

__all__ = ["LOWERINGS"]


# ---- static: QLinearConv, QLinearMatMul ----


def lower_qlinear_conv(lowering: Lowering, node: Node) -> None:
    """Everything but x is constant: one step from codes to codes."""
    x, w, y = lowering.input(node, 0), lowering.input(node, 3), lowering.output(node)
    x_params, y_params = _params(lowering, node, 1), _params(lowering, node, 6)
    bias = lowering.optional(node, 8)
    if bias is not None and not bias.is_constant:
        raise Declined("its bias is not constant")
    weights = _constant_weights(lowering, node, w, channels_last_weights(_array(w)), 4)
    groups = int(node.attributes.get("group", 1))
    window, picture = conv_picture(lowering, node, x.shape, w.shape[2:], groups)
    source = picture(lowering.form(x, Layout.CHANNELS_LAST), np.uint8(x_params.zero_point))
    target = as_picture(lowering.new_form(y, Layout.CHANNELS_LAST))
    emit_code_product(
        lowering,
        source,
        x_params,
        weights,
        None if bias is None else bias.fact.array().astype(np.int32),
        Epilogue(lowering, [], y, -np.inf, np.inf, y_params),
        target,
        stride=window.stride,
        pad=window.pads[:2],
        dilation=window.dilation,
        groups=groups,
    )


def lower_qlinear_matmul(lowering: Lowering, node: Node) -> None:
    """With a constant matrix a row of products, else a product of two tensors."""
    a, b, y = lowering.input(node, 0), lowering.input(node, 3), lowering.output(node)
    a_params, y_params = _params(lowering, node, 1), _params(lowering, node, 6)
    if b.is_constant and b.rank == 2:
        columns = np.ascontiguousarray(_array(b).T[:, None, None, :])
        weights = _constant_weights(lowering, node, b, columns, 4)
        source = as_row(lowering.form(a, Layout.PLAIN))
        target = as_row(lowering.new_form(y, Layout.PLAIN))
        epilogue = Epilogue(lowering, [], y, -np.inf, np.inf, y_params)
        emit_code_product(lowering, source, a_params, weights, None, epilogue, target)
        return
    b_params = _params(lowering, node, 4)
    scale = np.float32(a_params.scale) * np.float32(b_params.scale) / np.float32(y_params.scale)
    _emit_matmul(
        lowering,
        a,
        b,
        y,
        a_zero_point=a_params.zero_point,
        b_zero_point=b_params.zero_point,
        multiplier=float(scale),
        y_zero_point=y_params.zero_point,
    )


def _params(lowering: Lowering, node: Node, position: int) -> CodeParams:
    """Scale and zero point inputs at `position` and after it, one for the whole tensor."""
    scale, zero_point = (lowering.input(node, position + d) for d in (0, 1))
    values = scalar(scale), scalar(zero_point)
    if values[0] is None or values[1] is None:
        raise Declined("its scale or zero point is not one constant for the whole tensor")
    if not scale.is_float:
        raise Declined(f"its scale has type {scale.dtype}")
    is_signed = zero_point.dtype == np.int8
    return CodeParams(values[0], int(values[1]) + 128 * is_signed, is_signed)


def _array(value: Value) -> NDArray[Any]:
    if not value.is_constant:
        raise Declined("its weights are not constant")
    return value.fact.array()


def _constant_weights(
    lowering: Lowering, node: Node, w: Value, arranged: NDArray[Any], position: int
) -> CodeWeights:
    """Weights with the scale and zero point inputs at `position`."""
    scale, zero_point = lowering.input(node, position), lowering.input(node, position + 1)
    if not (scale.is_constant and zero_point.is_constant and scale.is_float):
        raise Declined("the scale of its weights is not constant")
    sizes = {int(np.prod(scale.shape)), int(np.prod(zero_point.shape))}
    if not sizes <= {1, len(arranged)}:
        raise Declined("the scales of its weights are not per output channel")
    return code_weights(arranged, scale.fact.array(), zero_point.fact.array())


def _emit_matmul(
    lowering: Lowering,
    a: Value,
    b: Value,
    y: Value,
    more_reads: dict[str, Tensor | None] | None = None,
    **arguments: Any,
) -> None:
    a_shape, b_shape, batch = batches(a, b)
    reads: dict[str, Tensor | None] = {
        **(more_reads or {}),
        "a": repeated(lowering, lowering.form(a, Layout.PLAIN), batch).view(a_shape),
        "b": repeated(lowering, lowering.form(b, Layout.PLAIN), batch).view(b_shape),
    }
    target = lowering.new_form(y, Layout.PLAIN).view((*a_shape[:2], b_shape[2]))
    lowering.emit("matmul", reads, {"y": target}, **arguments)


# ---- sums: ConvInteger, MatMulInteger ----


@dataclass(eq=False)
class _ZeroPoint:
    """Of codes as stored: a constant, or a tensor that the run fills."""

    constant: int = 0
    tensor: Tensor | None = None


@dataclass(eq=False)
class _Dynamic:
    """Cast -> Mul -> (Add ...) after an integer product, taken over by its step.

    scale   the run-time factor;  factor: the constant one per channel
    """

    nodes: list[Node]
    scale: Tensor
    factor: NDArray[np.float32]
    offset: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    name: str = ""


def lower_conv_integer(lowering: Lowering, node: Node) -> None:
    """int32 sums, or floats where the dynamic chain follows."""
    x, w = lowering.input(node, 0), lowering.input(node, 1)
    array = channels_last_weights(_array(w))
    groups = int(node.attributes.get("group", 1))
    window, picture = conv_picture(lowering, node, x.shape, w.shape[2:], groups)
    zero_point = _zero_point(lowering, x, lowering.optional(node, 2))
    weights = _integer_weights(lowering, array, lowering.optional(node, 3))
    empty = np.uint8(zero_point.constant) if zero_point.tensor is None else zero_point.tensor
    source = picture(lowering.form(x, Layout.CHANNELS_LAST), empty)
    arguments = {
        "stride": window.stride,
        "pad": window.pads[:2],
        "dilation": window.dilation,
        "groups": groups,
    }
    _emit_sums(lowering, node, source, zero_point, weights, Layout.CHANNELS_LAST, arguments)


def lower_matmul_integer(lowering: Lowering, node: Node) -> None:
    """int32 sums, or floats where the dynamic chain follows."""
    a, b = lowering.input(node, 0), lowering.input(node, 1)
    a_zero = _zero_point(lowering, a, lowering.optional(node, 2))
    if b.is_constant and b.rank == 2:
        weights = _integer_weights(lowering, _late_columns(b), lowering.optional(node, 3))
        source = as_row(lowering.form(a, Layout.PLAIN))
        _emit_sums(lowering, node, source, a_zero, weights, Layout.PLAIN, {})
        return
    b_zero = _zero_point(lowering, b, lowering.optional(node, 3))
    _emit_matmul(
        lowering,
        a,
        b,
        lowering.output(node),
        {"a_zero_point_tensor": a_zero.tensor, "b_zero_point_tensor": b_zero.tensor},
        a_zero_point=a_zero.constant,
        b_zero_point=b_zero.constant,
    )


def _late_columns(b: Value) -> LateCodes:
    """Constant codes (K, N), which C takes for [N, 1, 1, K]."""
    depth, columns = b.shape
    assert b.dtype is not None
    return LateCodes((columns, 1, 1, depth), b.dtype, b.fact.array)


def _zero_point(lowering: Lowering, codes: Value, given: Value | None) -> _ZeroPoint:
    """A zero point for all of `codes`, as stored."""
    is_signed = codes.dtype == np.int8
    if given is None:
        return _ZeroPoint(128 * is_signed)
    constant = scalar(given)
    if constant is not None:
        return _ZeroPoint(int(constant) + 128 * is_signed)
    if np.prod(given.shape) != 1 or given.is_constant:
        raise Declined("its input has a zero point per row")
    # Stored as the codes themselves are: int8 moved up by 128.
    return _ZeroPoint(tensor=lowering.form(given, Layout.PLAIN).view(()))


def _integer_weights(
    lowering: Lowering, array: NDArray[Any] | LateCodes, zero_point: Value | None
) -> CodeWeights:
    if zero_point is not None and not zero_point.is_constant:
        raise Declined("the zero point of its weights is not constant")
    given = None if zero_point is None else zero_point.fact.array()
    if given is not None and given.size not in (1, array.shape[0]):
        raise Declined("the zero points of its weights are not per output channel")
    return code_weights(array, np.ones(1, np.float32), given)


def _emit_sums(
    lowering: Lowering,
    node: Node,
    x: Tensor,
    zero_point: _ZeroPoint,
    weights: CodeWeights,
    layout: Layout,
    window: dict[str, Any],
) -> None:
    arguments = {
        "weights": weights.codes,
        "weight_zero_point": weights.zero_point,
        "x_zero_point": zero_point.constant,
        **window,
    }
    reads: dict[str, Tensor | None] = {"x": x, "x_zero_point_tensor": zero_point.tensor}
    picture = as_row if layout is Layout.PLAIN else as_picture
    dynamic = _find_dynamic(lowering, node, len(weights.scale))
    if dynamic is None:
        y = picture(lowering.new_form(lowering.output(node), layout))
        lowering.emit("conv", reads, {"y": y}, **arguments)
        return
    epilogue = find_epilogue(lowering, dynamic.name)
    joined = find_residual(lowering, epilogue)
    if joined is not None:
        residual, epilogue = joined
        reads["residual"] = picture(lowering.form(residual, layout))
    lowering.absorb(dynamic.nodes)
    y = picture(epilogue.result(layout))
    if epilogue.params is None:
        arguments["float_low"], arguments["float_high"] = epilogue.low, epilogue.high
    else:
        arguments["y_scale"] = epilogue.params.scale
        arguments["y_zero_point"] = epilogue.params.zero_point
        arguments["y_low"], arguments["y_high"] = epilogue.code_bounds()
    lowering.emit(
        "conv",
        {**reads, "x_scale_tensor": dynamic.scale},
        {"y": y},
        **arguments,
        multiplier=dynamic.factor,
        float_bias=dynamic.offset if dynamic.offset.any() else None,
    )


def _find_dynamic(lowering: Lowering, node: Node, channels: int) -> _Dynamic | None:
    """Cast to float32, Mul by x_scale * constants, Adds of constants; None if that is not there."""
    cast = lowering.sole_consumer(node.outputs[0])
    if cast is None or cast.op_type != "Cast" or not lowering.output(cast).is_float:
        return None
    product = lowering.sole_consumer(cast.outputs[0])
    if product is None or product.op_type != "Mul" or product.domain:
        return None
    other = product.inputs[1] if product.inputs[0] == cast.outputs[0] else product.inputs[0]
    axis = 1 if node.op_type == "ConvInteger" else -1
    rank = lowering.output(node).rank
    scale = _run_time_scale(lowering, other, rank, channels, axis)
    if scale is None or lowering.output(product).shape != lowering.output(node).shape:
        return None
    affine = following_affine(lowering, product.outputs[0], channels, axis, scales=False)
    nodes = [cast, product, *affine.nodes]
    # Floats are added one after the other; only one addition can be the step's bias.
    if len(affine.nodes) > 1:
        nodes, affine.name = nodes[:2], product.outputs[0]
        affine.offset = np.zeros(channels, np.float32)
    return _Dynamic(nodes, scale[0], scale[1], affine.offset, affine.name)


def _run_time_scale(
    lowering: Lowering, name: str, rank: int, channels: int, axis: int
) -> tuple[Tensor, NDArray[np.float32]] | None:
    """A scalar that the run fills, times constants per channel; None if it is something else."""
    value = lowering.value(name)
    if value.is_constant or not value.is_float:
        return None
    if np.prod(value.shape) == 1 and value.forms and lowering.producers[name].op_type != "Mul":
        ones = np.ones(channels, np.float32)
        return lowering.form(value, Layout.PLAIN).view(()), ones
    node = lowering.producers.get(name)
    if node is None or node.op_type != "Mul" or node.domain:
        return None
    values = [lowering.value(item) for item in node.inputs]
    constants = [item for item in values if item.is_constant]
    scalars = [item for item in values if not item.is_constant and np.prod(item.shape) == 1]
    if len(constants) != 1 or len(scalars) != 1 or not scalars[0].is_float:
        return None
    array = constants[0].fact.array()
    shape = (1,) * (rank - array.ndim) + array.shape
    if len(shape) != rank or any(n != 1 for d, n in enumerate(shape) if d != axis % rank):
        return None
    factor = np.array(np.broadcast_to(array.ravel(), (channels,)), np.float32)
    return lowering.form(scalars[0], Layout.PLAIN).view(()), factor


LOWERINGS: dict[str, LoweringFunction] = {
    "QLinearConv": lower_qlinear_conv,
    "QLinearMatMul": lower_qlinear_matmul,
    "ConvInteger": lower_conv_integer,
    "MatMulInteger": lower_matmul_integer,
}
