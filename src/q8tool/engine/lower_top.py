"""What goes along an axis: TopK, the greatest elements and where they lie; CumSum."""

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lower_movement import constant_input
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.tensors import Layout, around_axis, new_tensor
from q8tool.engine.values import Declined

__all__ = ["LOWERINGS"]

_TYPES = ("float32", "float64", "int32", "int64", "uint8")
_SUMMED = ("float32", "float64", "int32", "int64")


def lower_top_k(lowering: Lowering, node: Node) -> None:
    """One step; results are in order, whether the node asks for that or not."""
    x = lowering.input(node, 0)
    dtype = np.dtype(x.dtype)
    if dtype.name not in _TYPES:
        raise Declined(f"the greatest of {dtype} have no C kernel")
    given = constant_input(lowering, node, 1, "k")
    if given is None:
        raise Declined("its input k is missing")
    axis = int(node.attributes.get("axis", -1)) % x.rank
    source, k = lowering.form(x, Layout.PLAIN), int(given.ravel()[0])
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    found = [new_tensor(dtype, shape), new_tensor(np.int64, shape)]
    for place, name in enumerate(node.outputs):
        if name:
            lowering.value(name).forms = {Layout.PLAIN: found[place]}
    lowering.emit(
        "top",
        {"x": source},
        {"values": found[0], "indices": found[1]},
        **around_axis(x.shape, axis),
        k=k,
        is_largest=bool(node.attributes.get("largest", 1)),
    )


def lower_cum_sum(lowering: Lowering, node: Node) -> None:
    """One step; the axis must be constant."""
    x = lowering.input(node, 0)
    dtype = np.dtype(x.dtype)
    if dtype.name not in _SUMMED:
        raise Declined(f"running sums of {dtype} have no C kernel")
    given = constant_input(lowering, node, 1, "axis")
    if given is None or given.size != 1 or not -x.rank <= (axis := int(given.item())) < x.rank:
        raise Declined("its axis is none of the input's")
    axis %= x.rank
    lowering.emit(
        "running_sum",
        {"x": lowering.form(x, Layout.PLAIN)},
        {"y": lowering.new_form(lowering.output(node), Layout.PLAIN)},
        **around_axis(x.shape, axis),
        is_exclusive=bool(node.attributes.get("exclusive", 0)),
        is_reverse=bool(node.attributes.get("reverse", 0)),
    )


LOWERINGS: dict[str, LoweringFunction] = {"CumSum": lower_cum_sum, "TopK": lower_top_k}
