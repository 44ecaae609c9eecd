"""Truth: classes by folder or by table; what does not fit is said, or is no truth."""

from pathlib import Path

import pytest

from q8tool.errors import InputError
from q8tool.pipelines.truth import classes_by_folder, classes_by_table

LABELS = ["tench", "white shark", "crane", "crane"]
PHOTOS = [Path("p/a.jpg"), Path("p/b.jpg"), Path("p/sub/c.jpg")]


def table(tmp_path: Path, text: str) -> Path:
    (tmp_path / "t.csv").write_text(text)
    return tmp_path / "t.csv"


@pytest.mark.parametrize(
    "text",
    [
        "file,wnid,class_index,class_name\na.jpg,n1,0,tench\nb.jpg,n2,1,shark\nsub/c.jpg,n3,2,x\n",
        "filename,label\na.jpg,tench\nb.jpg,White_Shark\nc.jpg,2\n",
        "a.jpg,0\nb.jpg,1\nc.jpg,2\n",
        "\ufeffclass,image\n0,p/a.jpg\n1,p/b.jpg\n\n2,p/sub/c.jpg\n",
    ],
)
def test_tables(tmp_path: Path, text: str) -> None:
    found = classes_by_table(table(tmp_path, text), PHOTOS, LABELS)
    assert found == {"p/a.jpg": 0, "p/b.jpg": 1, "p/sub/c.jpg": 2}


def test_offset_and_photos_that_are_not_in_the_table(tmp_path: Path) -> None:
    assert classes_by_table(table(tmp_path, "a.jpg,7\n"), PHOTOS, [], 1) == {"p/a.jpg": 8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no columns"),
        ("what,ever,else\n1,2,3\n", "no columns"),
        ("a.jpg,crane\n", "'crane' is no class"),
        ("file,label\na.jpg\n", "too few columns"),
        ("z.jpg,1\n", "none of the photos"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=r"t\.csv") as caught:
        classes_by_table(table(tmp_path, text), PHOTOS, LABELS)
    assert message in caught.value.message


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        classes_by_table(tmp_path / "none.csv", PHOTOS, LABELS)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        classes_by_table(tmp_path / "b.csv", PHOTOS, LABELS)


def test_folders() -> None:
    photos = [Path("x/tench/1.jpg"), Path("x/White_Shark/2.jpg"), Path("x/2/3.jpg")]
    assert list(classes_by_folder(photos, LABELS).values()) == [0, 1, 2]
    assert classes_by_folder([*photos, Path("x/other/4.jpg")], LABELS) == {}
    assert classes_by_folder([Path("2024/1.jpg"), Path("2024/2.jpg")], LABELS) == {}
    assert classes_by_folder([], LABELS) == {}
