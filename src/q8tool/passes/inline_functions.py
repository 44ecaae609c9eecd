"""Inline functions: a node that calls a function of the model becomes the function's nodes.

    y = mine.Swish(x)        ->        s = Sigmoid(x);  y = Mul(x, s)

Nobody below has to know about functions then.
"""

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from q8tool.errors import InputError
from q8tool.model.change import Change
from q8tool.model.graph import all_nodes

__all__ = ["inline_functions"]


def inline_functions(model: ir.Model) -> list[Change]:
    """Inline all functions of the model; raises InputError if they call each other in a circle."""
    calls = [
        node.op_type for node in all_nodes(model.graph) if node.op_identifier() in model.functions
    ]
    if not model.functions:
        return []
    try:
        InlinePass()(model)
    except ir.passes.PreconditionError as error:
        raise InputError("the model's functions call each other in a circle") from error
    return [Change("inline_functions", name, "call replaced by its nodes") for name in calls]
