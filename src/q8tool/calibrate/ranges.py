"""Ranges: the lowest and highest real value of each tensor, and their text file.

The file is JSON that one can read, edit and diff:

    {
      "format": "q8tool.ranges",
      "version": 1,
      "ranges": {
        "conv1": [0.0, 5.93],
        ...
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from q8tool.errors import InputError

__all__ = ["FORMAT", "Ranges", "load_ranges", "merge_ranges", "ranges_text"]

FORMAT = "q8tool.ranges"
VERSION = 1

Ranges = dict[str, tuple[float, float]]
"""Tensor name -> (low, high), real units, low <= high."""


def ranges_text(ranges: Mapping[str, tuple[float, float]]) -> str:
    """The file's text: names sorted, one per line, floats that read back to the same value."""
    lines = [
        f"    {json.dumps(name)}: [{float(low)!r}, {float(high)!r}]"
        for name, (low, high) in sorted(ranges.items())
    ]
    head = f'{{\n  "format": "{FORMAT}",\n  "version": {VERSION},\n  "ranges": {{\n'
    return head + ",\n".join(lines) + "\n  }\n}\n"


def load_ranges(path: Path) -> Ranges:
    """Reads a ranges file.

    Raises InputError, naming the file and the tensor, if it is missing, is no ranges file, or holds
    something that is not a range.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"{path}: cannot read the ranges: {reason.lower()}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(
            f"{path}: not a ranges file", f'it must hold "format": "{FORMAT}" and "ranges"'
        )
    if document.get("version") != VERSION:
        raise InputError(f"{path}: ranges of version {document.get('version')}, not {VERSION}")
    entries = document.get("ranges")
    if not isinstance(entries, dict):
        raise InputError(f'{path}: "ranges" must be an object of name: [low, high]')
    return {name: _checked(path, name, value) for name, value in entries.items()}


def merge_ranges(parts: Iterable[Mapping[str, tuple[float, float]]]) -> Ranges:
    """The union of several runs' ranges: per tensor the lowest low and the highest high."""
    merged: Ranges = {}
    for part in parts:
        for name, (low, high) in part.items():
            known = merged.get(name, (low, high))
            merged[name] = (min(known[0], low), max(known[1], high))
    return merged


def _checked(path: Path, name: str, value: object) -> tuple[float, float]:
    numbers = isinstance(value, list) and len(value) == 2
    if numbers and all(type(end) in (int, float) for end in value):  # type: ignore[attr-defined]
        low, high = (float(end) for end in value)  # type: ignore[attr-defined]
        if math.isfinite(low) and math.isfinite(high) and low <= high:
            return low, high
    raise InputError(f"{path}: tensor '{name}': {value} is not a range", "write [low, high]")
