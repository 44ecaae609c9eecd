"""Soundness: is a model file to blame when a command fails in a way that nobody foresaw?

A file that another program wrote, or that was damaged on its way, can be wrong in more places than
commands look at. Then it is looked at as a whole: by the standard's checker, and by running it.
"""

from pathlib import Path

from q8tool.engine.session import Session
from q8tool.errors import InputError
from q8tool.model import io
from q8tool.model.check import check
from q8tool.pipelines.agreement import first_run

__all__ = ["fault"]


def fault(path: Path) -> InputError | None:
    """What is wrong with a model; None if nothing is, and for what is no model."""
    if path.suffix.lower() not in io.MODEL_ENDINGS or not path.is_file():
        return None
    try:
        model = io.load(path)
        check(model, str(path))
        first_run(model, Session(model).run)
    except InputError as error:
        return error
    except Exception:  # as unforeseen as the first one, which says more
        return None
    return None
