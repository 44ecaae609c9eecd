"""The standard's own checker, for models of any size."""

import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass

from q8tool.errors import InputError
from q8tool.model.refusals import refusals_named
from q8tool.model.shapes import absurd_value
from q8tool.model.sound_inference import guard_inference

__all__ = ["check", "check_made"]


def check(model: ir.Model, where: str = "model") -> None:
    """Run onnx's checker with full check (structure, types, shapes); weights stay where they are.

    where   names the model in the message, usually its file
    Raises InputError with the checker's reason in one line, and for a shape no tensor can have.
    """
    value = absurd_value(model)
    if value is not None:
        raise InputError(f"{where}: value '{value.name}' cannot have the shape {value.shape}")
    guard_inference()
    with refusals_named(where):
        CheckerPass(full_check=True)(model)


def check_made(model: ir.Model, where: str, original: ir.Model, source: str) -> None:
    """check of what was made of another model: what was wrong with that already is said of it.

    Shapes that its file declares and nobody believes, say: other runtimes overlook them.
    """
    try:
        check(model, where)
    except InputError:
        check(original, source)
        raise
