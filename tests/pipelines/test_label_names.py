"""Names of classes: files of labels, and lists that are one too short or too long."""

from pathlib import Path

import pytest

from q8tool.errors import InputError
from q8tool.pipelines.label_names import fit_labels, read_labels


@pytest.mark.parametrize(
    "data",
    [b"a\nb c\n", b"a\r\nb c\r\n", b"a\nb c\n\n\n", b"\xef\xbb\xbfa\nb c", b" a \n\tb c"],
)
def test_a_line_is_a_label(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "l").write_bytes(data)
    assert read_labels(tmp_path / "l") == ["a", "b c"]


def test_a_blank_line_between_labels_is_a_class_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("a\n\nc\n")
    assert read_labels(tmp_path / "l") == ["a", "", "c"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "holds no labels"), (b"\n \n", "holds no labels"), (b"\xff\xfe", "text in UTF-8")],
)
def test_files_without_labels(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "l").write_bytes(data)
    with pytest.raises(InputError, match=reason):
        read_labels(tmp_path / "l")


def test_labels_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "l")
    with pytest.raises(InputError, match="labels cannot be read: is a directory"):
        read_labels(tmp_path)


@pytest.mark.parametrize(
    ("labels", "count", "names", "is_warned"),
    [
        (["a", "b"], 2, ["a", "b"], False),
        # ImageNet with and without class 0 for "none of these".
        (["a", "b"], 3, ["background", "a", "b"], False),
        (["background", "a"], 1, ["a"], False),
        (["dummy", "a"], 1, ["a"], False),
        ([], 2, ["class 0", "class 1"], False),
        ([], 1, ["class 0"], False),
        (["a"], 3, ["a", "class 1", "class 2"], True),
        (["a", "b"], 1, ["a"], True),
    ],
)
def test_fit(labels: list[str], count: int, names: list[str], is_warned: bool) -> None:
    found, warning = fit_labels(labels, count)
    assert found == names
    assert bool(warning) == is_warned
