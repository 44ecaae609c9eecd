"""The split: by hash of class and name, stable, every class in every part."""

import hashlib
import random
from pathlib import Path

import pytest

from q8tool.errors import InputError
from q8tool.train.folders import Folders, Part, Photo
from q8tool.train.split import hash_percentage, split_photos


def folders(counts: dict[str, int], part: Part | None = None, at: str = "/x") -> Folders:
    labels = sorted(counts)
    photos = [
        Photo(Path(at, label, f"{number}.jpg"), index, part)
        for index, label in enumerate(labels)
        for number in range(counts[label])
    ]
    return Folders(labels, photos, [])


def sides(
    found: Folders, testing: float = 10, validation: float = 10, seed: int = 0
) -> dict[str, str]:
    split = split_photos(found, testing, validation, seed)
    return {
        f"{found.labels[photo.label]}/{photo.name}": part
        for photo, part in zip(found.photos, split.parts, strict=True)
    }


def test_the_percentage_is_sha1_of_class_and_name() -> None:
    number = int(hashlib.sha1(b"rose/1.jpg").hexdigest(), 16) % 2**27
    assert hash_percentage("rose", "1.jpg") == pytest.approx(100 * number / (2**27 - 1))
    assert hash_percentage("rose", "1.jpg", seed=1) != hash_percentage("rose", "1.jpg")


def test_pictures_of_one_thing_stay_together() -> None:
    one = hash_percentage("rose", "mine_nohash_1.jpg")
    assert one == hash_percentage("rose", "mine_nohash_2.png") == hash_percentage("rose", "mine")
    assert one != hash_percentage("rose", "mine_1.jpg")


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert hash_percentage("B\u00e4r", "1.jpg") == hash_percentage("Ba\u0308r", "1.jpg")


def test_moving_the_folder_or_adding_photos_changes_nobodys_side() -> None:
    before = sides(folders({"a": 60, "b": 80}))
    assert sides(folders({"a": 60, "b": 80}, at="/elsewhere/renamed")) == before
    after = sides(folders({"a": 90, "b": 80, "c": 70}))
    assert {name: after[name] for name in before} == before


def test_shares_come_out_about_right_and_seeds_differ() -> None:
    found = folders({"a": 3000, "b": 3000})
    parts = list(sides(found, testing=20, validation=5).values())
    assert parts.count("test") / 6000 == pytest.approx(0.20, abs=0.02)
    assert parts.count("validation") / 6000 == pytest.approx(0.05, abs=0.01)
    assert sides(found, seed=1) != sides(found, seed=2)


@pytest.mark.parametrize("count", [3, 4, 19])
def test_every_class_has_a_photo_in_each_part(count: int) -> None:
    for trial in range(20):
        found = folders({f"a{trial}": count, f"b{trial}": count})
        split = split_photos(found, 10, 10)
        for label in range(2):
            mine = {p for p, photo in zip(split.parts, found.photos, strict=True)
                    if photo.label == label}  # fmt: skip
            assert mine == {"training", "validation", "test"}
    # What had to move is said.
    assert len(split_photos(folders({"a": 3, "b": 3}), 10, 10).moved) >= 1


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_photos_for_three_parts(count: int) -> None:
    with pytest.raises(InputError, match=f"class 'small' has {count} photo") as caught:
        split_photos(folders({"big": 50, "small": count}), 10, 10)
    assert "--testing-percentage 0" in caught.value.hint
    parts = sides(folders({"big": 50, "small": count}), 0, 0)
    assert set(parts.values()) == {"training"}


def test_given_parts_are_kept_and_the_rest_is_hashed() -> None:
    labels = ["a", "b"]
    photos = [
        Photo(Path("/x", part, label, f"{n}.jpg"), index, part)
        for index, label in enumerate(labels)
        for part in ("training", "test")
        for n in range(40)
    ]
    split = split_photos(Folders(labels, photos, []), 10, 10)
    given = [p for p, photo in zip(split.parts, photos, strict=True) if photo.part == "test"]
    rest = [p for p, photo in zip(split.parts, photos, strict=True) if photo.part != "test"]
    assert set(given) == {"test"}
    assert set(rest) == {"training", "validation"}


def test_nothing_left_to_train() -> None:
    with pytest.raises(InputError, match="leave nothing to train"):
        split_photos(folders({"a": 9, "b": 9}), 50, 50)


def test_order_of_the_photos_does_not_matter() -> None:
    found = folders({"a": 19, "b": 3})
    shuffled = list(found.photos)
    random.Random(0).shuffle(shuffled)
    assert sides(Folders(found.labels, shuffled, [])) == sides(found)
