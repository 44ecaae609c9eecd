"""Cache: features of photos in one SQLite file that runs share and that survives being killed.

    features    (model, photo, copy) -> values    one row per photo, committed at once
    backbones   (base, ...) -> bytes              eight-bit backbones, with what they were made from

`model` is a hash of the file that computed the features and of the preprocessing, `photo` one of
the photo's bytes, `copy` names the distortion with its seed: whatever changes gets another key. A
row carries a checksum; one that does not fit counts as missing. Write-ahead log: readers and
writers in several processes do not wait for each other, and a process killed while writing leaves
the row out. A file that is damaged is moved aside, never used.
"""

import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.errors import UsageError

__all__ = ["FILE_NAME", "FeatureCache"]

FILE_NAME = "features.sqlite"

_VERSION = 1
_WAIT_SECONDS = 60.0
_RETRY_SECONDS = 0.02
_TABLES = """
CREATE TABLE IF NOT EXISTS features (
    model TEXT, photo TEXT, copy TEXT, checksum INTEGER, content BLOB,
    PRIMARY KEY (model, photo, copy)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS backbones (
    base TEXT, made_from TEXT, checksum INTEGER, content BLOB, PRIMARY KEY (base, made_from)
) WITHOUT ROWID;
"""
# What SQLite answers to a file that is none, or is damaged.
_DAMAGED = ("malformed", "not a database", "no such column", "corrupt", "disk i/o error")

Features = NDArray[np.float32]


class FeatureCache:
    """The cache in a folder, which is made if it is not there.

    warn   called with one line if a damaged file was moved aside

    Methods raise UsageError if the folder cannot be written or the disk is full; what was stored
    before stays good. One thread uses it.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        self.path = folder / FILE_NAME
        self._warn = warn
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failure((error.strerror or str(error)).lower()) from error
        self._database = self._opened()

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    def features(self, model: str, photo: str, copy: str = "") -> Features | None:
        """The stored features of a photo, float32 (D,), or None."""
        row = self._row(
            "SELECT checksum, content FROM features WHERE model=? AND photo=? AND copy=?",
            (model, photo, copy),
        )
        return None if row is None else np.frombuffer(row, np.float32)

    def store_features(self, model: str, photo: str, copy: str, values: Features) -> None:
        """Keep the features of a photo; another run may have done so already."""
        content = np.ascontiguousarray(values, np.float32).tobytes()
        self._run(
            "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)",
            (model, photo, copy, zlib.crc32(content), content),
        )

    def backbones(self, base: str) -> list[tuple[str, bytes]]:
        """Eight-bit backbones of a base: what each was made from, and its bytes."""
        names = self._run(
            "SELECT made_from FROM backbones WHERE base=? ORDER BY made_from", (base,)
        )
        found = []
        for (made_from,) in names:
            content = self._row(
                "SELECT checksum, content FROM backbones WHERE base=? AND made_from=?",
                (base, made_from),
            )
            if content is not None:
                found.append((made_from, content))
        return found

    def store_backbone(self, base: str, made_from: str, content: bytes) -> None:
        """Keep an eight-bit backbone."""
        self._run(
            "INSERT OR REPLACE INTO backbones VALUES (?, ?, ?, ?)",
            (base, made_from, zlib.crc32(content), content),
        )

    # ---- inside ----

    def _row(self, query: str, values: Sequence[str]) -> bytes | None:
        """The content of a row, if there is one and its checksum fits."""
        rows = self._run(query, values)
        checksum, content = rows[0] if rows else (None, None)
        if not isinstance(content, bytes) or zlib.crc32(content) != checksum:
            return None
        return content

    def _run(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Rows of a query; once more on a fresh file if the present one turns out damaged."""
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise self._failure(str(error)) from error
            self._database.close()
            self._set_aside(str(error))
        self._database = self._opened()
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._failure(str(error)) from error

    def _opened(self) -> sqlite3.Connection:
        try:
            return _patiently_connected(self.path)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise self._failure(str(error)) from error
            self._set_aside(str(error))
        try:
            return _patiently_connected(self.path)
        except sqlite3.DatabaseError as error:
            raise self._failure(str(error)) from error

    def _set_aside(self, reason: str) -> None:
        """Rename the damaged file; another run may have been faster."""
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        try:
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failure((error.strerror or str(error)).lower()) from error
        self._warn(f"{self.path}: {reason}; moved to {aside.name}, features are computed anew")

    def _failure(self, reason: str) -> UsageError:
        if "full" in reason:
            return UsageError(
                f"{self.path}: the disk is full; what was stored before is kept",
                "make room and run again, or --bottleneck-dir DIR on another disk",
            )
        return UsageError(
            f"{self.path}: the cache cannot be used: {reason}", "name another: --bottleneck-dir DIR"
        )


def _patiently_connected(path: Path) -> sqlite3.Connection:
    """A connection, once no other process is making the file.

    SQLite's own timeout does not cover the change to a write-ahead log: SQLITE_BUSY at once.
    """
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            return _connect(path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(_RETRY_SECONDS)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        with closing(database.execute("PRAGMA user_version")) as cursor:
            version = cursor.fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"is not a database of version {_VERSION}")
        database.execute("PRAGMA journal_mode=WAL")
        # A crash of the system may lose the last rows; a killed process loses none.
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_TABLES)
        database.execute(f"PRAGMA user_version={_VERSION}")
    except BaseException:
        database.close()
        raise
    return database


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    text = str(error).lower()
    return any(word in text for word in _DAMAGED)
