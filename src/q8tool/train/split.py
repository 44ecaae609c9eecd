"""Split: which photos the head learns from, which choose its settings, which only judge it.

The side of a photo follows from a hash of its class and its file name, so it stays on it when the
folder moves, is renamed or gets more photos. As in 2016, what follows `_nohash_` in a name does not
count: rose_nohash_1.jpg and rose_nohash_2.jpg, pictures of one rose, stay together.

    0 %      validation_percentage                + testing_percentage                     100 %
    |------------- validation -------------|---------- test ----------|------ training ------|
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from q8tool.errors import InputError
from q8tool.train.folders import Folders, Part, Photo

__all__ = ["Split", "hash_percentage", "split_photos"]

_BUCKETS = 2**27


@dataclass(frozen=True)
class Split:
    """The side of each photo.

    parts    as long as the photos
    moved    indices of photos that went to another side than their hash says, because a class
             would have had no photo there
    """

    parts: Sequence[Part]
    moved: Sequence[int]

    def indices(self, *parts: Part) -> list[int]:
        """The photos of these parts, in order."""
        return [index for index, part in enumerate(self.parts) if part in parts]


def hash_percentage(label: str, file_name: str, seed: int = 0) -> float:
    """Where a photo stands between 0 and 100, from SHA-1 of "label/file name".

    Composed and decomposed letters (NFC, NFD) count as the same: file systems exchange them.
    Source: retrain.py of TensorFlow, 2016, there on the whole path.
    """
    name = re.sub(r"_nohash_.*$", "", file_name)
    text = unicodedata.normalize("NFC", f"{label}/{name}" + (f"/{seed}" if seed else ""))
    number = int(hashlib.sha1(text.encode("utf-8", "surrogateescape")).hexdigest(), 16)
    return (number % _BUCKETS) * 100.0 / (_BUCKETS - 1)


def split_photos(folders: Folders, testing: float, validation: float, seed: int = 0) -> Split:
    """The side of each photo.

    testing, validation   percentages; a part of 0 % stays empty unless folders name it
    Raises InputError for a class with fewer photos than there are parts.
    """
    if testing + validation >= 100:
        raise InputError(
            f"{testing:g} % for the test and {validation:g} % for validation leave nothing to train"
        )
    given = {photo.part for photo in folders.photos} - {None}
    # Folders that name a part take its percentage away: nobody else gets into it.
    testing = 0.0 if "test" in given else testing
    validation = 0.0 if "validation" in given else validation
    wanted: list[Part] = ["training"]
    wanted += ["validation"] if validation or "validation" in given else []
    wanted += ["test"] if testing or "test" in given else []
    places = [
        hash_percentage(folders.labels[photo.label], photo.name, seed) for photo in folders.photos
    ]
    parts = [
        _side(photo, place, testing, validation)
        for photo, place in zip(folders.photos, places, strict=True)
    ]
    moved: list[int] = []
    for label in range(len(folders.labels)):
        mine = [i for i, photo in enumerate(folders.photos) if photo.label == label]
        moved += _fill(folders.labels[label], mine, parts, places, wanted)
    return Split(parts, moved)


def _side(photo: Photo, place: float, testing: float, validation: float) -> Part:
    if photo.part in ("validation", "test"):
        return photo.part
    if place < validation:
        return "validation"
    return "test" if place < validation + testing else "training"


def _fill(
    label: str, mine: Sequence[int], parts: list[Part], places: Sequence[float], wanted: list[Part]
) -> list[int]:
    """Give each wanted part of a class a photo: the one of the largest part that is nearest."""
    if len(mine) < len(wanted):
        photos = "1 photo" if len(mine) == 1 else f"{len(mine)} photos"
        raise InputError(
            f"class '{label}' has {photos}, one each is needed for {', '.join(wanted)}",
            "add photos, or leave parts out: --testing-percentage 0, --validation-percentage 0",
        )
    moved = []
    for part in wanted:
        if any(parts[i] == part for i in mine):
            continue
        counts = {name: sum(parts[i] == name for i in mine) for name in wanted}
        largest = max(wanted, key=lambda name: counts[name])
        candidates = [i for i in mine if parts[i] == largest]
        pick = max if part == "training" else min
        chosen = pick(candidates, key=lambda i: (places[i], i))
        parts[chosen] = part
        moved.append(chosen)
    return moved
