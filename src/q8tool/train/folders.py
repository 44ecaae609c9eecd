"""Folders of photos: one folder per class, or train, val and test folders that hold those.

    flowers/rose/a.jpg  flowers/rose/garden/b.png  flowers/tulip/c.webp      -> rose: a, b; tulip: c
    flowers/train/rose/a.jpg  flowers/test/rose/b.jpg                        -> the parts are given

A class is called exactly as its folder. Links are followed, loops are not. Hidden files and folders
are left out: systems keep previews under such names.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from q8tool.errors import InputError
from q8tool.image.load import readable_suffixes

__all__ = ["PARTS", "Folders", "Part", "Photo", "find_classes"]

Part = Literal["training", "validation", "test"]
PARTS: tuple[Part, ...] = ("training", "validation", "test")

_PART_NAMES: dict[str, Part] = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# What the archiver of macOS adds; Windows' and Synology's previews.
_NOT_CLASSES = frozenset({"__macosx", "@eadir"})


@dataclass(frozen=True)
class Photo:
    """A file that should be a photo, and the number of its class.

    part    the side that its folder names, None if its name decides
    """

    path: Path
    label: int
    part: Part | None = None

    @property
    def name(self) -> str:
        """Of the file, without the folders above it."""
        return self.path.name


@dataclass(frozen=True)
class Folders:
    """What was found.

    labels   folder names, sorted; a photo's label is an index into it
    photos   by class, then by path
    skipped  (file or folder, reason) of what is no photo, and of classes without one
    """

    labels: Sequence[str]
    photos: Sequence[Photo]
    skipped: Sequence[tuple[str, str]]


def find_classes(folder: Path) -> Folders:
    """The classes below a folder and the files of each.

    Raises InputError if the folder does not exist, or holds fewer than two classes with photos.
    """
    if not folder.is_dir():
        reason = "is no folder" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {reason}", "it must hold one folder of photos per class")
    skipped: list[tuple[str, str]] = []
    found: dict[str, list[tuple[Path, Part | None]]] = {}
    for base, part in _part_folders(folder):
        for inside in _sorted_entries(base):
            if not inside.is_dir():
                skipped.append((str(inside), "lies beside the folders of the classes"))
            elif inside.name.lower() not in _NOT_CLASSES:
                files = found.setdefault(inside.name, [])
                files += [(path, part) for path in _photos_in(inside, skipped)]
    skipped += [(name, "a folder without a photo") for name in sorted(found) if not found[name]]
    labels = sorted(name for name, files in found.items() if files)
    _check_count(folder, labels)
    photos = [
        Photo(path, index, part)
        for index, name in enumerate(labels)
        for path, part in sorted(found[name], key=lambda item: item[0])
    ]
    return Folders(labels, photos, skipped)


def _part_folders(folder: Path) -> list[tuple[Path, Part | None]]:
    """The folders that hold the classes: the folder itself, or one per part."""
    inside = [entry for entry in _sorted_entries(folder) if entry.is_dir()]
    parts = {entry: _PART_NAMES.get(entry.name.lower()) for entry in inside}
    is_split = "training" in parts.values() and None not in parts.values()
    holds_folders = any(entry.is_dir() for base in inside for entry in _sorted_entries(base))
    if is_split and holds_folders:
        return list(parts.items())
    return [(folder, None)]


def _sorted_entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {_reason(error)}") from error


def _photos_in(folder: Path, skipped: list[tuple[str, str]]) -> Iterator[Path]:
    """Files of a class that are photos by their name, however deep; links followed once."""
    seen = set()
    unreadable: list[OSError] = []
    for base, folders, names in os.walk(folder, followlinks=True, onerror=unreadable.append):
        real = os.path.realpath(base)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(base, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() not in readable_suffixes():
                skipped.append((str(path), "no photo by its name"))
            elif not path.exists():
                skipped.append((str(path), "a link to nowhere"))
            elif not path.is_file():
                skipped.append((str(path), "not a regular file"))
            else:
                yield path
    skipped += [(str(error.filename), _reason(error)) for error in unreadable]


def _check_count(folder: Path, labels: Sequence[str]) -> None:
    if not labels:
        raise InputError(
            f"{folder}: holds no folder with photos", "put the photos of each class into a folder"
        )
    if len(labels) == 1:
        below = folder / labels[0]
        is_deeper = below.is_dir() and sum(entry.is_dir() for entry in _sorted_entries(below)) > 1
        raise InputError(
            f"{folder}: holds photos of one class only, '{labels[0]}'; two are needed",
            f"did you mean {below}?"
            if is_deeper
            else "add a folder with photos of what it is to be told from",
        )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
