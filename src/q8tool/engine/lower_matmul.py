"""Gemm and MatMul: against constant weights a convolution of one row, else a product of tensors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.affine import following_affine, scaled
from q8tool.engine.epilogue import find_epilogue, find_residual
from q8tool.engine.facts import Fact
from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction, constant_tensor
from q8tool.engine.products import (
    UNFIT_BIAS,
    LateCodes,
    bias_codes,
    code_weights,
    emit_code_product,
    fits_codes,
    has_code_bias,
    rounded_bias,
)
from q8tool.engine.strided import broadcast_form, expanded
from q8tool.engine.tensors import Layout, Tensor, new_tensor
from q8tool.engine.values import Declined, Value

__all__ = ["LOWERINGS", "as_row", "batches", "repeated"]

Array = NDArray[Any]


@dataclass(eq=False)
class _Product:
    """x (..., K) times constant weights (K, N) or, transposed, (N, K)."""

    node: Node
    x: Value
    w: Value
    bias: Value | None
    is_transposed: bool
    alpha: float = 1.0

    def arranged(self, array: Array) -> Array:
        """Weights as C takes them: [N, 1, 1, K], or (K, N) as they are."""
        return array[:, None, None, :] if self.is_transposed else array

    def late_codes(self, codes: Fact) -> LateCodes:
        """The weights' codes, arranged when they are read."""
        shape = self.w.shape if self.is_transposed else self.w.shape[::-1]
        assert codes.dtype is not None
        return LateCodes(
            (shape[0], 1, 1, shape[1]), codes.dtype, lambda: self.arranged(codes.array())
        )

    def float_weights(self, factor: Array | None) -> Array:
        """The constant weights times alpha and a factor per output."""
        array = np.asarray(self.arranged(self.w.fact.array()), np.float32)
        if factor is not None:
            array = scaled(array, factor) if self.is_transposed else array * factor.reshape(1, -1)
        return array if self.alpha == 1.0 else array * np.float32(self.alpha)


def lower_gemm(lowering: Lowering, node: Node) -> None:
    """alpha * A @ B + beta * C; one step where B is constant and C a constant row."""
    x, w, bias = lowering.input(node, 0), lowering.input(node, 1), lowering.optional(node, 2)
    is_plain = w.is_constant and not node.attributes.get("transA", 0)
    if not is_plain or not (bias is None or bias.is_constant):
        _lower_gemm_of_tensors(lowering, node, x, w, bias)
        return
    is_transposed = bool(node.attributes.get("transB", 0))
    outputs = w.shape[0 if is_transposed else 1]
    if bias is not None and (
        np.prod(bias.shape) not in (1, outputs)
        or (bias.rank and bias.shape[-1] not in (1, outputs))
        or float(node.attributes.get("beta", 1.0)) != 1.0
    ):
        _lower_gemm_of_tensors(lowering, node, x, w, bias)
        return
    alpha = float(node.attributes.get("alpha", 1.0))
    _lower_product(lowering, _Product(node, x, w, bias, is_transposed, alpha))


