"""What q8tool notes in a model's metadata: labels, preprocessing, provenance."""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from q8tool.errors import InputError

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "PREFIX",
    "Annotated",
    "labels",
    "notes",
    "preprocess",
    "scaled_values",
    "set_labels",
    "set_note",
    "set_preprocess",
    "set_scaled_values",
]

PREFIX = "q8tool."
_LABELS = "q8tool.labels"
_PREPROCESS = "q8tool.preprocess"
_SCALED = "q8tool.scaled_values"


class Annotated(Protocol):
    """Whatever has a model's metadata: an onnx_ir.Model, a Session."""

    @property
    def metadata_props(self) -> Mapping[str, str]:
        """Notes by key."""


def labels(model: Annotated) -> list[str] | None:
    """The class names by index, or None if the model carries none.

    Reads q8tool.labels (a JSON list) and else `names` as Ultralytics writes it (a Python dict of
    index to name). Raises InputError if q8tool.labels is not a list of strings.
    """
    text = model.metadata_props.get(_LABELS)
    if text is None:
        return _ultralytics_names(model.metadata_props.get("names", ""))
    found = _parsed(_LABELS, text)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InputError(f"metadata {_LABELS}: a JSON list of strings is needed")
    return found


def set_labels(model: "ir.Model", names: Sequence[str]) -> None:
    """Store the class names, by index."""
    model.metadata_props[_LABELS] = json.dumps(list(names), ensure_ascii=False)


def preprocess(model: Annotated) -> dict[str, Any] | None:
    """How photos become the input tensor (docs/format.md), or None if the model does not say.

    Raises InputError if the note is not a JSON object.
    """
    text = model.metadata_props.get(_PREPROCESS)
    if text is None:
        return None
    found = _parsed(_PREPROCESS, text)
    if not isinstance(found, dict):
        raise InputError(f"metadata {_PREPROCESS}: a JSON object is needed")
    return found


def set_preprocess(model: "ir.Model", rules: Mapping[str, Any]) -> None:
    """Store how photos become the input tensor; keys in a fixed order, so same rules same bytes."""
    model.metadata_props[_PREPROCESS] = json.dumps(dict(rules), sort_keys=True)


def scaled_values(model: Annotated) -> dict[str, int | None]:
    """Values whose channels quantize scaled, by name, and their axis; None: changed otherwise.

    Empty without a note. Raises InputError if the note is not a JSON object of integers.
    """
    found = _parsed(_SCALED, model.metadata_props.get(_SCALED, "{}"))
    if not isinstance(found, dict) or not all(
        type(axis) in (int, type(None)) for axis in found.values()
    ):
        raise InputError(f"metadata {_SCALED}: a JSON object of integers is needed")
    return found


def set_scaled_values(model: "ir.Model", axes: Mapping[str, int | None]) -> None:
    """Store which values have channels of another scale than in the model they come from."""
    model.metadata_props[_SCALED] = json.dumps(dict(axes), sort_keys=True)


def notes(model: Annotated) -> dict[str, str]:
    """All q8tool notes of the model without the prefix, sorted by key."""
    props = model.metadata_props
    return {key[len(PREFIX) :]: props[key] for key in sorted(props) if key.startswith(PREFIX)}


def set_note(model: "ir.Model", key: str, value: str) -> None:
    """Store one note of provenance under q8tool.KEY."""
    model.metadata_props[PREFIX + key] = value


def _parsed(key: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"metadata {key}: is not JSON: {error}") from error


def _ultralytics_names(text: str) -> list[str] | None:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(found, dict) or sorted(found, key=str) != sorted(range(len(found)), key=str):
        return None
    return [str(found[index]) for index in range(len(found))]
