"""com.microsoft's fused float operators, as onnxruntime's graph optimizer writes them."""

import math

import numpy as np
import onnx_ir as ir

from q8tool.model.foreign_nodes import Coded, Replace, Replacement, padded_inputs
from q8tool.model.graph import get_float, get_int, get_string

__all__ = ["REPLACE", "layer_norm", "number"]

# Attributes of the activation that follows a fused operator.
_ACTIVATION = ("activation", "activation_params")
_PARAMETERS = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}


def _fused_conv(new: Replacement, node: ir.Node) -> Coded | None:
    """Conv, plus Z, then an activation."""
    x, weights, bias, added = padded_inputs(node, 4)
    own = {n: value for n, value in node.attributes.items() if n not in _ACTIVATION}
    result = new.one(
        "Conv", *([x, weights] if bias is None else [x, weights, bias]), attributes=own
    )
    if added is not None:
        result = new.one("Add", result, added)
    parameters = node.attributes.get("activation_params")
    values = [] if parameters is None else list(parameters.as_floats())
    return _activated(new, result, get_string(node, "activation", ""), values)


def _fused_gemm(new: Replacement, node: ir.Node) -> Coded | None:
    """Gemm, then an activation whose parameters are activation_alpha, _beta, _gamma."""
    own = {n: v for n, v in node.attributes.items() if not n.startswith("activation")}
    activation = get_string(node, "activation", "")
    values = [get_float(node, f"activation_{name}", 0.0) for name in ("alpha", "beta")]
    return _activated(new, new.one("Gemm", *node.inputs, attributes=own), activation, values)


def _activated(
    new: Replacement, x: ir.Value, activation: str, parameters: list[float]
) -> Coded | None:
    if activation in ("", "Relu", "Sigmoid", "Tanh"):
        return [new.one(activation, x) if activation else x]
    if activation == "Clip" and len(parameters) == 2 and new.opset >= 11:
        return [new.one("Clip", x, *(new.constant("end", np.float32(p)) for p in parameters))]
    if activation == "HardSwish" and new.opset >= 14:
        return [new.one("HardSwish", x)]
    names = _PARAMETERS.get(activation)
    if names is None or len(parameters) < len(names):
        return None
    pairs = zip(names, parameters, strict=False)
    attributes = {name: ir.AttrFloat32(name, value) for name, value in pairs}
    return [new.one(activation, x, attributes=attributes)]


def _fused_matmul(new: Replacement, node: ir.Node) -> Coded | None:
    """MatMul of perhaps transposed operands, times alpha."""
    operands: list[ir.Value | None] = []
    for value, side in zip(node.inputs, "AB", strict=True):
        if get_int(node, f"transBatch{side}", 0):
            return None
        if value is not None and get_int(node, f"trans{side}", 0):
            if value.shape is None:
                return None
            rank = len(value.shape)
            value = new.one("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])
        operands.append(value)
    result = new.one("MatMul", *operands)
    alpha = get_float(node, "alpha", 1.0)
    return [result if alpha == 1 else new.one("Mul", result, number(new, alpha))]


def _gelu(new: Replacement, node: ir.Node) -> Coded:
    """x * (1 + erf(x / sqrt 2)) / 2, of x plus a bias for BiasGelu."""
    x = new.one("Add", *node.inputs) if node.op_type == "BiasGelu" else node.inputs[0]
    if new.opset >= 20:
        return [new.one("Gelu", x)]
    bent = new.one("Erf", new.one("Div", x, number(new, math.sqrt(2))))
    twice = new.one("Mul", x, new.one("Add", bent, number(new, 1.0)))
    return [new.one("Mul", twice, number(new, 0.5))]


def _fast_gelu(new: Replacement, node: ir.Node) -> Coded:
    """x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2, of x plus a bias if there is one."""
    x, bias = padded_inputs(node, 2)
    x = x if bias is None else new.one("Add", x, bias)
    if new.opset >= 20:
        return [new.one("Gelu", x, approximate="tanh")]
    cube = new.one("Mul", new.one("Mul", x, x), x)
    inner = new.one("Add", x, new.one("Mul", cube, number(new, 0.044715)))
    bent = new.one("Tanh", new.one("Mul", inner, number(new, math.sqrt(2 / math.pi))))
    twice = new.one("Mul", x, new.one("Add", bent, number(new, 1.0)))
    return [new.one("Mul", twice, number(new, 0.5))]


def _quick_gelu(new: Replacement, node: ir.Node) -> Coded:
    """x * sigmoid(alpha x)."""
    x, alpha = node.inputs[0], get_float(node, "alpha", 1.702)
    scaled = x if alpha == 1 else new.one("Mul", x, number(new, alpha))
    return [new.one("Mul", x, new.one("Sigmoid", scaled))]


def _skip_layer_norm(new: Replacement, node: ir.Node) -> Coded | None:
    """LayerNormalization of input + skip (+ bias); the fourth output is that sum."""
    x, skip, gamma, beta, bias = padded_inputs(node, 5)
    if any(value.name and value.uses() for value in node.outputs[1:3]):
        return None
    total = new.one("Add", x, skip)
    if bias is not None:
        total = new.one("Add", total, bias)
    result = layer_norm(new, total, gamma, beta, get_float(node, "epsilon", 1e-12))
    return [result, None, None, total]


def layer_norm(
    new: Replacement, x: ir.Value, gamma: ir.Value | None, beta: ir.Value | None, epsilon: float
) -> ir.Value:
    """Over the last axis; of primitives before the standard had it."""
    if new.opset >= 17:
        return new.one("LayerNormalization", x, gamma, beta, axis=-1, epsilon=epsilon)
    centred = new.one("Sub", x, new.one("ReduceMean", x, axes=[-1]))
    variance = new.one("ReduceMean", new.one("Mul", centred, centred), axes=[-1])
    spread = new.one("Sqrt", new.one("Add", variance, number(new, epsilon)))
    result = new.one("Mul", new.one("Div", centred, spread), gamma)
    return result if beta is None else new.one("Add", result, beta)


def number(new: Replacement, value: float) -> ir.Value:
    """A float32 constant without dimensions."""
    return new.constant("number", np.float32(value))


REPLACE: dict[str, Replace] = {
    "BiasGelu": _gelu,
    "FastGelu": _fast_gelu,
    "FusedConv": _fused_conv,
    "FusedGemm": _fused_gemm,
    "FusedMatMul": _fused_matmul,
    "Gelu": _gelu,
    "QuickGelu": _quick_gelu,
    "SkipLayerNormalization": _skip_layer_norm,
}
