"""Ranges: the lowest and highest real value of each tensor, and their text file.

The file is JSON that one can read, edit and diff:

    {
      "format": "q8tool.ranges",
      "version": 1,
      "preprocess": {"size": [224, 224], ...},
      "ranges": {
        "conv1": [0.0, 5.93],
        ...
      },
      "statistics": {"method": "mse", "samples": 100, "tensors": {
        "conv1": {"low": 0.0, "high": 6.1, "width": 0.0078125, "first": 1024, "counts": [...]},
        ...

`ranges` is what quantize uses; whoever writes a file by hand needs nothing else. `statistics` is
what merging needs. A range that is not what its statistics say was edited by hand, and stays.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from q8tool.calibrate.statistics import Statistics
from q8tool.errors import InputError, UsageError

__all__ = ["FORMAT", "Ranges", "RangesFile", "load_ranges", "merge_files", "merge_ranges"]

FORMAT = "q8tool.ranges"
VERSION = 1

Ranges = dict[str, tuple[float, float]]
"""Tensor name -> (low, high), real units, low <= high."""


@dataclass(frozen=True)
class RangesFile:
    """What a ranges file holds.

    statistics  what the ranges come from; None where somebody wrote them
    preprocess  how photos became the input (docs/format.md); None if it is not known
    """

    ranges: Ranges
    statistics: Statistics | None = None
    preprocess: Mapping[str, Any] | None = None

    @property
    def edited(self) -> Ranges:
        """The ranges that are not what their statistics say."""
        measured = {} if self.statistics is None else self.statistics.ranges()
        return {name: ends for name, ends in self.ranges.items() if measured.get(name) != ends}

    def text(self) -> str:
        """The file's text: one tensor per line, sorted; floats read back to the same value."""
        head = [f'  "format": "{FORMAT}"', f'  "version": {VERSION}']
        if self.preprocess is not None:
            head.append(f'  "preprocess": {json.dumps(dict(self.preprocess), sort_keys=True)}')
        ends = {name: [float(low), float(high)] for name, (low, high) in self.ranges.items()}
        head.append(f'  "ranges": {_object(ends)}')
        if self.statistics is not None:
            kept = self.statistics.to_json()
            about = f'"method": "{kept["method"]}", "samples": {kept["samples"]}'
            head.append(f'  "statistics": {{{about}, "tensors": {_object(kept["tensors"])}}}')
        return "{\n" + ",\n".join(head) + "\n}\n"


def _object(entries: Mapping[str, Any]) -> str:
    """A JSON object with one entry per line, sorted by name."""
    lines = [f"    {json.dumps(name)}: {json.dumps(entries[name])}" for name in sorted(entries)]
    return "{\n" + ",\n".join(lines) + "\n  }"


def load_ranges(path: Path) -> RangesFile:
    """Reads a ranges file.

    Raises InputError, naming the file and the tensor, if it is missing, is no ranges file, or holds
    something that is not a range.
    """
    document = _document(path)
    entries = document.get("ranges")
    if not isinstance(entries, dict):
        raise InputError(f'{path}: "ranges" must be an object of name: [low, high]')
    ranges = {name: _checked(path, name, value) for name, value in entries.items()}
    statistics, preprocess = document.get("statistics"), document.get("preprocess")
    if preprocess is not None and not isinstance(preprocess, dict):
        raise InputError(f'{path}: "preprocess" must be an object')
    if statistics is None:
        return RangesFile(ranges, None, preprocess)
    try:
        return RangesFile(ranges, Statistics.from_json(statistics), preprocess)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the statistics are damaged: {error}", 'without "statistics" it can be used'
        ) from error


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"{path}: cannot read the ranges: {reason.lower()}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise InputError(f"{path}: not a ranges file: it is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{path}: not a ranges file: a number is too long") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(
            f"{path}: not a ranges file", f'it must hold "format": "{FORMAT}" and "ranges"'
        )
    if document.get("version") != VERSION:
        raise InputError(f"{path}: ranges of version {document.get('version')}, not {VERSION}")
    return document


def merge_files(parts: Sequence[RangesFile]) -> RangesFile:
    """What one calibration over the samples of all parts would have written. At least one part.

    Ranges without statistics, and edited ones, stay; where several parts have one, its widest ends.
    Raises UsageError for parts of different methods or different preprocessing.
    """
    rules = [part.preprocess for part in parts if part.preprocess is not None]
    if any(rule != rules[0] for rule in rules):
        raise UsageError(
            "the ranges come from photos that were preprocessed in different ways",
            "calibrate all parts with the same --preset, --mean, --std and --size",
        )
    counted = [part.statistics for part in parts if part.statistics is not None]
    statistics = Statistics.merged(counted) if counted else None
    measured = {} if statistics is None else statistics.ranges()
    edited = merge_ranges(part.edited for part in parts)
    return RangesFile({**measured, **edited}, statistics, rules[0] if rules else None)


def merge_ranges(parts: Iterable[Mapping[str, tuple[float, float]]]) -> Ranges:
    """The union of several ranges: per tensor the lowest low and the highest high."""
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
