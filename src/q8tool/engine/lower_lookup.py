"""GatherElements, GatherND and what Scatter writes at such places: by indices that the run brings.

An index outside of its axis ends the run with an error that names the step.
"""

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.strided import operand_forms
from q8tool.engine.tensors import Layout, Tensor
from q8tool.engine.values import Declined, Value

__all__ = ["LOWERINGS"]

_REDUCTIONS = {"none": "", "add": "add", "mul": "mul", "min": "min", "max": "max"}


def lower_elements(lowering: Lowering, node: Node) -> None:
    """An element per index along one axis, read or written."""
    axis = int(node.attributes.get("axis", 0)) % lowering.input(node, 0).rank
    _lower(lowering, node, "lookup_elements", axis=axis)


def lower_blocks(lowering: Lowering, node: Node) -> None:
    """A block per row of indices, read or written."""
    places: dict[str, int] = {}
    if node.op_type == "GatherND":
        places["batch_rank"] = int(node.attributes.get("batch_dims", 0))
    _lower(lowering, node, "lookup_blocks", **places)


def _lower(lowering: Lowering, node: Node, method: str, **places: int) -> None:
    x, indices, y = lowering.input(node, 0), lowering.input(node, 1), lowering.output(node)
    writes = len(node.inputs) > 2
    op = _REDUCTIONS[node.attributes.get("reduction", "none")]
    if op and x.dtype in (np.dtype(np.bool_), np.dtype(np.int8)):
        raise Declined(f"a reduction of {x.dtype} has no C kernel")
    layout = Layout.RAW if x.dtype == np.int8 else Layout.PLAIN
    reads: dict[str, Tensor | None] = {
        "x": _plain(lowering, x),
        "indices": _plain(lowering, indices),
    }
    if writes:
        reads["updates"] = _plain(lowering, lowering.input(node, 2))
    target = lowering.new_form(y, layout)
    lowering.emit(method, reads, {"y": target}, op=op, **places)


def _plain(lowering: Lowering, value: Value) -> Tensor:
    _, (form,) = operand_forms(lowering, [value], value.rank, may_be_channels_last=False)
    return form


LOWERINGS: dict[str, LoweringFunction] = {
    **dict.fromkeys(["GatherElements", "Scatter", "ScatterElements"], lower_elements),
    **dict.fromkeys(["GatherND", "ScatterND"], lower_blocks),
}
