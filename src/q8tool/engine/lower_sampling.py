"""GridSample: pictures at places between their pixels that the model computes."""

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.tensors import Layout
from q8tool.engine.values import Declined

__all__ = ["LOWERINGS"]

# Names of opset 16, and those of opset 20.
_NEAREST = {"bilinear": False, "linear": False, "nearest": True}
_PADDINGS = ("zeros", "border", "reflection")
_PICTURE_RANK = 4


def lower_grid_sample(lowering: Lowering, node: Node) -> None:
    """One step for pictures of float32; cubic and volumes are left to the host."""
    x, grid = lowering.input(node, 0), lowering.input(node, 1)
    mode = node.attributes.get("mode", "bilinear")
    padding = node.attributes.get("padding_mode", "zeros")
    if mode not in _NEAREST or padding not in _PADDINGS:
        raise Declined(f"sampling by mode {mode}, padding {padding} has no C kernel")
    if x.rank != _PICTURE_RANK or grid.rank != _PICTURE_RANK:
        raise Declined("only pictures are sampled in C")
    if x.dtype != np.float32 or grid.dtype != np.float32:
        raise Declined(f"sampling of {x.dtype} at {grid.dtype} has no C kernel")
    lowering.emit(
        "grid_sample",
        {"x": lowering.form(x, Layout.PLAIN), "grid": lowering.form(grid, Layout.PLAIN)},
        {"y": lowering.new_form(lowering.output(node), Layout.PLAIN)},
        is_nearest=_NEAREST[mode],
        padding=padding,
        is_aligned=bool(node.attributes.get("align_corners", 0)),
    )


LOWERINGS: dict[str, LoweringFunction] = {"GridSample": lower_grid_sample}
