"""Normalization of whole channels: InstanceNormalization, GroupNormalization.

Both are rows of one memory block: normalize each row, then a factor and an offset per channel.
"""

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction, constant_tensor
from q8tool.engine.tensors import Layout, Tensor, new_tensor
from q8tool.engine.values import Declined, Value

__all__ = ["LOWERINGS"]


def lower_instance_norm(lowering: Lowering, node: Node) -> None:
    """Every channel of every sample is a row."""
    _lower(lowering, node, rows_per_sample=lowering.input(node, 0).shape[1])


def lower_group_norm(lowering: Lowering, node: Node) -> None:
    """Every group of channels of every sample is a row."""
    _lower(lowering, node, rows_per_sample=int(node.attributes["num_groups"]))


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
}
