"""What libraries raise about a damaged model, as the one error that says so.

onnx, onnx-ir, protobuf and numpy each have errors of their own for a field that cannot be, and not
always the one that its kind suggests. Where a model is handed to them, whatever they raise is an
answer about the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from q8tool.errors import InputError, Q8Error

__all__ = ["first_line", "refusals_named"]


@contextmanager
def refusals_named(where: str) -> Iterator[None]:
    """Raises InputError in place of what is raised inside of the block.

    where   names the model or the node in the message

    Errors of ours, of the file system and of memory that is short pass.
    """
    try:
        yield
    except (Q8Error, OSError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{where}: is not valid ONNX: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of the root cause that says something, without onnx's 'Bad node spec' part."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
