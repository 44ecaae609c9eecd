"""Where, and Trilu, whose choice follows from the place alone."""

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lower_movement import constant_input
from q8tool.engine.lowering import Lowering, LoweringFunction, constant_tensor
from q8tool.engine.strided import operand_forms
from q8tool.engine.tensors import Tensor
from q8tool.engine.values import Declined

__all__ = ["LOWERINGS"]


def lower_where(lowering: Lowering, node: Node) -> None:
    """Elements of one tensor or of another, in their own type."""
    values = [lowering.input(node, position) for position in range(3)]
    y = lowering.output(node)
    if not values[1].dtype == values[2].dtype == y.dtype:
        raise Declined("its inputs are of different types")
    layout, forms = operand_forms(lowering, values, y.rank)
    reads: dict[str, Tensor | None] = dict(zip(("condition", "a", "b"), forms, strict=True))
    lowering.emit("where", reads, {"y": lowering.new_form(y, layout)})


def lower_trilu(lowering: Lowering, node: Node) -> None:
    """One triangle of every matrix, zeros in the other."""
    x, y = lowering.input(node, 0), lowering.output(node)
    given = constant_input(lowering, node, 1, "k")
    diagonal = 0 if given is None else int(given.ravel()[0])
    rows, columns = x.shape[-2:]
    # Beyond the matrix it makes no difference where the diagonal is.
    diagonal = min(max(diagonal, -rows - 1), columns + 1)
    is_zeroed = np.tri(rows, columns, diagonal - 1, np.bool_)
    if not node.attributes.get("upper", 1):
        is_zeroed = ~np.tri(rows, columns, diagonal, np.bool_)
    layout, (form,) = operand_forms(lowering, [x], y.rank, may_be_channels_last=False)
    lead = [1] * (y.rank - 2)
    reads: dict[str, Tensor | None] = {
        "condition": constant_tensor(is_zeroed.reshape(*lead, rows, columns)),
        "a": constant_tensor(np.zeros([1] * y.rank, form.dtype)),
        "b": form,
    }
    lowering.emit("where", reads, {"y": lowering.new_form(y, layout)})


LOWERINGS: dict[str, LoweringFunction] = {"Where": lower_where, "Trilu": lower_trilu}
