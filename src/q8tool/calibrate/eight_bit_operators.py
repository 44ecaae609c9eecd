"""Eight-bit operators: where the weights and the bias of a product are in a quantized graph.

static   Conv(Dequantize(q), Dequantize(codes), Dequantize(bias))        also Gemm, MatMul -> Add
dynamic  DynamicQuantize(x) -> ConvInteger(q, codes) -> Cast -> Mul -> Add(bias)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.graph import Names, constant, get_float, get_int, make_initializer

__all__ = ["EightBitOperator", "eight_bit_operator", "float_bias", "weight_matrices"]

Array = NDArray[Any]
_FLOAT = ("Conv", "Gemm", "MatMul")
_INTEGER = ("ConvInteger", "MatMulInteger")


@dataclass(frozen=True)
class EightBitOperator:
    """One product with constant int8 weights.

    node         Conv, Gemm, MatMul, ConvInteger or MatMulInteger
    x            codes, scale and zero point of the input
    weights      (node, index) of the int8 constant
    scale        float32, () or (outputs,): real units per weight code
    bias         (node, index) of the bias, an int32 or float constant; None if it has none
    bias_scale   real units per code of an int32 bias; None for a float one
    """

    node: ir.Node
    x: tuple[ir.Value, ir.Value, ir.Value]
    weights: tuple[ir.Node, int]
    scale: Array
    bias: tuple[ir.Node, int] | None
    bias_scale: Array | None

    @property
    def has_own_weights(self) -> bool:
        """True if no other operator reads them."""
        node, index = self.weights
        value = node.inputs[index]
        is_read_once = node is self.node or len(node.outputs[0].uses()) == 1
        return is_read_once and value is not None and len(value.uses()) == 1

    def codes(self) -> Array:
        """The int8 weights in the operator's own layout."""
        return _constant_at(self.weights)

    def set_codes(self, codes: Array) -> None:
        """Other weights of the same shape."""
        _set_constant(self.weights, np.ascontiguousarray(codes, np.int8))

    def set_bias(self, bias: NDArray[np.float64]) -> None:
        """Another bias (outputs,), real units; rounded and saturated where it is int32.

        A Conv or Gemm without one gets one; other operators without one stay as they are.
        """
        if self.bias is None:
            if self.node.op_type in ("Conv", "Gemm"):
                x_scale = constant(self.x[1])
                assert x_scale is not None
                scale = np.broadcast_to(np.asarray(x_scale * self.scale, np.float32), bias.shape)
                self._add_bias(bias, scale.copy())
            return
        if self.bias_scale is not None and len(self.bias[0].outputs[0].uses()) > 1:
            self._add_bias(bias, self.bias_scale)
            return
        old = _constant_at(self.bias)
        shape = old.shape if old.size == bias.size else bias.shape
        if self.bias_scale is None:
            _set_constant(self.bias, bias.astype(np.float32).reshape(shape))
            return
        _set_constant(self.bias, _saturated(bias, self.bias_scale).reshape(shape))

    def _add_bias(self, bias: NDArray[np.float64], scale: Array) -> None:
        graph = self.node.graph
        assert isinstance(graph, ir.Graph)
        names = Names(graph)
        base = f"{self.node.outputs[0].name}_bias"
        inputs = [
            make_initializer(graph, names.new(f"{base}_q"), _saturated(bias, scale)),
            make_initializer(graph, names.new(f"{base}_s"), scale),
        ]
        name = names.new(f"{base}_dq")
        output = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT))
        dequantize = ir.node("DequantizeLinear", inputs, {"axis": 0}, outputs=[output], name=name)
        graph.insert_before(self.node, dequantize)
        self.node.resize_inputs(3)
        self.node.replace_input_with(2, output)


def eight_bit_operator(value: ir.Value) -> EightBitOperator | None:
    """The operator that makes a value, None if it is no eight-bit product of constant weights.

    value  the result of the product itself or, for run-time ranges, that of scaling and bias
    """
    node = value.producer()
    if node is None:
        return None
    return _static(node) if node.op_type in _FLOAT else _dynamic(node)


