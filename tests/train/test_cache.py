"""The cache: what was stored is there, whatever happens to the process or the file."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from q8tool.errors import UsageError
from q8tool.train.cache import FILE_NAME, FeatureCache

ROW = np.arange(5, dtype=np.float32)


def test_stored_rows_are_there_and_keys_are_apart(tmp_path: Path) -> None:
    with FeatureCache(tmp_path / "new" / "folder") as cache:
        cache.store_features("m", "p", "", ROW)
        cache.store_features("m", "p", "copy", ROW + 1)
        np.testing.assert_array_equal(cache.features("m", "p"), ROW)
        np.testing.assert_array_equal(cache.features("m", "p", "copy"), ROW + 1)
        assert cache.features("other", "p") is None
        assert cache.features("m", "other") is None
        cache.store_backbone("b", "[1]", b"content")
        assert cache.backbones("b") == [("[1]", b"content")]
        assert cache.backbones("c") == []


def test_two_at_once_see_each_others_rows(tmp_path: Path) -> None:
    with FeatureCache(tmp_path) as one, FeatureCache(tmp_path) as two:
        one.store_features("m", "p", "", ROW)
        np.testing.assert_array_equal(two.features("m", "p"), ROW)
        two.store_features("m", "p", "", ROW)
        two.store_features("m", "q", "", ROW)
        assert one.features("m", "q") is not None


def test_opening_waits_for_another_process_that_makes_the_file(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE made_elsewhere (x)")
    done = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    done.start()
    with FeatureCache(tmp_path) as cache:
        assert cache.features("m", "p", "") is None
    done.join()
    other.close()


def test_a_row_whose_bytes_changed_counts_as_missing(tmp_path: Path) -> None:
    with FeatureCache(tmp_path) as cache:
        cache.store_features("m", "p", "", ROW)
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("UPDATE features SET content = ?", (ROW[::-1].tobytes(),))
    with FeatureCache(tmp_path) as cache:
        assert cache.features("m", "p") is None


@pytest.mark.parametrize("damage", ["garbage", "truncated", "pages"])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: str) -> None:
    with FeatureCache(tmp_path) as cache:
        for number in range(200):
            cache.store_features("m", str(number), "", np.ones(500, np.float32))
    path = tmp_path / FILE_NAME
    content = path.read_bytes()
    path.write_bytes({
        "garbage": b"this is no database " * 500,
        "truncated": content[: len(content) // 2],
        "pages": content[:4096] + b"\xff" * (len(content) - 4096),
    }[damage])  # fmt: skip
    warnings: list[str] = []
    with FeatureCache(tmp_path, warnings.append) as cache:
        for number in range(200):
            cache.features("m", str(number))
        cache.store_features("m", "new", "", ROW)
        np.testing.assert_array_equal(cache.features("m", "new"), ROW)
    assert len(warnings) == 1
    assert "features are computed anew" in warnings[0]
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_a_killed_writer_loses_at_most_its_last_row(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from q8tool.train.cache import FeatureCache\n"
        "cache = FeatureCache(Path(sys.argv[1]))\n"
        "for number in range(10**6):\n"
        "    cache.store_features('m', str(number), '', np.full(300, number, np.float32))\n"
        "    print(number, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    last = 0
    for line in process.stdout:
        last = int(line)
        if last == 150:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    with FeatureCache(tmp_path) as cache:
        for number in range(last + 1):
            row = cache.features("m", str(number))
            np.testing.assert_array_equal(row, np.full(300, number, np.float32))


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be used") as caught:
        FeatureCache(tmp_path / "file")
    assert "--bottleneck-dir" in caught.value.hint


def fill(cache: FeatureCache) -> None:
    for number in range(100):
        cache.store_features("m", str(number), "", np.ones(2000, np.float32))


def test_a_full_disk_is_said_and_what_is_there_stays(tmp_path: Path) -> None:
    with FeatureCache(tmp_path) as cache:
        cache.store_features("m", "p", "", ROW)
        # SQLite answers to a limit on pages as to a full disk.
        cache._database.execute("PRAGMA max_page_count = 8")
        with pytest.raises(UsageError, match="the disk is full") as caught:
            fill(cache)
        assert "make room" in caught.value.hint
    with FeatureCache(tmp_path) as cache:
        np.testing.assert_array_equal(cache.features("m", "p"), ROW)
