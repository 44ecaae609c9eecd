"""The quantized tensors of a model, whoever wrote it: scale, zero point and what they mean."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.errors import InputError
from q8tool.model.graph import all_nodes, constant, get_int

__all__ = ["QuantizedTensor", "quantized_tensors"]

# Where QOperator nodes keep values, scales and zero points: (value, scale, zero point) of their
# inputs, and (scale, zero point) of their output. Source: the ONNX operator documentation.
_QOPERATORS = {
    "QLinearConv": (((3, 4, 5),), (6, 7)),
    "QLinearMatMul": (((0, 1, 2), (3, 4, 5)), (6, 7)),
}


@dataclass(frozen=True)
class QuantizedTensor:
    """One tensor that is stored or computed as codes: real = scale * (code - zero_point).

    name        of the value that holds the codes, or of the float value they stand for
    kind        "weights", "activation", or "dynamic": its range is taken while running
    dtype       of the codes
    scale       float, () or (channels,) or per block; None if it is not in the file
    zero_point  integers of the same shape; None if it is not in the file
    axis        of the channels, None if one scale serves the whole tensor
    codes       the stored codes; None for what is computed
    """

    name: str
    kind: str
    dtype: str
    scale: npt.NDArray[Any] | None
    zero_point: npt.NDArray[Any] | None
    axis: int | None = None
    codes: npt.NDArray[Any] | None = None

    def reals(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
        """The real values that codes stand for; None if the scale is not in the file."""
        if self.scale is None or self.zero_point is None:
            return None
        scale, zero_point = self.scale.astype(np.float32), self.zero_point.astype(np.float32)
        if self.scale.ndim and self.axis is not None:
            if self.scale.ndim == codes.ndim:  # one scale per block of the axis
                repeats = -(-codes.shape[self.axis] // self.scale.shape[self.axis])
                cut = [slice(size) for size in codes.shape]
                scale = np.repeat(scale, repeats, self.axis)[tuple(cut)]
                zero_point = np.repeat(zero_point, repeats, self.axis)[tuple(cut)]
            else:
                shape = [1] * codes.ndim
                shape[self.axis] = -1
                scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
        reals: npt.NDArray[np.float32] = scale * (codes.astype(np.float32) - zero_point)
        return reals

    def bounds(self) -> tuple[float, float] | None:
        """Lowest and highest real value: of the stored codes, else of all that dtype has."""
        if self.codes is not None:
            reals = self.reals(self.codes)
        else:
            info = ir.DataType[self.dtype.upper()]
            is_known = self.axis is None and (info.is_integer() or info.is_floating_point())
            reals = self.reals(np.array([info.min, info.max])) if is_known else None
        return None if reals is None or not reals.size else (float(reals.min()), float(reals.max()))


def quantized_tensors(model: ir.Model) -> list[QuantizedTensor]:
    """Every quantized tensor once, in the order in which the graph uses them.

    Raises InputError if a scale or zero point does not fit its tensor.
    """
    found: dict[str, QuantizedTensor] = {}
    for node in all_nodes(model.graph):
        for tensor in _of_node(node):
            found.setdefault(tensor.name, tensor)
    return list(found.values())


def _of_node(node: ir.Node) -> Iterator[QuantizedTensor]:
    if node.op_type == "QuantizeLinear":
        yield _tensor(node.inputs[0], node.outputs[0], node, (1, 2))
    elif node.op_type == "DequantizeLinear":
        source = node.inputs[0].producer() if node.inputs[0] is not None else None
        if source is None or source.op_type != "QuantizeLinear":
            yield _tensor(node.inputs[0], node.inputs[0], node, (1, 2))
    elif node.op_type == "DynamicQuantizeLinear":
        name = node.inputs[0].name if node.inputs[0] is not None else ""
        yield QuantizedTensor(name or "", "dynamic", "uint8", None, None)
    elif node.op_type in ("ConvInteger", "MatMulInteger"):
        yield from _integer_weights(node)
    elif node.op_type in _QOPERATORS:
        inputs, output = _QOPERATORS[node.op_type]
        for value, scale, zero_point in inputs:
            yield _tensor(node.inputs[value], node.inputs[value], node, (scale, zero_point))
        yield _tensor(node.outputs[0], node.outputs[0], node, output)


def _tensor(
    named: ir.Value | None, codes: ir.Value | None, node: ir.Node, places: tuple[int, int]
) -> QuantizedTensor:
    """One tensor whose scale and zero point are these inputs of the node."""
    stored = constant(codes)
    scale = constant(_input(node, places[0]))
    zero_value = _input(node, places[1])
    zero_point = constant(zero_value)
    if zero_value is None and scale is not None:
        zero_point = np.zeros(scale.shape, np.int32)
    typed = codes.dtype if codes is not None and codes.dtype is not None else None
    if typed is None:
        typed = zero_value.dtype if zero_value is not None else None
    axis = _axis(node, scale, stored)
    name = (named.name if named is not None else None) or ""
    if scale is not None and not _fits(scale, zero_point, axis, stored):
        raise InputError(
            f"node '{node.name}' ({node.op_type}): scale and zero point do not fit '{name}'"
        )
    return QuantizedTensor(
        name=name,
        kind="activation" if stored is None else "weights",
        dtype=_type_name(typed or ir.DataType.UINT8),
        scale=_squeezed(scale),
        zero_point=_squeezed(zero_point),
        axis=axis,
        codes=stored,
    )


def _fits(
    scale: npt.NDArray[Any],
    zero_point: npt.NDArray[Any] | None,
    axis: int | None,
    codes: npt.NDArray[Any] | None,
) -> bool:
    """Whether there is a scale and a zero point for every code, once or per channel or block."""
    if zero_point is not None and zero_point.size != scale.size:
        return False
    if axis is None or codes is None:
        return bool(scale.size)
    if scale.ndim != codes.ndim:
        return bool(scale.size == codes.shape[axis])
    others = [d for d in range(codes.ndim) if d != axis]
    return bool(scale.size) and all(scale.shape[d] == codes.shape[d] for d in others)


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _squeezed(array: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    return array.reshape(()) if array is not None and array.size == 1 else array


def _axis(
    node: ir.Node, scale: npt.NDArray[Any] | None, stored: npt.NDArray[Any] | None
) -> int | None:
    if scale is None or scale.size == 1:
        return None
    default = {"QLinearConv": 0, "QLinearMatMul": -1}.get(node.op_type, 1)
    axis = get_int(node, "axis", default)
    return axis % stored.ndim if stored is not None else axis


def _integer_weights(node: ir.Node) -> Iterator[QuantizedTensor]:
    """Weights of ConvInteger and MatMulInteger; their scale is multiplied in further down."""
    codes = constant(node.inputs[1])
    value = node.inputs[1]
    if codes is None or value is None:
        return
    scale = _scale_behind(node)
    axis = None
    if scale is not None and scale.size > 1:
        axis, scale = (0 if node.op_type == "ConvInteger" else codes.ndim - 1), scale.reshape(-1)
        scale = scale if scale.size == codes.shape[axis] else None
    zero_point = constant(_input(node, 3))
    if zero_point is None:
        zero_point = np.zeros(() if scale is None else scale.shape, np.int32)
    yield QuantizedTensor(
        name=value.name or "",
        kind="weights",
        dtype=_type_name(value.dtype or ir.DataType.INT8),
        scale=_squeezed(scale),
        zero_point=_squeezed(zero_point),
        axis=axis,
        codes=codes,
    )


def _scale_behind(node: ir.Node) -> npt.NDArray[Any] | None:
    """The weights' scale in   Mul(Cast(node), Mul(x_scale, scale))."""
    casts = [user for user in node.outputs[0].consumers() if user.op_type == "Cast"]
    products = [user for cast in casts for user in cast.outputs[0].consumers()]
    factors = [
        value for product in products if product.op_type == "Mul" for value in product.inputs
    ]
    for factor in factors:
        maker = factor.producer() if factor is not None else None
        if maker is not None and maker.op_type == "Mul":
            constants = [constant(value) for value in maker.inputs]
            return next((array for array in constants if array is not None), None)
    return None


def _type_name(dtype: ir.DataType) -> str:
    return dtype.name.lower()
