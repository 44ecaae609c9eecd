"""Weights on disk: large initializers of a model file stay in the file until they are read.

A float model is mostly weights, and most commands look at each weight once. So the file is walked
by its wire format (protobuf: tag, length, bytes), the raw data of large initializers is cut out,
and the small rest is parsed as usual. Each cut tensor then reads its bytes from the open file
whenever it is asked, and keeps nothing: peak memory is that of the largest tensor, not of the file.
The file stays open, so that replacing it on disk does no harm.

Field numbers are those of onnx.proto: TensorProto.dims 1, name 8, and those of model/wire.py.
"""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir

from q8tool.errors import InputError
from q8tool.model.open_file import OpenFile
from q8tool.model.wire import (
    GRAPH,
    INITIALIZER,
    LENGTH,
    RAW_DATA,
    WireError,
    fields,
    integers,
    message,
)

__all__ = ["CutModel", "cut_large_weights", "restore_weights"]

# Below this many bytes a tensor is parsed with the rest: scales and shapes are looked at often.
SMALL = 16384
_DIMS, _NAME = 1, 8
# Enough for one element of any type.
_SCALAR_BYTES = 16
# Types whose bytes in the file are numpy's, on the CPUs that q8tool runs on.
_AS_NUMPY = frozenset(
    {
        ir.DataType.FLOAT,
        ir.DataType.DOUBLE,
        ir.DataType.FLOAT16,
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT32,
        ir.DataType.INT64,
    }
)


@dataclass(frozen=True)
class _Place:
    """Where a tensor's bytes lie in the file, and the shape that they make."""

    offset: int
    length: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CutModel:
    """A model's bytes with a scalar in place of each large weight, and where those lie."""

    data: bytes
    places: dict[str, _Place]
    file: OpenFile


class _Field(NamedTuple):
    number: int
    kind: int
    start: int  # of the tag
    content: int  # behind tag and length; of a varint its value
    end: int


def cut_large_weights(path: Path) -> CutModel | None:
    """Walks a binary model file. None if it is no well-formed protobuf: the parser says why.

    Raises OSError if the file cannot be read.
    """
    file = OpenFile(path)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _cut(data, file)
        except (WireError, UnicodeDecodeError):
            return None


def _cut(data: mmap.mmap, file: OpenFile) -> CutModel | None:
    found = list(_fields(data, 0, len(data)))
    graphs = [field for field in found if field.number == GRAPH and field.kind == LENGTH]
    if len(graphs) != 1:
        return None
    places: dict[str, _Place] = {}
    graph = b"".join(_graph_pieces(data, graphs[0], places))
    pieces = [
        message(GRAPH, graph) if field is graphs[0] else data[field.start : field.end]
        for field in found
    ]
    return CutModel(b"".join(pieces), places, file)


def _graph_pieces(data: mmap.mmap, graph: _Field, places: dict[str, _Place]) -> Iterator[bytes]:
    for field in _fields(data, graph.content, graph.end):
        is_large = field.end - field.start > SMALL
        if field.number == INITIALIZER and field.kind == LENGTH and is_large:
            yield message(INITIALIZER, _without_data(data, field, places))
        else:
            yield data[field.start : field.end]


def _without_data(data: mmap.mmap, tensor: _Field, places: dict[str, _Place]) -> bytes:
    """The tensor's bytes as a scalar of its type; its place is noted."""
    kept, dims, name = [], list[int](), ""
    found: list[_Field] = []
    for field in _fields(data, tensor.content, tensor.end):
        if field.number == _DIMS:
            dims += integers(data, field.kind, field.content, field.end)
        elif field.number == RAW_DATA and field.kind == LENGTH:
            found.append(field)
        else:
            kept.append(data[field.start : field.end])
        if field.number == _NAME and field.kind == LENGTH:
            name = data[field.content : field.end].decode("utf-8")
    if len(found) != 1 or not name or name in places:
        return data[tensor.content : tensor.end]
    places[name] = _Place(found[0].content, found[0].end - found[0].content, tuple(dims))
    return b"".join(kept) + message(RAW_DATA, bytes(_SCALAR_BYTES))


def restore_weights(model: ir.Model, cut: CutModel) -> None:
    """Gives the model's cut initializers their shapes, and tensors that read from the file.

    Raises InputError if a tensor's bytes do not make its shape.
    """
    for name, place in cut.places.items():
        value = model.graph.initializers[name]
        scalar = value.const_value
        assert scalar is not None
        elements = math.prod(place.shape)
        needed = -(-elements * scalar.dtype.bitwidth // 8)
        if place.length != needed:
            raise InputError(
                f"tensor '{name}' has {place.length} bytes, its shape needs {needed}: "
                "the file is damaged"
            )
        value.const_value = _lazy(cut.file, name, scalar.dtype, place)
        if not value.is_graph_input():
            value.shape = ir.Shape(place.shape)


def _lazy(file: OpenFile, name: str, dtype: ir.DataType, place: _Place) -> ir.LazyTensor:
    def read() -> ir.TensorProtocol:
        if dtype in _AS_NUMPY:  # a message would copy them twice
            array = file.array(place.offset, np.dtype(dtype.numpy()), place.shape)
            return ir.Tensor(array, dtype=dtype, name=name)
        data = file.read(place.offset, place.length)
        return ir.serde.deserialize_tensor(
            onnx.TensorProto(name=name, data_type=int(dtype), dims=place.shape, raw_data=data)
        )

    return ir.LazyTensor(read, dtype=dtype, shape=ir.Shape(place.shape), name=name, cache=False)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    for number, kind, content, stop in fields(data, start, end):
        yield _Field(number, kind, start, content, stop)
        start = stop
