"""com.microsoft's integer products with float results; packed_weights has those of fewer bits.

Semantics as onnxruntime's ContribOperators.md has them; what it quantizes at run time is
DynamicQuantizeLinear here, too.
"""

import numpy as np
import onnx_ir as ir

from q8tool.model.foreign_nodes import Coded, Replace, Replacement, padded_inputs
from q8tool.model.graph import constant

__all__ = ["REPLACE", "float_product"]

_FLOAT = int(ir.DataType.FLOAT)


def _dynamic_product(new: Replacement, node: ir.Node) -> Coded:
    """A in float, codes B with scale and perhaps zero point, perhaps a bias."""
    a, b, b_scale, b_zero, bias = padded_inputs(node, 5)
    codes, a_scale, a_zero = new.add("DynamicQuantizeLinear", [a], None, 3)
    return float_product(new, codes, b, (a_scale, b_scale), (a_zero, b_zero), bias)


def _product_to_float(new: Replacement, node: ir.Node) -> Coded:
    """Codes A and B, their scales, perhaps their zero points, perhaps a bias."""
    a, b, a_scale, b_scale, a_zero, b_zero, bias = padded_inputs(node, 7)
    return float_product(new, a, b, (a_scale, b_scale), (a_zero, b_zero), bias)


def float_product(
    new: Replacement, a: ir.Value | None, b: ir.Value | None, scales: Coded, zeros: Coded,
    bias: ir.Value | None,
) -> Coded:  # fmt: skip
    """Float32 of the integer sums of codes A and B, times both scales, plus the bias.

    scales, zeros  those of A and of B; a zero point or the bias may be left out
    """
    sums = new.one("MatMulInteger", a, b, *zeros)
    result = new.one("Mul", new.one("Cast", sums, to=_FLOAT), new.one("Mul", *scales))
    return [result if bias is None else new.one("Add", result, bias)]


def _lstm(new: Replacement, node: ir.Node) -> Coded | None:
    """DynamicQuantizeLSTM: weights are codes, (directions, inputs, 4 * hidden).

    onnxruntime quantizes what it multiplies them with at run time; here that stays float.
    """
    inputs = padded_inputs(node, 12)
    weights = [
        _lstm_weights(new, inputs[position], inputs[parameters : parameters + 2])
        for position, parameters in ((1, 8), (2, 10))
    ]
    if any(value is None for value in weights):
        return None
    reads = [inputs[0], *weights, *inputs[3:8]]
    return new.add("LSTM", reads, node.attributes, len(node.outputs))


def _lstm_weights(new: Replacement, value: ir.Value | None, parameters: Coded) -> ir.Value | None:
    """As LSTM takes them: float, (directions, 4 * hidden, inputs)."""
    codes, scale, zero = (constant(v) for v in (value, *parameters))
    if codes is None or scale is None or zero is None or codes.ndim != 3:
        return None
    dims = (len(codes), 1, -1)
    sizes = (len(codes), len(codes) * codes.shape[-1])
    if scale.size not in sizes or zero.size not in sizes:
        return None
    real = (codes.astype(np.float32) - zero.reshape(dims)) * scale.reshape(dims)
    return new.constant("weights", np.float32(real.transpose(0, 2, 1)))


REPLACE: dict[str, Replace] = {
    "DynamicQuantizeLSTM": _lstm,
    "DynamicQuantizeMatMul": _dynamic_product,
    "MatMulIntegerToFloat": _product_to_float,
}
