"""Contents: a photo is its bytes, wherever it lies and whatever it is called."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from q8tool.train.folders import Photo

__all__ = ["Duplicates", "digest", "find_duplicates"]


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Duplicates:
    """Files with the same bytes.

    kept       indices of photos to use: of those alike in a class the first
    repeated   groups alike within one class, first the kept one
    disputed   groups that are in several classes: which one is right, nobody knows, so none is kept
    """

    kept: Sequence[int]
    repeated: Sequence[Sequence[int]]
    disputed: Sequence[Sequence[int]]


def find_duplicates(photos: Sequence[Photo], digests: Sequence[str]) -> Duplicates:
    """Groups of photos with equal digests.

    A photo that folders put into several parts is kept in the first of test, validation, training:
    nobody may learn what will judge it.
    """
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(digests):
        groups.setdefault(key, []).append(index)
    kept, repeated, disputed = [], [], []
    for group in groups.values():
        if len({photos[index].label for index in group}) > 1:
            disputed.append(group)
            continue
        order = {"test": 0, "validation": 1, "training": 2, None: 3}
        group = sorted(group, key=lambda index: (order[photos[index].part], index))
        kept.append(group[0])
        if len(group) > 1:
            repeated.append(group)
    return Duplicates(sorted(kept), repeated, disputed)
