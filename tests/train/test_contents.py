"""Contents: copies within a class count once, those in several classes not at all."""

from pathlib import Path

from q8tool.train.contents import digest, find_duplicates
from q8tool.train.folders import Photo


def test_groups() -> None:
    photos = [Photo(Path(f"{i}.png"), label) for i, label in enumerate([0, 0, 0, 1, 1])]
    found = find_duplicates(photos, ["x", "y", "x", "y", "z"])
    assert list(found.kept) == [0, 4]
    assert [list(group) for group in found.repeated] == [[0, 2]]
    assert [list(group) for group in found.disputed] == [[1, 3]]


def test_a_copy_in_the_test_part_is_not_learnt_from() -> None:
    photos = [Photo(Path("a.png"), 0, "training"), Photo(Path("b.png"), 0, "test")]
    assert list(find_duplicates(photos, ["x", "x"]).kept) == [1]


def test_the_digest_is_sha256() -> None:
    assert digest(b"abc").startswith("ba7816bf8f01cfea")