def float_bias(node: ir.Node, count: int) -> NDArray[np.float64]:
    """The bias of a float Conv, Gemm or MatMul (its Add), as (count,); zeros without one."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    factor = get_float(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0
    if node.op_type == "MatMul":
        place = _bias_behind(node.outputs[0])
        value = None if place is None else place[0].inputs[place[1]]
    array = constant(value)
    if array is None:
        return np.zeros(count)
    return np.broadcast_to(array.astype(np.float64).reshape(-1) * factor, (count,))


def weight_matrices(node: ir.Node, weights: Array, groups: int) -> Array:
    """Weights in the node's layout as (groups, inputs, outputs), a Gemm's alpha left out."""
    if node.op_type in ("Conv", "ConvInteger"):
        return weights.reshape(groups, weights.shape[0] // groups, -1).transpose(0, 2, 1)
    is_turned = node.op_type == "Gemm" and get_int(node, "transB", 0)
    return (weights.T if is_turned else weights)[None]


def _static(node: ir.Node) -> EightBitOperator | None:
    x, weights = (_dequantize(value) for value in node.inputs[:2])
    if x is None or weights is None or constant(weights.inputs[0]) is None:
        return None
    codes, scale, zero = x.inputs
    weight_scale = constant(weights.inputs[1])
    if codes is None or scale is None or zero is None or weight_scale is None:
        return None
    bias, bias_scale = _static_bias(node, scale, weight_scale)
    return EightBitOperator(
        node, (codes, scale, zero), (weights, 0), weight_scale, bias, bias_scale
    )


def _static_bias(
    node: ir.Node, scale: ir.Value, weight_scale: Array
) -> tuple[tuple[ir.Node, int] | None, Array | None]:
    if node.op_type == "MatMul":
        return _bias_behind(node.outputs[0]), None
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return None, None
    dequantize = _dequantize(value)
    if dequantize is None:
        return ((node, 2), None) if constant(value) is not None else (None, None)
    return (dequantize, 0), constant(dequantize.inputs[1])


def _dynamic(node: ir.Node) -> EightBitOperator | None:
    bias = _constant_input(node) if node.op_type == "Add" else None
    scaling = _of_type("Mul", _producer(node.inputs[0]) if node.op_type == "Add" else node)
    cast = None if scaling is None else _of_type("Cast", _producer(scaling.inputs[0]))
    product = None if cast is None else _producer(cast.inputs[0])
    if scaling is None or product is None or product.op_type not in _INTEGER:
        return None
    codes, weights, zero = product.inputs[:3]
    quantize, factors = _producer(codes), _producer(scaling.inputs[1])
    if quantize is None or quantize.op_type != "DynamicQuantizeLinear" or factors is None:
        return None
    scale = next((found for x in factors.inputs if (found := constant(x)) is not None), None)
    if constant(weights) is None or scale is None or codes is None or zero is None:
        return None
    x = (codes, quantize.outputs[1], zero)
    return EightBitOperator(product, x, (product, 1), scale.reshape(-1), bias, None)


def _of_type(op_type: str, node: ir.Node | None) -> ir.Node | None:
    return node if node is not None and node.op_type == op_type else None


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _dequantize(value: ir.Value | None) -> ir.Node | None:
    node = _producer(value)
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _bias_behind(value: ir.Value) -> tuple[ir.Node, int] | None:
    """The constant row that the only reader of a product adds to it."""
    readers = list(value.uses())
    if len(readers) != 1 or readers[0].node.op_type != "Add" or value.is_graph_output():
        return None
    return _constant_input(readers[0].node)


def _constant_input(node: ir.Node) -> tuple[ir.Node, int] | None:
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is not None and array.ndim and array.size in (1, max(array.shape)):
            return node, index
    return None


def _saturated(bias: NDArray[np.float64], scale: Array) -> NDArray[np.int32]:
    ends = np.iinfo(np.int32)
    return np.clip(np.rint(bias / scale.astype(np.float64)), ends.min, ends.max).astype(np.int32)


def _constant_at(place: tuple[ir.Node, int]) -> Array:
    array = constant(place[0].inputs[place[1]])
    assert array is not None
    return array


def _set_constant(place: tuple[ir.Node, int], array: Array) -> None:
    """A constant of this reader alone: other readers of the old one keep it."""
    node, index = place
    value, graph = node.inputs[index], node.graph
    assert value is not None
    assert isinstance(graph, ir.Graph)
    if len(value.uses()) == 1:
        value.const_value = ir.Tensor(array, name=value.name)
        value.shape = ir.Shape(array.shape)
        return
    name = Names(graph).new(f"{value.name}_fitted")
    node.replace_input_with(index, make_initializer(graph, name, array))
