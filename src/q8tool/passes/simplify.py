"""Simplify: all passes, in order, that make a model simpler and leave its answers alone.

freeze and quantize both begin with it.
"""

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.composed import write_out
from q8tool.passes.clean_graph import clean_graph
from q8tool.passes.drop_identities import drop_identities
from q8tool.passes.fold_batchnorm import fold_batchnorm
from q8tool.passes.fold_branches import fold_branches
from q8tool.passes.fold_constants import fold_constants
from q8tool.passes.fold_scales import fold_scales
from q8tool.passes.fold_shapes import fold_shapes
from q8tool.passes.inline_functions import inline_functions
from q8tool.passes.lift_weights import lift_weights
from q8tool.passes.move_scales import move_scales
from q8tool.passes.plain_einsum import plain_einsum
from q8tool.passes.plain_operators import plain_operators
from q8tool.passes.plain_sequences import plain_sequences

__all__ = ["simplify"]

# Written out because what they are made of has an eight-bit form.
_EIGHT_BIT = frozenset({"Attention"})


def simplify(model: ir.Model) -> list[Change]:
    """Lift, inline, drop, fold and clean, in place; shapes are inferred on the way."""
    changes = [*lift_weights(model), *inline_functions(model), *drop_identities(model)]
    changes += write_out(model, _EIGHT_BIT)
    while folded := [
        *fold_constants(model), *fold_shapes(model), *fold_branches(model), *plain_sequences(model)
    ]:  # fmt: skip
        changes += [*folded, *drop_identities(model)]
    changes += [*plain_operators(model), *plain_einsum(model)]
    changes += fold_batchnorm(model)
    changes += fold_scales(model)
    changes += move_scales(model)
    changes += clean_graph(model)
    return changes
