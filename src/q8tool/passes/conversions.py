"""The nodes that convert between real values and codes, and the weights behind them.

What the passes that write eight-bit graphs share: Quantize, Dequantize and dynamic Quantize nodes
with their scale and zero-point initializers, weights and biases as codes. Equal parameters share
their initializers; names come from the tensor that they describe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.graph import constant, get_float, get_int
from q8tool.numerics.qparams import QuantParams, weight_params, widened_for_bias
from q8tool.numerics.rounding import quantize_balanced

__all__ = [
    "ConversionWriter",
    "FloatWeights",
    "float_weights",
    "give_output_name",
    "output_channel_axis",
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
    """

    weights: NDArray[np.float32]
    axis: int
    bias: NDArray[np.float32] | None

    def codes(self, params: QuantParams) -> NDArray[Any]:
        """int8, the operator's own layout, rounding errors balanced per output channel."""
        return quantize_balanced(self.weights, params, self.axis)

    def params(self, per_channel: bool, x: QuantParams | None) -> QuantParams:
        """int8 parameters; widened where the bias would overflow int32 behind an input x."""
        params = weight_params(self.weights, self.axis if per_channel else None)
        if x is None or self.bias is None:
            return params
        return widened_for_bias(params, x, self.bias)


def output_channel_axis(node: ir.Node) -> int:
    """The axis of the weights along which results are independent of each other.

    Conv (M, C/group, ...): 0. ConvTranspose (C, M/group, ...): 1. Gemm: 0 if transB. MatMul: last.
    """
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if get_int(node, "transB", 0) else 1
    return 1


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
    return FloatWeights(weights, axis, None if bias is None else np.asarray(bias, np.float32))


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
    _scalars: dict[tuple[bytes, str], ir.Value] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._names.update(value.name or "" for value in self.graph.inputs)
        self._names.update(self.graph.initializers)
        for node in self.graph:
            self._names.add(node.name or "")
            self._names.update(value.name or "" for value in node.outputs)

    def initializer(self, base: str, array: NDArray[Any]) -> ir.Value:
        """A new initializer; small equal arrays of one type are written once."""
        key = (array.tobytes(), f"{array.dtype}{array.shape}")
        if array.size <= 1 and key in self._scalars:
            return self._scalars[key]
        tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=self.name(base))
        value = ir.Value(
            name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype)
        )
        value.const_value = tensor
        self.graph.register_initializer(value)
        if array.size <= 1:
            self._scalars[key] = value
        return value

    def name(self, base: str) -> str:
        """base, or base_1, base_2 ... if it is taken."""
        unique, number = base, 0
        while unique in self._names:
            number += 1
            unique = f"{base}_{number}"
        self._names.add(unique)
        return unique

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
