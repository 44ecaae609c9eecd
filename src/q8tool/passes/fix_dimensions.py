"""Fix dimensions: symbolic sizes of the inputs become numbers, and all shapes follow.

x: (N, 3, H, W)  with N=1        ->        x: (1, 3, H, W)
"""

import difflib
from collections.abc import Mapping

import onnx_ir as ir

from q8tool.errors import UsageError
from q8tool.model import shapes
from q8tool.model.change import Change

__all__ = ["fix_dimensions"]


def fix_dimensions(model: ir.Model, sizes: Mapping[str, int]) -> list[Change]:
    """Give symbolic dimensions of the graph inputs their sizes, everywhere in the model.

    sizes   name of the dimension -> size, at least 1
    Raises UsageError for a name that no input has, with the nearest one.
    """
    known = shapes.dimension_names(model)
    for name in sizes:
        if name not in known:
            raise UsageError(f"no input has a dimension named '{name}'", _hint(name, known))
    changed = shapes.fix_dimensions(model, sizes)
    if changed:
        shapes.infer_shapes(model, through_values=False)
    return [
        Change("fix_dimensions", value.name, f"shape is now {list(value.shape or ())}")
        for value in model.graph.inputs
        if value.name in changed
    ]


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    if near:
        return f"did you mean {near[0]}?"
    return f"the inputs have {', '.join(known)}" if known else "all dimensions are fixed already"
