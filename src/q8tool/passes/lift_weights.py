"""Lift weights: Constant nodes, and initializers that are also graph inputs, become initializers.

    inputs: x, w   initializers: w        ->        inputs: x   initializers: w, c
    c = Constant()

Files of IR version 3 and old exporters list every weight as an input that a caller may replace;
nobody does, and it keeps everything from being folded.
"""

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveInitializersFromInputsPass

from q8tool.model.change import Change
from q8tool.model.graph import all_nodes

__all__ = ["lift_weights"]

# From this version of the format on, an initializer need not be a graph input.
_PLAIN_INITIALIZERS = 4


def lift_weights(model: ir.Model) -> list[Change]:
    """Make every constant a plain initializer; raises the IR version to 4 where that is needed."""
    before = {value.name or "" for value in model.graph.inputs}
    RemoveInitializersFromInputsPass()(model)
    inputs = before - {value.name for value in model.graph.inputs}
    constants = _constant_names(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    lifted = constants - _constant_names(model)
    if inputs or lifted:
        model.ir_version = max(model.ir_version, _PLAIN_INITIALIZERS)
    return [
        *(Change("lift_weights", name, "no longer a graph input") for name in sorted(inputs)),
        *(Change("lift_weights", name, "Constant node made a weight") for name in sorted(lifted)),
    ]


def _constant_names(model: ir.Model) -> set[str]:
    return {
        node.outputs[0].name or ""
        for node in all_nodes(model.graph)
        if node.op_type == "Constant" and node.domain == ""
    }
