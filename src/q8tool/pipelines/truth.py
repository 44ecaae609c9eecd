"""Truth: which class a photo really is, by the folder that it lies in or by a table.

photos/tulip/1.jpg            the folder's name is one of the model's labels, or a class number
1.jpg,5  or  1.jpg,tulip      a CSV file: name of the photo, number or name of the class
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from q8tool.errors import InputError

__all__ = ["classes_by_folder", "classes_by_table", "true_classes"]

_FILE_COLUMNS = ("file", "filename", "path", "image", "photo")
_NUMBER_COLUMNS = ("class_index", "index", "class_id", "class", "label")
_NAME_COLUMNS = ("class_name", "name", "label", "class")


def true_classes(
    photos: Sequence[Path], labels: Sequence[str], table: Path | None, offset: int = 0
) -> dict[str, int]:
    """Photo -> class: by the table if there is one, else by folders; empty if neither says it."""
    if table is not None:
        return classes_by_table(table, photos, labels, offset)
    return classes_by_folder(photos, labels)


def classes_by_folder(photos: Sequence[Path], labels: Sequence[str]) -> dict[str, int]:
    """Photo -> class, where the folders of all photos are named after classes; else nothing."""
    known = _by_name(labels)
    found = {}
    for photo in photos:
        number = _class_of(photo.parent.name, known)
        if number is None:
            return {}
        found[str(photo)] = number
    # Photos of one class only, in a folder that happens to bear a number, say nothing.
    return found if len(set(found.values())) > 1 else {}


def classes_by_table(
    table: Path, photos: Sequence[Path], labels: Sequence[str], offset: int = 0
) -> dict[str, int]:
    """Photo -> class by a CSV file, whose names are paths below some folder or file names.

    offset  added to class numbers, such as 1 for a model whose class 0 is the background
    Raises InputError if the table cannot be read, has a class that is none, or none of the photos.
    """
    rows = _rows(table)
    known = _by_name(labels)
    by_file: dict[str, int] = {}
    for number, (file, label) in enumerate(rows, 2):
        index = _class_of(label, known, offset)
        if index is None:
            raise InputError(
                f"{table}:{number}: '{label}' is no class",
                "give class numbers, or names as the model's labels have them",
            )
        by_file[file] = index
    found = {}
    for photo in photos:
        tails = ["/".join(photo.parts[start:]) for start in range(len(photo.parts))]
        match = next((by_file[tail] for tail in tails if tail in by_file), None)
        if match is not None:
            found[str(photo)] = match
    if not found:
        raise InputError(f"{table}: none of the photos stands in it", "names are file names")
    return found


def _rows(table: Path) -> list[tuple[str, str]]:
    """(file, class) of each line; the class as number where there is one."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (getattr(error, "strerror", None) or "").lower() or "it is not a table in UTF-8"
        raise InputError(f"{table}: cannot be read: {reason}") from error
    head = [name.strip().lower() for name in lines[0]] if lines else []
    file = _column(head, _FILE_COLUMNS)
    label = _column(head, _NUMBER_COLUMNS)
    if label is None:
        label = _column(head, _NAME_COLUMNS)
    if file is None and label is None and len(head) == 2:
        file, label = 0, 1  # no head line
    elif file is not None and label is not None:
        lines = lines[1:]
    else:
        raise InputError(
            f"{table}: no columns of files and classes",
            "its first line must name them, such as: file,class_index",
        )
    if any(len(line) <= max(file, label) for line in lines):
        raise InputError(f"{table}: a line has too few columns")
    return [(line[file].strip(), line[label].strip()) for line in lines]


def _column(head: Sequence[str], names: Sequence[str]) -> int | None:
    return next((head.index(name) for name in names if name in head), None)


def _by_name(labels: Sequence[str]) -> Mapping[str, int]:
    """Label -> index, for labels that only one class bears."""
    plain = [_plain(label) for label in labels]
    return {name: index for index, name in enumerate(plain) if plain.count(name) == 1}


def _class_of(text: str, known: Mapping[str, int], offset: int = 0) -> int | None:
    named = known.get(_plain(text))
    if named is not None:
        return named
    return int(text) + offset if text.isascii() and text.isdigit() else None


def _plain(text: str) -> str:
    return text.strip().lower().replace("_", " ")
