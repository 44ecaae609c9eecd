"""The nodes that convert between real values and codes, and the weights behind them.

What the passes that write eight-bit graphs share: Quantize, Dequantize and dynamic Quantize nodes
with their scale and zero-point initializers, weights and biases as codes. Equal parameters share
their initializers; names come from the tensor that they describe.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.graph import Names, constant, get_float, get_int, make_initializer
from q8tool.numerics.qparams import (
    QuantParams,
    bias_params,
    weight_params,
    widened_for_bias,
)
from q8tool.numerics.rounding import quantize_balanced
from q8tool.numerics.ties import without_ties

__all__ = [
    "ConversionWriter",
    "FloatWeights",
    "float_weights",
    "give_output_name",
    "is_depthwise",
    "output_channel_axis",
    "take_over",
]

_CODE_TYPES = {
    "uint8": ir.DataType.UINT8,
    "int8": ir.DataType.INT8,
    "int32": ir.DataType.INT32,
}


@dataclass(frozen=True)
class FloatWeights:
    """Weights and bias of an operator as its formula uses them (Gemm's alpha and beta applied).

    weights  float32, the operator's own layout;  axis  of its output channels
    bias     float32 (channels,) or None
    groups   how often the axis' channels repeat among the results: ConvTranspose's group
    """

    weights: NDArray[np.float32]
    axis: int
    bias: NDArray[np.float32] | None
    groups: int = 1

    def codes(self, params: QuantParams) -> NDArray[Any]:
        """int8, the operator's own layout, rounding errors balanced per output channel."""
        parts = np.split(self.weights, self.groups)
        codes = [quantize_balanced(part, params, self.axis) for part in parts]
        return codes[0] if len(codes) == 1 else np.concatenate(codes)

    def params(
        self, per_channel: bool, x: QuantParams | None, y: QuantParams | None = None
    ) -> QuantParams:
        """int8 parameters.

        x  of the input: scales are raised where the bias would overflow int32
        y  of the result, too: and so that no sum falls half way between two of its codes
        """
        params = weight_params(self.weights, self.axis if per_channel else None)
        if x is None:
            return params
        if self.bias is not None:
            # Channels of one scale share the widest bias.
            largest = np.abs(self.bias).reshape(self.groups, -1).max(axis=0)
            params = widened_for_bias(params, x, largest)
        return params if y is None else without_ties(params, x, y)

    def bias_params(self, x: QuantParams, weights: QuantParams) -> QuantParams:
        """int32 parameters of the bias behind an input x and weights of these parameters."""
        sums = bias_params(x, weights)
        if self.groups == 1 or sums.axis is None:
            return sums
        return sums._replace(
            scale=np.tile(sums.scale, self.groups),
            zero_point=np.tile(sums.zero_point, self.groups),
        )


def is_depthwise(node: ir.Node) -> bool:
    """A Conv of one input channel per group: each value is read for a handful of products only."""
    if node.op_type != "Conv" or get_int(node, "group", 1) == 1:
        return False
    weights = constant(node.inputs[1])
    return weights is not None and weights.shape[1] == 1


def output_channel_axis(node: ir.Node) -> int:
    """The axis of the weights that counts output channels.

    Conv (M, C/group, ...): 0. ConvTranspose (C, M/group, ...): 1. Gemm: 0 if transB. MatMul: last.
    """
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if get_int(node, "transB", 0) else 1
    weights = node.inputs[1]
    rank = None if weights is None or weights.shape is None else len(weights.shape)
    return 1 if rank is None else rank - 1


def float_weights(node: ir.Node) -> FloatWeights:
    """The constant weights (input 1) and bias (input 2) of an operator of kind "weights"."""
    weights = constant(node.inputs[1])
    assert weights is not None, "choose_precision takes constant weights only"
    axis = output_channel_axis(node)
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    weights = np.asarray(weights, np.float32)
    if node.op_type == "Gemm":
        weights = weights * np.float32(get_float(node, "alpha", 1.0))
        if bias is not None:
            bias = np.asarray(bias * np.float32(get_float(node, "beta", 1.0)), np.float32)
            bias = np.broadcast_to(bias.reshape(-1), weights.shape[axis]).copy()
    groups = get_int(node, "group", 1) if node.op_type == "ConvTranspose" else 1
    bias = None if bias is None else np.asarray(bias, np.float32)
    return FloatWeights(weights, axis, bias, groups)


def give_output_name(writer: "ConversionWriter", old: ir.Value, new: ir.Value) -> None:
    """Lets new be the graph output that old is, under old's name; old gets another name."""
    name = old.name or ""
    outputs = writer.graph.outputs
    for index, output in enumerate(outputs):
        if output is old:
            outputs[index] = new
    new.shape, new.type = old.shape, old.type
    old.name = writer.name(f"{name}_float")
    new.name = name


@dataclass
class ConversionWriter:
    """Adds conversion nodes to one graph; keeps scale and zero-point initializers shared."""

    graph: ir.Graph
    _written: dict[tuple[bytes, str], ir.Value] = field(default_factory=dict)
    _names: Names = field(init=False)

    def __post_init__(self) -> None:
        self._names = Names(self.graph)

    def initializer(self, base: str, array: NDArray[Any]) -> ir.Value:
        """An initializer with these values; equal arrays of one type are written once."""
        array = np.ascontiguousarray(array).reshape(array.shape)
        key = (hashlib.sha256(array.data).digest(), f"{array.dtype}{array.shape}")
        if key not in self._written:
            self._written[key] = make_initializer(self.graph, self.name(base), array)
        return self._written[key]

    def name(self, base: str) -> str:
        """base, or base_1, base_2 ... if it is taken."""
        return self._names.new(base)

    def new(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        output: str,
        attributes: dict[str, Any] | None = None,
        dtype: ir.DataType = ir.DataType.FLOAT,
        shape: ir.Shape | None = None,
    ) -> ir.Node:
        """A node that is not yet in the graph; node and output bear the same (unique) name."""
        name = self.name(output)
        value = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype))
        return ir.node(op_type, inputs, attributes or {}, outputs=[value], name=name)

    def quantize(self, x: ir.Value, params: QuantParams) -> ir.Node:
        """QuantizeLinear of x."""
        scale, zero_point = self._params(x.name or "", params)
        dtype = _CODE_TYPES[params.dtype]
        return self.new(
            "QuantizeLinear", [x, scale, zero_point], f"{x.name}_q", dtype=dtype, shape=x.shape
        )

    def dynamic_quantize(self, x: ir.Value) -> ir.Node:
        """DynamicQuantizeLinear of x: codes, scale and zero point at run time."""
        name = self.name(f"{x.name}_q")
        outputs = [
            ir.Value(name=name, shape=x.shape, type=ir.TensorType(ir.DataType.UINT8)),
            ir.Value(
                name=self.name(f"{x.name}_s"),
                shape=ir.Shape([]),
                type=ir.TensorType(ir.DataType.FLOAT),
            ),
            ir.Value(
                name=self.name(f"{x.name}_z"),
                shape=ir.Shape([]),
                type=ir.TensorType(ir.DataType.UINT8),
            ),
        ]
        return ir.node("DynamicQuantizeLinear", [x], outputs=outputs, name=name)

    def dequantize(self, codes: ir.Value, params: QuantParams, output: str) -> ir.Node:
        """DequantizeLinear of codes. int32 codes get no zero point: it can only be 0."""
        scale, zero_point = self._params(output, params)
        inputs = [codes, scale, *([] if params.dtype == "int32" else [zero_point])]
        attributes = {} if params.axis is None else {"axis": params.axis}
        return self.new("DequantizeLinear", inputs, output, attributes, shape=codes.shape)

    def dequantized_constant(self, codes: NDArray[Any], params: QuantParams, base: str) -> ir.Node:
        """The codes of a constant as an initializer, and the DequantizeLinear behind it."""
        return self.dequantize(self.initializer(f"{base}_q", codes), params, f"{base}_dq")

    def _params(self, base: str, params: QuantParams) -> tuple[ir.Value, ir.Value]:
        dtype = np.dtype(params.dtype)
        scale = self.initializer(f"{base}_s", params.scale)
        return scale, self.initializer(f"{base}_z", params.zero_point.astype(dtype))


def take_over(writer: ConversionWriter, node: ir.Node, result: ir.Value) -> None:
    """result replaces the node's output, under its name."""
    old = node.outputs[0]
    if old.is_graph_output():
        give_output_name(writer, old, result)
        old.replace_all_uses_with(result)
        writer.graph.remove(node, safe=True)
        return
    old.replace_all_uses_with(result)
    writer.graph.remove(node, safe=True)
    name, old.name = old.name, writer.name(f"{old.name}_float")
    result.name = name
