"""Weights by name from .npz and .safetensors files, read one at a time."""

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from q8tool.errors import InputError, UsageError
from q8tool.model.refusals import first_line

__all__ = ["Checkpoint"]


class Checkpoint(Mapping[str, npt.NDArray[Any]], AbstractContextManager["Checkpoint"]):
    """The arrays of a checkpoint file by name; each is read when asked for.

    Raises InputError if the file is missing, damaged or holds pickled objects (which could run
    code), UsageError if its extension is neither .npz nor .safetensors.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in (".npz", ".safetensors"):
            raise UsageError(f"{path}: a checkpoint must be a .npz or .safetensors file")
        if self.path.is_dir():
            raise InputError(f"{path}: is a folder, a checkpoint file is needed")
        if not self.path.exists():
            raise InputError(f"{path}: no such file")
        self._names, self._read, self._close = self._opened()

    def _opened(self) -> tuple[list[str], Callable[[str], Any], Callable[[], object]]:
        try:
            if self.path.suffix.lower() == ".npz":
                return _opened_npz(self.path)
            from safetensors import safe_open

            tensors: Any = safe_open(self.path, framework="numpy")
            return (
                list(tensors.keys()),
                tensors.get_tensor,
                lambda: tensors.__exit__(None, None, None),
            )
        except Exception as error:  # zip, numpy and safetensors each raise their own
            raise InputError(
                f"{self.path}: is not a usable checkpoint: {_reason(error)}"
            ) from error

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """The array of that name."""
        if name not in self._names:
            raise KeyError(name)
        try:
            return np.asarray(self._read(name))
        except Exception as error:
            raise InputError(f"{self.path}: '{name}' cannot be read: {_reason(error)}") from error

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the file."""
        return iter(self._names)

    def __len__(self) -> int:
        """How many arrays there are."""
        return len(self._names)

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self._close()


def _opened_npz(path: Path) -> tuple[list[str], Callable[[str], Any], Callable[[], object]]:
    file = path.open("rb")
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is one array, not an archive of named ones")
    except BaseException:
        file.close()
        raise
    return list(archive.files), archive.__getitem__, file.close


def _reason(error: Exception) -> str:
    if isinstance(error, zipfile.BadZipFile):
        return "damaged or truncated"
    return first_line(error)
