"""Folders of photos: what is a class, what is a photo, what is left out and why."""

import os
from pathlib import Path

import pytest

from q8tool.errors import InputError
from q8tool.train.folders import find_classes
from tests.train.photos import COLOURS, colour_folders, photo

RED, GREEN, BLUE = COLOURS.values()


def names(folder: Path) -> dict[str, list[str]]:
    found = find_classes(folder)
    return {
        label: [item.name for item in found.photos if item.label == index]
        for index, label in enumerate(found.labels)
    }


def test_a_folder_per_class_sorted_nested_ones_belong_to_it(tmp_path: Path) -> None:
    photo(tmp_path / "tulip" / "b.png", RED)
    photo(tmp_path / "rose" / "garden" / "deep" / "a.jpg", GREEN)
    photo(tmp_path / "rose" / "C.JPEG", GREEN)
    assert names(tmp_path) == {"rose": ["C.JPEG", "a.jpg"], "tulip": ["b.png"]}


def test_classes_keep_their_names_whatever_they_are(tmp_path: Path) -> None:
    labels = ["a b", "a-b", "A-B", "a_b", "Gänseblümchen", "玫瑰", "🌻", "x,y;'\""]
    for label in labels:
        photo(tmp_path / label / "1.png", RED)
    assert list(find_classes(tmp_path).labels) == sorted(labels)


def test_what_is_no_photo_is_listed_with_the_reason(tmp_path: Path) -> None:
    colour_folders(tmp_path, {"red": 1, "green": 1})
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "red" / "Thumbs.db").write_text("x")
    (tmp_path / "red" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".git").mkdir()
    photo(tmp_path / ".git" / "1.png", RED)
    photo(tmp_path / "red" / "._1.png", RED)
    found = find_classes(tmp_path)
    assert list(found.labels) == ["green", "red"]
    assert len(found.photos) == 2
    assert {Path(file).name: reason for file, reason in found.skipped} == {
        "notes.txt": "lies beside the folders of the classes",
        "Thumbs.db": "no photo by its name",
        "gone.png": "a link to nowhere",
        "empty": "a folder without a photo",
    }


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    elsewhere = colour_folders(tmp_path / "elsewhere", {"blue": 2})
    folder = colour_folders(tmp_path / "photos", {"red": 1})
    (folder / "blue").symlink_to(elsewhere / "blue")
    (folder / "red" / "linked.png").symlink_to(elsewhere / "blue" / "0.png")
    (folder / "red" / "self").symlink_to(folder / "red")
    assert names(folder) == {"blue": ["0.png", "1.png"], "red": ["0.png", "linked.png"]}


def test_train_val_and_test_folders_give_the_parts(tmp_path: Path) -> None:
    for part in ("train", "Val", "test"):
        colour_folders(tmp_path / part, {"red": 1, "green": 1})
    found = find_classes(tmp_path)
    assert list(found.labels) == ["green", "red"]
    assert [item.part for item in found.photos] == ["validation", "test", "training"] * 2


def test_classes_called_train_and_test_are_classes(tmp_path: Path) -> None:
    photo(tmp_path / "train" / "1.png", RED)
    photo(tmp_path / "bus" / "1.png", GREEN)
    photo(tmp_path / "test" / "1.png", GREEN)
    assert list(find_classes(tmp_path).labels) == ["bus", "test", "train"]


@pytest.mark.parametrize(
    ("counts", "message"),
    [({}, "holds no folder with photos"), ({"red": 3}, "holds photos of one class only, 'red'")],
)
def test_fewer_than_two_classes(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_classes(colour_folders(tmp_path, counts))


def test_a_folder_one_level_too_high_is_guessed(tmp_path: Path) -> None:
    colour_folders(tmp_path / "photos", {"red": 1, "green": 1})
    with pytest.raises(InputError) as caught:
        find_classes(tmp_path)
    assert caught.value.hint == f"did you mean {tmp_path / 'photos'}?"


def test_no_folder_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_classes(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is no folder"):
        find_classes(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_rights_is_listed(tmp_path: Path) -> None:
    colour_folders(tmp_path, {"red": 1, "green": 1})
    locked = tmp_path / "red" / "locked"
    locked.mkdir(mode=0)
    assert (str(locked), "permission denied") in find_classes(tmp_path).skipped
