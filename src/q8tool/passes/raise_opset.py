"""Raise opset: a newer version of the standard where the result needs it.

Per-channel DequantizeLinear exists since opset 13. The standard's own converter rewrites what
changed in between; weights stay outside of it, so that models of any size pass.
"""

import onnx
import onnx_ir as ir

from q8tool.errors import UnsupportedError
from q8tool.model.change import Change

__all__ = ["OPSET_FOR_EIGHT_BIT", "raise_opset"]

OPSET_FOR_EIGHT_BIT = 13


def raise_opset(model: ir.Model, least: int = OPSET_FOR_EIGHT_BIT) -> tuple[ir.Model, list[Change]]:
    """The model at opset `least` or newer (a new model only if it had to be converted).

    Raises UnsupportedError if an operator cannot be converted.
    """
    current = model.opset_imports.get("", 0)
    if current >= least:
        return model, []
    try:
        converted = onnx.version_converter.convert_version(ir.to_proto(model), least)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedError(
            f"the model cannot be converted from opset {current} to {least}: {reason}"
        ) from error
    change = Change("raise_opset", model.graph.name or "model", f"opset {current} -> {least}")
    return ir.from_proto(converted), [change]
