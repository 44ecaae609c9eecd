"""Strip: cancel, merge and sink conversions until nothing changes.

The one place that says in which order; quantize and strip-conversions both call it.
"""

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.passes.cancel_conversions import cancel_conversions, share_dequantize
from q8tool.passes.merge_conversions import merge_conversions
from q8tool.passes.sink_dequantize import sink_dequantize

__all__ = ["strip"]


def strip(model: ir.Model) -> list[Change]:
    """Removes conversions that cancel; a second call finds nothing to do.

    Ends because each step removes a conversion or moves one towards the outputs.
    """
    changes: list[Change] = []
    while True:
        found = [
            *cancel_conversions(model),
            *merge_conversions(model),
            *sink_dequantize(model),
            *share_dequantize(model),
        ]
        if not found:
            return changes
        changes += found