def _lower_gemm_of_tensors(
    lowering: Lowering, node: Node, a: Value, b: Value, c: Value | None
) -> None:
    """Float, term by term."""
    y = lowering.output(node)
    if not (a.is_float and b.is_float and (c is None or c.is_float)):
        raise Declined("its inputs are not float32")
    operands = []
    for value, key in ((a, "transA"), (b, "transB")):
        tensor = lowering.form(value, Layout.PLAIN)
        turned = lowering.transposed(tensor, [1, 0]) if node.attributes.get(key, 0) else tensor
        operands.append(turned.view((1, *turned.shape)))
    factors = [float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta")]
    terms = [new_tensor(np.float32, y.shape)]
    reads: dict[str, Tensor | None] = {"a": operands[0], "b": operands[1]}
    lowering.emit("matmul_f32", reads, {"y": terms[0].view((1, *y.shape))})
    if c is not None:
        terms.append(broadcast_form(lowering, c, y.rank, Layout.PLAIN))
    for position, (term, factor) in enumerate(zip(terms, factors, strict=False)):
        if factor != 1.0:
            terms[position] = new_tensor(np.float32, term.shape)
            number = constant_tensor(np.full([1] * len(term.shape), factor, np.float32))
            scaled_by: dict[str, Tensor | None] = {"a": term, "b": number}
            lowering.emit("binary_f32", scaled_by, {"y": terms[position]}, op="mul")
    if c is None:
        y.forms[Layout.PLAIN] = terms[0]
        return
    total = lowering.new_form(y, Layout.PLAIN)
    lowering.emit("binary_f32", {"a": terms[0], "b": terms[1]}, {"y": total}, op="add")


def lower_matmul(lowering: Lowering, node: Node) -> None:
    """A @ B; a constant matrix B becomes weights."""
    a, b = lowering.input(node, 0), lowering.input(node, 1)
    if b.is_constant and b.rank == 2:
        _lower_product(lowering, _Product(node, a, b, None, is_transposed=False))
        return
    from q8tool.engine.lower_attention import begins_attention

    if not begins_attention(lowering, node):
        _lower_product_of_tensors(lowering, node, a, b)


def as_row(tensor: Tensor) -> Tensor:
    """(..., K) as one row of pixels [1, 1, rows, K]."""
    return tensor.view((1, 1, int(np.prod(tensor.shape[:-1])), tensor.shape[-1]))


def _lower_product(lowering: Lowering, product: _Product) -> None:
    if not product.x.is_float or product.x.rank < 1:
        raise Declined("its input is not float32")
    constant = product.w.quantized
    codes = lowering.affine_codes(product.x)
    is_eightbit = constant is not None and constant.codes.dtype in (np.int8, np.uint8)
    if is_eightbit and codes is not None and product.alpha == 1.0:
        assert constant is not None
        if constant.axis not in (None, 0 if product.is_transposed else 1):
            lowering.explain("the scales of its weights are not per output channel")
        elif not has_code_bias(product.bias, codes.grid.scale, constant.scale):
            lowering.explain(UNFIT_BIAS)
        else:
            _lower_codes(lowering, product)
            return
    elif codes is not None:
        lowering.explain("its weights are not eight-bit codes")
    elif is_eightbit:
        lowering.explain("its input is float")
    _lower_float(lowering, product)


def _lower_codes(lowering: Lowering, product: _Product) -> None:
    """Codes times int8 weights; an Add of a constant row becomes the bias."""
    codes, constant = lowering.affine_codes(product.x), product.w.quantized
    assert codes is not None
    assert constant is not None
    late = product.late_codes(constant.codes)
    weights = code_weights(late, constant.scale, constant.zero_point)
    name = product.node.outputs[0]
    if product.bias is None:
        affine = following_affine(lowering, name, late.shape[0], -1, scales=False)
        scale, bias, nodes = np.float32(codes.grid.scale) * weights.scale, None, list[Node]()
        if affine.nodes and fits_codes(affine.offset, codes.grid.scale, weights.scale):
            bias = rounded_bias(affine.offset, scale)
            name, nodes = affine.name, affine.nodes
    else:
        bias, nodes = bias_codes(product.bias, codes.grid.scale, weights.scale), []
    epilogue, residual = find_epilogue(lowering, name), None
    joined = find_residual(lowering, epilogue)
    if joined is not None:
        value, epilogue = joined
        residual = as_row(lowering.form(value, Layout.PLAIN))
    source = as_row(lowering.form(codes.source, Layout.PLAIN))
    lowering.absorb(nodes)
    y = as_row(epilogue.result(Layout.PLAIN))
    emit_code_product(lowering, source, codes.grid, weights, bias, epilogue, y, residual)


def _lower_float(lowering: Lowering, product: _Product) -> None:
    """Float weights, with constant rows that follow folded into them."""
    name = product.node.outputs[0]
    channels = product.w.shape[0 if product.is_transposed else 1]
    affine = following_affine(lowering, name, channels, -1, scales=True)
    offset = affine.offset
    if product.bias is not None:
        bias = product.bias.fact.array().ravel()
        offset = offset + (bias if affine.factor is None else bias * affine.factor)
    epilogue = find_epilogue(lowering, affine.name, codes=False)
    source = as_row(lowering.form(product.x, Layout.PLAIN))
    lowering.absorb(affine.nodes)
    y = as_row(epilogue.result(Layout.PLAIN))
    lowering.emit(
        "conv_f32",
        {"x": source},
        {"y": y},
        weights=lambda: product.float_weights(affine.factor),
        bias=np.asarray(offset, np.float32),
        low=epilogue.low,
        high=epilogue.high,
    )


def batches(a: Value, b: Value) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Shapes [B, M, K], [B or 1, K, N] of a @ b, and the batch dimensions to expand both to.

    A matrix b serves all of a's batches at once. A vector a is a row, a vector b a column.
    """
    a_shape = a.shape if a.rank > 1 else (1, *a.shape)
    b_shape = b.shape if b.rank > 1 else (*b.shape, 1)
    m, k, n = a_shape[-2], a_shape[-1], b_shape[-1]
    if np.prod(b_shape[:-2]) == 1 and len(b_shape) <= len(a_shape):
        rows = int(np.prod(a_shape[:-1]))
        return (1, rows, k), (1, k, n), ()
    batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    count = int(np.prod(batch))
    return (count, m, k), (count, k, n), batch


def repeated(lowering: Lowering, x: Tensor, batch: tuple[int, ...]) -> Tensor:
    """x, a vector as a row, with leading dimensions repeated to `batch` if there is one."""
    if len(x.shape) == 1:
        x = x.view((1, *x.shape))
    return expanded(lowering, x, (*batch, *x.shape[-2:])) if batch else x


def _lower_product_of_tensors(lowering: Lowering, node: Node, a: Value, b: Value) -> None:
    if not (a.is_float and b.is_float):
        raise Declined("its inputs are not float32")
    a_shape, b_shape, batch = batches(a, b)
    a_codes, b_codes = lowering.affine_codes(a), lowering.affine_codes(b)
    are_codes = a_codes is not None and b_codes is not None
    first = lowering.form(a_codes.source if are_codes and a_codes else a, Layout.PLAIN)
    second = lowering.form(b_codes.source if are_codes and b_codes else b, Layout.PLAIN)
    reads: dict[str, Tensor | None] = {
        "a": repeated(lowering, first, batch).view(a_shape),
        "b": repeated(lowering, second, batch).view(b_shape),
    }
    y_shape = (*a_shape[:2], b_shape[2])
    if a_codes is None or b_codes is None:
        if a_codes is not None or b_codes is not None:
            lowering.explain("one of its inputs is float")
        y = lowering.new_form(lowering.output(node), Layout.PLAIN)
        lowering.emit("matmul_f32", reads, {"y": y.view(y_shape)})
        return
    epilogue = find_epilogue(lowering, node.outputs[0])
    if epilogue.params is None:
        epilogue = find_epilogue(lowering, node.outputs[0], clamps=False)
    y = epilogue.result(Layout.PLAIN)
    scale = np.float32(a_codes.grid.scale) * np.float32(b_codes.grid.scale)
    arguments: dict[str, Any] = {"multiplier": float(scale)}
    if epilogue.params is not None:
        low, high = epilogue.code_bounds()
        arguments = {
            "multiplier": float(scale / np.float32(epilogue.params.scale)),
            "y_zero_point": epilogue.params.zero_point,
            "y_low": low,
            "y_high": high,
        }
    zero_points = {"a_zero_point": a_codes.grid.zero_point, "b_zero_point": b_codes.grid.zero_point}
    lowering.emit("matmul", reads, {"y": y.view(y_shape)}, **zero_points, **arguments)


LOWERINGS: dict[str, LoweringFunction] = {"Gemm": lower_gemm, "MatMul": lower_matmul}
