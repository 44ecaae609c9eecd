"""Spilled tensors: large new weights wait in a temporary file until they are written.

Quantizing a model of many gigabytes makes new weights of a quarter of that, which need not be in
memory: each is read back when it is looked at. The file has no name and goes with its tensor.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["SPILLED_FROM", "spilled"]

# From so many bytes on.
SPILLED_FROM = 8 << 20
# Systems read and write at most 2 GB at once.
_AT_ONCE = 1 << 30


class _HiddenFile:
    """A file without a name, which goes when nothing reads from it any more."""

    def __init__(self, data: memoryview) -> None:
        self._descriptor, name = tempfile.mkstemp(prefix="q8tool-")
        Path(name).unlink()
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, data[done : done + _AT_ONCE], done)

    def read(self, size: int) -> bytes:
        """The first bytes of the file."""
        pieces: list[bytes] = []
        done = 0
        while done < size:
            pieces.append(os.pread(self._descriptor, min(size - done, _AT_ONCE), done))
            done += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __del__(self) -> None:
        os.close(self._descriptor)


def spilled(array: NDArray[np.generic], name: str) -> ir.LazyTensor:
    """A tensor with these values, which are on disk from now on."""
    file = _HiddenFile(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    dtype, shape, size = array.dtype, array.shape, array.nbytes

    def read() -> ir.TensorProtocol:
        return ir.Tensor(np.frombuffer(file.read(size), dtype).reshape(shape), name=name)

    kind = ir.DataType.from_numpy(dtype)
    return ir.LazyTensor(read, dtype=kind, shape=ir.Shape(shape), name=name, cache=False)
