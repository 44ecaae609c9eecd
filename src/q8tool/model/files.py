"""Files: known by their SHA-256; outputs refused when they exist, written beside, then renamed."""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from q8tool.errors import UsageError

__all__ = [
    "check_output",
    "check_outputs",
    "file_sha256",
    "remove_temporaries",
    "temporary_beside",
    "temporary_folder",
    "user_cache_folder",
    "write_atomically",
    "write_error",
]


_PIECE = 1 << 20
# What must not be left behind.
_TEMPORARIES: set[Path] = set()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read piece by piece."""
    import hashlib

    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def check_output(path: str | os.PathLike[str], *, force: bool) -> Path:
    """Say early that an output file cannot be written; return the path with links resolved.

    Pipelines call it before they work for minutes. Raises UsageError if the folder is missing or
    refuses new files, if the path is a folder or a device, and if the file exists without force.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise UsageError(f"{path}: is a folder, an output file is needed")
    if not target.parent.is_dir():
        raise UsageError(f"{path}: the folder {target.parent} does not exist")
    if target.exists():
        if not stat.S_ISREG(target.stat().st_mode):
            raise UsageError(f"{path}: is not a regular file")
        if not force:
            raise UsageError(f"{path}: exists already", "overwrite it with --force")
    with temporary_beside(target):
        pass
    return target


def check_outputs(paths: Sequence[Path], *, force: bool) -> None:
    """check_output for all files of a run. Raises UsageError also if two are the same file."""
    targets = [check_output(path, force=force) for path in paths]
    if len(set(targets)) < len(targets):
        raise UsageError("two of the files to write have the same name", f"{list(map(str, paths))}")


@contextmanager
def write_atomically(path: str | os.PathLike[str], *, force: bool) -> Iterator[BinaryIO]:
    """Open a temporary file beside path; on success sync and rename it, else remove it.

    Raises UsageError where check_output does, and for whatever the system answers while writing
    (read-only folder, full disk).
    """
    target = check_output(path, force=force)
    with temporary_beside(target) as temporary:
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            raise write_error(path, error) from error


@contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """Create an empty file beside target, with the rights a new file gets; remove it at the end.

    Renaming it away is how it survives. Raises UsageError if the folder refuses new files.
    """
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileNotFoundError as error:  # the folder is there, but of a kind like /proc
        raise UsageError(f"{target}: cannot be written: the folder takes no new files") from error
    except OSError as error:
        raise write_error(target, error) from error
    _TEMPORARIES.add(temporary)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _TEMPORARIES.discard(temporary)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder where the system keeps such; removed with all that is in it."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="q8tool-") as name:
        folder = Path(name)
        _TEMPORARIES.add(folder)
        try:
            yield folder
        finally:
            _TEMPORARIES.discard(folder)


def remove_temporaries() -> None:
    """Remove what is open of temporary_beside and temporary_folder: the process ends at once."""
    for path in list(_TEMPORARIES):
        with suppress(OSError):
            if path.is_dir():
                import shutil  # temporary_folder has loaded it

                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def write_error(path: str | os.PathLike[str], error: OSError) -> UsageError:
    """The error of a file that could not be written, with the system's reason."""
    reason = (error.strerror or str(error)).lower()
    return UsageError(f"{path}: cannot be written: {reason}")


def user_cache_folder() -> Path:
    """q8tool/ in the folder where the user's programs keep such things."""
    if sys.platform == "darwin":
        return Path("~/Library/Caches/q8tool").expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if Path(base).is_absolute() else "~/.cache").expanduser() / "q8tool"
