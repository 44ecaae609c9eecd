"""The standard's own checker, for models of any size."""

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass

from q8tool.errors import InputError
from q8tool.model.shapes import absurd_value

__all__ = ["check", "check_made", "first_line"]


def check(model: ir.Model, where: str = "model") -> None:
    """Run onnx's checker with full check (structure, types, shapes); weights stay where they are.

    where   names the model in the message, usually its file
    Raises InputError with the checker's reason in one line, and for a shape no tensor can have.
    """
    value = absurd_value(model)
    if value is not None:
        raise InputError(f"{where}: value '{value.name}' cannot have the shape {value.shape}")
    try:
        CheckerPass(full_check=True)(model)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(f"{where}: is not valid ONNX: {first_line(error)}") from error


def check_made(model: ir.Model, where: str, original: ir.Model, source: str) -> None:
    """check of what was made of another model: what was wrong with that already is said of it.

    Shapes that its file declares and nobody believes, say: other runtimes overlook them.
    """
    try:
        check(model, where)
    except InputError:
        check(original, source)
        raise


def first_line(error: BaseException) -> str:
    """The first line of the root cause that says something, without onnx's 'Bad node spec' part."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
