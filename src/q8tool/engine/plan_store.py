"""Plans in files: what built a plan is written down and read back without any graph.

    compilation --calls--> Journal --file--> read_program --the same calls--> Program

A file holds arrays, each at a multiple of 64 bytes, then what describes them (JSON), the length of
that (8 bytes) and the SHA-256 of everything before it: a damaged or cut file reads as None. It is
valid for the very package and instruction set that wrote it; plan_cache.py sees to that.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.explain import StepInfo
from q8tool.engine.program import NativeSegment, Program
from q8tool.engine.tensors import Storage, Tensor
from q8tool.model.open_file import OpenFile
from q8tool.native import Plan

__all__ = ["Journal", "read_described", "read_program", "write_described"]

_MAGIC = b"q8tool plan\n".ljust(64, b"\0")
_ALIGNMENT = 64
_DIGEST_BYTES = 32
_LENGTH_BYTES = 8
_PIECE = 1 << 20


class Journal:
    """Writes down the calls that build a plan, arrays at once into `file`, the rest at the end.

    is_complete  whether everything could be written down; if not, the file is of no use
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.clear()

    def clear(self) -> None:
        """Starts again with an empty file."""
        self._is_sound = True
        with self._failing():
            self._file.seek(0)
            self._file.truncate()
        self._digest = hashlib.sha256()
        self._calls: list[list[Any]] = []
        self._storages: dict[Storage, int] = {}
        self._place = self._arena_bytes = 0
        self.is_complete = False
        self._write(_MAGIC)

    def tensor(self, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int | None) -> None:
        """Plan.tensor was called."""
        self._calls.append(["tensor", dtype.name, list(shape), offset])

    def constant(self, array: NDArray[Any]) -> None:
        """Plan.constant was called."""
        self._calls.append(["constant", self._encoded(array)])

    def step(self, method: str, arguments: Mapping[str, Any]) -> None:
        """A method of Plan that adds steps was called; arguments: ids of tensors and the rest."""
        encoded = {key: self._encoded(value) for key, value in arguments.items()}
        self._calls.append(["step", method, encoded])

    def finish_plan(self, arena_bytes: int) -> None:
        """Plan.finish was called."""
        self._arena_bytes = arena_bytes

    def finish(self, program: Program) -> None:
        """The program, of one native segment, is ready."""
        (segment,) = program.segments
        assert isinstance(segment, NativeSegment)
        described = {
            "calls": self._calls,
            "arena_bytes": self._arena_bytes,
            "bound": [self._tensor(tensor) for tensor in segment.bound],
            "written": [self._tensor(tensor) for tensor in segment.written],
            "inputs": {name: self._tensor(tensor) for name, tensor in program.inputs.items()},
            "results": {name: self._tensor(tensor) for name, tensor in program.results.items()},
            "infos": [
                [info.nodes, info.op, info.kernel, info.dtype, info.macs, info.reason]
                for info in segment.infos
            ],
        }
        if self._is_sound:
            self.end(described)

    def end(self, described: Mapping[str, Any]) -> None:
        """Writes what describes the arrays, or all that there is to a file without any."""
        text = json.dumps(described).encode()
        self._write(text)
        self._write(len(text).to_bytes(_LENGTH_BYTES, "little"))
        with self._failing():
            self._file.write(self._digest.digest())
            self._file.flush()
        self.is_complete = self._is_sound

    def _tensor(self, tensor: Tensor) -> list[Any]:
        self._is_sound &= tensor.dtype.isbuiltin == 1  # numpy knows no others by name
        number = self._storages.setdefault(tensor.storage, len(self._storages))
        dims = None if tensor.dims is None else list(tensor.dims)
        return [number, tensor.storage.bytes, tensor.dtype.name, dims, self._encoded(tensor.array)]

    def _encoded(self, value: Any) -> Any:
        """A value as JSON; an array as its place in the file."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list | tuple):
            return [self._encoded(item) for item in value]
        if isinstance(value, Mapping):
            return {"by name": {name: self._encoded(item) for name, item in value.items()}}
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
            place = self._array(np.asarray(value))
            return {"at": place, "dtype": value.dtype.name, "shape": value.shape}
        self._is_sound = False
        return None

    def _array(self, array: NDArray[Any]) -> int:
        self._write(bytes(-self._place % _ALIGNMENT))
        place = self._place
        self._write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return place

    def _write(self, data: bytes | memoryview) -> None:
        if self._is_sound:
            with self._failing():
                self._file.write(data)
            self._digest.update(data)
        self._place += len(data)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """A full disk costs the file, not the program."""
        try:
            yield
        except OSError:
            self._is_sound = False


def write_described(file: BinaryIO, described: Mapping[str, Any]) -> None:
    """A file that holds nothing but JSON values."""
    Journal(file).end(described)


def read_described(file: OpenFile) -> dict[str, Any] | None:
    """The JSON values of a file; None if it is not whole."""
    end = file.size() - _DIGEST_BYTES
    if end < len(_MAGIC) + _LENGTH_BYTES or file.read(0, len(_MAGIC)) != _MAGIC:
        return None
    digest = hashlib.sha256()
    for place in range(0, end, _PIECE):
        digest.update(file.read(place, min(_PIECE, end - place)))
    if digest.digest() != file.read(end, _DIGEST_BYTES):
        return None
    end -= _LENGTH_BYTES
    length = int.from_bytes(file.read(end, _LENGTH_BYTES), "little")
    described: dict[str, Any] = json.loads(file.read(end - length, length))
    return described


def read_program(data: OpenFile, isa: str | None) -> Program | None:
    """The program that a journal wrote; None if the file is not whole.

    Raises whatever comes of a file that is whole and was not written by a journal.
    """
    described = read_described(data)
    if described is None:
        return None
    plan = Plan(isa)
    for kind, *given in described["calls"]:
        if kind == "tensor":
            dtype, shape, offset = given
            plan.tensor(np.dtype(dtype), shape, offset)
        elif kind == "constant":
            plan.constant(_decoded(given[0], data))
        else:
            method, arguments = given
            getattr(plan, method)(**{k: _decoded(v, data) for k, v in arguments.items()})
    plan.finish(described["arena_bytes"])
    storages: dict[int, Storage] = {}

    def tensor(entry: list[Any]) -> Tensor:
        number, size, dtype, dims, array = entry
        storage = storages.setdefault(number, Storage(size))
        dims = None if dims is None else tuple(dims)
        return Tensor(storage, np.dtype(dtype), dims, _decoded(array, data))

    infos = [StepInfo(tuple(nodes), *rest) for nodes, *rest in described["infos"]]
    bound, written = ([tensor(entry) for entry in described[key]] for key in ("bound", "written"))
    inputs, results = (
        {name: tensor(entry) for name, entry in described[key].items()}
        for key in ("inputs", "results")
    )
    declared = [
        (np.dtype(given[0]), tuple(given[1]))
        for kind, *given in described["calls"]
        if kind == "tensor" and given[2] is None
    ]
    if [_actual(t) for t in bound] != declared:
        raise ValueError("what is bound is not what the plan asks for")
    sizes = {t.storage: _bytes(t) for t in (*inputs.values(), *written)}
    if any(t.array is None and sizes[t.storage] != _bytes(t) for t in (*bound, *results.values())):
        raise ValueError("a storage of this plan has several sizes")
    segment = NativeSegment(plan, bound, written, infos)
    return Program([segment], inputs, results, storages.values())


def _actual(tensor: Tensor) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and dimensions of what is bound."""
    given = tensor if tensor.array is None else tensor.array
    return given.dtype, given.shape


def _bytes(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * tensor.dtype.itemsize


def _decoded(value: Any, data: OpenFile) -> Any:
    """What was encoded; arrays are read from the file, those of rank 0 are numbers."""
    if isinstance(value, list):
        return tuple(_decoded(item, data) for item in value)
    if not isinstance(value, dict):
        return value
    if "by name" in value:
        return {name: _decoded(item, data) for name, item in value["by name"].items()}
    return data.array(value["at"], np.dtype(value["dtype"]), value["shape"])[()]
