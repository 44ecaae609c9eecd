"""Names of classes: from a text file or the model, made to fit the number of classes."""

from collections.abc import Sequence
from pathlib import Path

from q8tool.errors import InputError

__all__ = ["fit_labels", "read_labels"]

# What lists of ImageNet's classes call class 0 where it is none of them.
_BACKGROUND = ("background", "dummy", "unknown")


def read_labels(path: Path) -> list[str]:
    """One label per line; blank lines at the end do not count. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: labels must be text in UTF-8, one per line") from error
    except OSError as error:
        raise InputError(
            f"{path}: labels cannot be read: {(error.strerror or str(error)).lower()}"
        ) from error
    labels = [line.strip() for line in text.rstrip().splitlines()]
    if not labels:
        raise InputError(f"{path}: holds no labels")
    return labels


def fit_labels(labels: Sequence[str], count: int) -> tuple[list[str], str]:
    """A name for each of `count` classes, and a warning (may be empty).

    A list without the background class fits a model that has it, and the other way round. No
    labels at all are no reason for a warning: classes have their numbers.
    """
    if labels and len(labels) == count - 1:
        return ["background", *labels], ""
    if len(labels) == count + 1 and labels[0].lower() in _BACKGROUND:
        return list(labels[1:]), ""
    missing = [f"class {index}" for index in range(len(labels), count)]
    warning = f"there are {len(labels)} labels for {count} classes; they may be of another model"
    fits = not labels or len(labels) == count
    return [*labels[:count], *missing], "" if fits else warning
