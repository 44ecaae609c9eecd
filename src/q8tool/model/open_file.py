"""An open file from which arrays are read when somebody asks for them.

It stays open as long as anything may read from it, so that replacing it on disk does no harm.
Nothing is mapped into memory: a file cut short while it is mapped ends the process.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.errors import InputError

__all__ = ["OpenFile"]


class OpenFile:
    """A file that is closed when nothing refers to it any more. Raises OSError like open."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def fileno(self) -> int:
        """The descriptor, which stays this object's."""
        return self._descriptor

    def size(self) -> int:
        """Its length in bytes."""
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes from `offset` on. Raises InputError if there are fewer."""
        return self.array(offset, np.dtype(np.uint8), [length]).tobytes()

    def array(self, offset: int, dtype: np.dtype[Any], shape: Sequence[int]) -> NDArray[Any]:
        """A new array of that type and shape with the bytes from `offset` on.

        Raises InputError if the file has become too short.
        """
        if offset < 0 or offset + math.prod(shape) * dtype.itemsize > self.size():
            raise InputError("a file became shorter while it was read")
        array = np.empty(shape, dtype)
        left = array.reshape(-1).view(np.uint8).data
        while left:
            count = os.preadv(self._descriptor, [left], offset)
            if not count:
                raise InputError("a file became shorter while it was read")
            left, offset = left[count:], offset + count
        return array

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)
