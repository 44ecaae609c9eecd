"""Normalization of whole channels: InstanceNormalization, GroupNormalization; LRN of neighbours.

The first two are rows of one memory block: normalize each row, then a factor and an offset per
channel. LRN (local response normalization) is a pooling along the channels.
"""

import math
from functools import partial

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction, constant_tensor, number_beside
from q8tool.engine.tensors import Layout, Tensor, new_tensor
from q8tool.engine.values import Declined, Value

__all__ = ["LOWERINGS"]


def lower_instance_norm(lowering: Lowering, node: Node) -> None:
    """Every channel of every sample is a row."""
    _lower(lowering, node, rows_per_sample=lowering.input(node, 0).shape[1])


def lower_group_norm(lowering: Lowering, node: Node) -> None:
    """Every group of channels of every sample is a row."""
    _lower(lowering, node, rows_per_sample=int(node.attributes["num_groups"]))


def lower_local_response_norm(lowering: Lowering, node: Node) -> None:
    """x / (bias + alpha * mean of the squares of neighbouring channels) ** beta."""
    x, size = lowering.input(node, 0), int(node.attributes["size"])
    if not x.is_float or x.rank < 2 or not 0 < size <= 2 * x.shape[1]:
        raise Declined("its input is not float32, or has fewer channels than a window reaches over")
    dims = (*x.shape[:2], 1, math.prod(x.shape[2:]))
    source = lowering.form(x, Layout.PLAIN).view(dims)
    squares, means, bases, factors = (new_tensor(np.float32, dims) for _ in range(4))
    lowering.emit("binary_f32", {"a": source, "b": source}, {"y": squares}, op="mul")
    lowering.emit(
        "pool", {"x": squares}, {"y": means}, kind="average", kernel=(size, 1),
        pads=((size - 1) // 2, 0, size // 2, 0), count_include_pad=True,
    )  # fmt: skip
    alpha, bias = (float(node.attributes.get(*given)) for given in (("alpha", 1e-4), ("bias", 1.0)))
    lowering.emit("unary_f32", {"x": means}, {"y": bases}, op="affine", alpha=alpha, beta=bias)
    power = -float(node.attributes.get("beta", 0.75))
    if alpha >= 0 and bias > 0:
        _power_of_positive(lowering, bases, power, factors)
    else:
        exponent = number_beside(bases, power)
        lowering.emit("binary_f32", {"a": bases, "b": exponent}, {"y": factors}, op="pow")
    target = lowering.new_form(lowering.output(node), Layout.PLAIN).view(dims)
    lowering.emit("binary_f32", {"a": source, "b": factors}, {"y": target}, op="mul")


def _power_of_positive(lowering: Lowering, x: Tensor, power: float, y: Tensor) -> None:
    """exp(power * log x): a tenth of the time of numbers of either sign."""
    logarithms, exponents = (new_tensor(np.float32, x.shape) for _ in range(2))
    emit = partial(lowering.emit, "unary_f32")
    emit({"x": x}, {"y": logarithms}, op="log", alpha=0.0, beta=0.0)
    emit({"x": logarithms}, {"y": exponents}, op="affine", alpha=power, beta=0.0)
    emit({"x": exponents}, {"y": y}, op="exp", alpha=0.0, beta=0.0)


def _lower(lowering: Lowering, node: Node, *, rows_per_sample: int) -> None:
    x, y = lowering.input(node, 0), lowering.output(node)
    if not x.is_float or rows_per_sample < 1 or x.shape[1] % rows_per_sample:
        raise Declined("its input is not float32")
    factor, offset = (_per_channel(lowering, lowering.input(node, p), x) for p in (1, 2))
    rows = x.shape[0] * rows_per_sample
    size = int(np.prod(x.shape)) // rows
    normal, scaled = (new_tensor(np.float32, x.shape) for _ in range(2))
    lowering.emit(
        "layer_norm_f32",
        {
            "x": lowering.form(x, Layout.PLAIN).view((rows, size)),
            "scale": constant_tensor(np.ones(size, np.float32)),
            "bias": None,
        },
        {"y": normal.view((rows, size))},
        epsilon=float(node.attributes.get("epsilon", 1e-5)),
    )
    lowering.emit("binary_f32", {"a": normal, "b": factor}, {"y": scaled}, op="mul")
    result = lowering.new_form(y, Layout.PLAIN)
    lowering.emit("binary_f32", {"a": scaled, "b": offset}, {"y": result}, op="add")


def _per_channel(lowering: Lowering, value: Value, x: Value) -> Tensor:
    """A parameter as it broadcasts against x."""
    dims = (1, x.shape[1], *[1] * (x.rank - 2))
    if value.shape != (x.shape[1],):
        raise Declined("its parameters are not one per channel")
    return lowering.form(value, Layout.PLAIN).view(dims)


LOWERINGS: dict[str, LoweringFunction] = {
    "InstanceNormalization": lower_instance_norm,
    "GroupNormalization": lower_group_norm,
    "LRN": lower_local_response_norm,
}
