"""The photos of retrain: found, read, without copies, each on its side of the split."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from q8tool.errors import InputError
from q8tool.native.cpu import core_count
from q8tool.pipelines.progress import Progress
from q8tool.train.contents import digest, find_duplicates
from q8tool.train.features import Wanted
from q8tool.train.folders import Folders, Part, Photo, find_classes
from q8tool.train.split import hash_percentage, split_photos

__all__ = ["FEW", "UNEVEN", "DataSet", "read_data_set", "warnings_about"]

# Below so many photos a class is hard to learn; above this ratio of sizes, advice is given.
FEW, UNEVEN = 20, 5


@dataclass(frozen=True)
class DataSet:
    """Photos that can be read, and what became of the others.

    digests, parts  of each photo
    repeated, disputed  groups of equal files: within a class, across classes (none is used)
    """

    folder: Path
    labels: Sequence[str]
    photos: Sequence[Photo]
    digests: Sequence[str]
    parts: Sequence[Part]
    moved: Sequence[int]
    skipped: Sequence[tuple[str, str]]
    repeated: Sequence[Sequence[str]]
    disputed: Sequence[Sequence[str]]
    percentages: tuple[float, float]
    seed: int

    def indices(self, *parts: Part) -> list[int]:
        """The photos of these parts, in order."""
        return [index for index, part in enumerate(self.parts) if part in parts]

    def wanted(self, indices: Sequence[int]) -> list[Wanted]:
        """What to compute features of."""
        return [Wanted(self.photos[index].path, self.digests[index]) for index in indices]

    def file(self, index: int) -> str:
        """A photo's path below the folder: class/name."""
        return os.path.relpath(self.photos[index].path, self.folder)

    def counts(self) -> dict[str, list[int]]:
        """Part -> photos of each class."""
        return {
            part: [
                sum(p == part and photo.label == label for p, photo in self._sides())
                for label in range(len(self.labels))
            ]
            for part in ("training", "validation", "test")
        }

    def _sides(self) -> list[tuple[Part, Photo]]:
        return list(zip(self.parts, self.photos, strict=True))

    def split_rows(self) -> list[tuple[str, str, str, float]]:
        """File, label, part and hash percentage of each photo."""
        return [
            (self.file(index), self.labels[photo.label], self.parts[index],
             hash_percentage(self.labels[photo.label], photo.name, self.seed))
            for index, photo in enumerate(self.photos)
        ]  # fmt: skip

    def without(self, failures: Sequence[tuple[int, str]]) -> "DataSet":
        """The same without some photos, split anew: a class may need another one in a part."""
        if not failures:
            return self
        lost = dict(failures)
        kept = [index for index in range(len(self.photos)) if index not in lost]
        skipped = [(str(self.photos[index].path), reason) for index, reason in failures]
        return _split(
            replace(
                self,
                photos=[self.photos[index] for index in kept],
                digests=[self.digests[index] for index in kept],
                skipped=[*self.skipped, *skipped],
            )
        )


def read_data_set(
    folder: Path, testing: float, validation: float, seed: int, progress: Progress
) -> DataSet:
    """All photos of a folder of classes, read and split; broken ones are found when decoded.

    Raises InputError if there are fewer than two classes, or too few photos in one.
    """
    found = find_classes(folder)
    contents = _digests([photo.path for photo in found.photos], progress)
    skipped = list(found.skipped)
    photos, digests = [], []
    for photo, (key, reason) in zip(found.photos, contents, strict=True):
        if reason:
            skipped.append((str(photo.path), reason))
        else:
            photos.append(photo)
            digests.append(key)
    same = find_duplicates(photos, digests)
    names = [os.path.relpath(photo.path, folder) for photo in photos]
    return _split(
        DataSet(
            folder=folder,
            labels=found.labels,
            photos=[photos[index] for index in same.kept],
            digests=[digests[index] for index in same.kept],
            parts=[],
            moved=[],
            skipped=skipped,
            repeated=[[names[index] for index in group] for group in same.repeated],
            disputed=[[names[index] for index in group] for group in same.disputed],
            percentages=(testing, validation),
            seed=seed,
        )
    )


def warnings_about(data: DataSet) -> list[str]:
    """What people should know before they trust the result."""
    sizes = [0] * len(data.labels)
    for photo in data.photos:
        sizes[photo.label] += 1
    small = [f"'{data.labels[i]}' ({n})" for i, n in enumerate(sizes) if n < FEW]
    warnings = []
    if small:
        warnings.append(f"classes with fewer than {FEW} photos: {', '.join(small)}")
    if max(sizes) > UNEVEN * min(sizes):
        most, fewest = sizes.index(max(sizes)), sizes.index(min(sizes))
        warnings.append(
            f"'{data.labels[most]}' has {max(sizes)} photos, '{data.labels[fewest]}' "
            f"{min(sizes)}: all classes weigh the same, but more photos would help"
        )
    if data.disputed:
        warnings.append(f"{len(data.disputed)} photos are in several classes and were left out")
    if data.repeated:
        warnings.append(f"{len(data.repeated)} photos are there more than once and count once")
    return warnings


def _split(data: DataSet) -> DataSet:
    present = {photo.label for photo in data.photos}
    missing = [name for index, name in enumerate(data.labels) if index not in present]
    if missing:
        raise InputError(
            f"class '{missing[0]}' has no usable photo left",
            "mend its photos, or take its folder away",
        )
    testing, validation = data.percentages
    folders = Folders(data.labels, data.photos, [])
    split = split_photos(folders, testing, validation, data.seed)
    return replace(data, parts=split.parts, moved=split.moved)


def _digests(paths: Sequence[Path], progress: Progress) -> list[tuple[str, str]]:
    """(digest, "") of each file, or ("", why it cannot be read)."""
    results = []
    with ThreadPoolExecutor(core_count()) as pool:
        for done, result in enumerate(pool.map(_digest_of, paths), 1):
            results.append(result)
            progress("reading photos", done, len(paths))
    return results


def _digest_of(path: Path) -> tuple[str, str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", (error.strerror or str(error)).lower()
    return (digest(content), "") if content else ("", "is empty")
