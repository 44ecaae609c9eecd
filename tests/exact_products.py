"""Files whose products onnxruntime computes exactly on every CPU.

Where a CPU has no dot product of bytes, onnxruntime multiplies uint8 by int8 with `vpmaddubsw`,
whose sums of two products stop at 16 bits: [255, 255] times [127, 127] is 32767 there. Its products
of uint8 by uint8 and of int8 by int8 are exact. So before it is asked, weights of int8 become
weights of uint8, 128 more, with a zero point that is 128 more: the same product.

    model -> exact_products(model) -> onnxruntime
"""

from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["exact_products", "has_products"]


class _Places(NamedTuple):
    """Which inputs of a product are codes and zero points; None: it has no such input."""

    a: int
    a_zero_point: int | None
    b: int
    b_zero_point: int


_PRODUCTS = {
    "ConvInteger": [_Places(0, 2, 1, 3)],
    "MatMulInteger": [_Places(0, 2, 1, 3)],
    "QLinearConv": [_Places(0, 2, 3, 5)],
    "QLinearMatMul": [_Places(0, 2, 3, 5)],
    "QGemm": [_Places(0, 2, 3, 5)],
    "MatMulIntegerToFloat": [_Places(0, 4, 1, 5)],
    "QAttention": [_Places(0, 6, 1, 7)],
    "DynamicQuantizeMatMul": [_Places(0, None, 1, 3)],
    "DynamicQuantizeLSTM": [_Places(0, None, 1, 9), _Places(0, None, 2, 11)],
}


def exact_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy whose products of uint8 by int8 are of uint8 by uint8."""
    if not has_products(model):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _Unsigned(copy).change()
    return copy


def has_products(model: onnx.ModelProto) -> bool:
    """True if it multiplies codes, but for what If, Loop and functions hold."""
    return any(node.op_type in _PRODUCTS for node in model.graph.node)


class _Unsigned:
    """Changes one graph: each tensor of weights once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        typed = onnx.shape_inference.infer_shapes(model).graph
        self._types = {
            value.name: value.type.tensor_type.elem_type
            for value in (*typed.input, *typed.value_info, *typed.output)
        }
        self._arrays = {item.name: item for item in self._graph.initializer}
        self._types.update((name, item.data_type) for name, item in self._arrays.items())
        self._made: dict[str, str] = {}

    def change(self) -> None:
        nodes = list(self._graph.node)
        del self._graph.node[:]
        for node in nodes:
            for places in _PRODUCTS.get(node.op_type, ()):
                self._change(node, places)
            self._graph.node.append(node)

    def _change(self, node: onnx.NodeProto, places: _Places) -> None:
        names = list(node.input)
        names += [""] * (places.b_zero_point + 1 - len(names))
        kinds = [self._types.get(name) for name in names]
        of_a = kinds[places.a] if places.a_zero_point is not None else TensorProto.UINT8
        if TensorProto.INT8 in (of_a, kinds[places.a_zero_point or places.a]):
            return
        if kinds[places.b] != TensorProto.INT8:
            return
        for place in (places.b, places.b_zero_point):
            names[place] = self._unsigned(names[place])
        node.input[:] = names

    def _unsigned(self, name: str) -> str:
        """The name of the same codes, 128 more; of 128 where there is no zero point."""
        if name not in self._made:
            self._made[name] = f"{name}/unsigned"
            if name and name not in self._arrays:
                self._graph.node.extend(_plus_128(name, self._made[name]))
                self._constant("/128", np.asarray(128, np.int32))
            else:
                codes = numpy_helper.to_array(self._arrays[name]) if name else np.zeros((), np.int8)
                self._constant(self._made[name], (codes.astype(np.int32) + 128).astype(np.uint8))
        return self._made[name]

    def _constant(self, name: str, array: Any) -> None:
        if not any(item.name == name for item in self._graph.initializer):
            self._graph.initializer.append(numpy_helper.from_array(array, name))


def _plus_128(name: str, result: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [name], [f"{name}/wide"], to=TensorProto.INT32),
        helper.make_node("Add", [f"{name}/wide", "/128"], [f"{name}/more"]),
        helper.make_node("Cast", [f"{name}/more"], [result], to=TensorProto.UINT8),
    ]
