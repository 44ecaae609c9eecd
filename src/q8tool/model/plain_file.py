"""Plain model files, read without onnx: what a session runs is there a few milliseconds later.

    file --fields of protobuf--> PlainModel: nodes, initializers, inputs, outputs, metadata

Plain is a model of one graph of standard operators that schema_table.py knows, valid and in order,
with its weights inside: most files. For any other, read_plain returns None, and model/io.py reads
it, checks it and says what is wrong with it. Large weights stay in the file until they are asked
for. Shapes and types of values inside the graph are not looked at: the engine infers them.

Field numbers are those of onnx.proto; a field that is not among them makes a file not plain.
"""

import math
import mmap
import struct
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from q8tool.model.limits import is_absurd
from q8tool.model.open_file import OpenFile
from q8tool.model.schema_table import NEWEST_IR_VERSION, NEWEST_OPSET
from q8tool.model.schemas import is_regular, schema
from q8tool.model.wire import (
    FIXED32,
    GRAPH,
    INITIALIZER,
    LENGTH,
    RAW_DATA,
    VARINT,
    fields,
    integers,
    signed,
)

__all__ = ["PlainInput", "PlainModel", "PlainNode", "PlainTensor", "read_plain"]

Array = NDArray[Any]

# From this size on a tensor's bytes stay in the file.
_LARGE = 16384
# Attributes up to this size are mostly repeated.
_SHORT = 64
_OLDEST_IR_VERSION, _OLDEST_OPSET = 4, 7
# Fields of ModelProto that say nothing of what runs.
_UNREAD = {(2, LENGTH), (3, LENGTH), (4, LENGTH), (5, VARINT), (6, LENGTH)}
# TensorProto.DataType
_TYPES = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2",
    11: "<f8", 12: "<u4", 13: "<u8",
}  # fmt: skip
# AttributeProto.AttributeType, as schema_table.py abbreviates them.
_KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "F", 7: "I", 8: "S"}


class PlainTensor(NamedTuple):
    """An initializer: type and shape, and a function that gives its values."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[], Array]


class PlainInput(NamedTuple):
    """An input or output of the graph; a dimension is a number, a name, or unknown (None)."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]


class PlainNode(NamedTuple):
    """A node; `data` is its NodeProto. Attributes are numbers, strings, tuples and arrays."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    data: bytes


class PlainModel(NamedTuple):
    """What a file holds; opsets gives versions by domain, of which nodes use only "", onnx's."""

    opsets: dict[str, int]
    nodes: list[PlainNode]
    initializers: dict[str, PlainTensor]
    inputs: list[PlainInput]
    outputs: list[PlainInput]
    metadata_props: dict[str, str]


class _NotPlainError(Exception):
    """The file is for others to read."""


def read_plain(path: Path) -> PlainModel | None:
    """The model of a binary file; None if it is not plain, damaged or no model at all.

    Raises OSError if the file cannot be read.
    """
    file = OpenFile(path)
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _model(data, file)
    except (_NotPlainError, ValueError, OverflowError):
        return None  # the last two: an empty file or no UTF-8; a number that its type cannot be


# ---- messages ----


def _model(data: mmap.mmap, file: OpenFile) -> PlainModel:
    ir_version, graph = 0, None
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    for number, kind, start, stop in fields(data, 0, len(data)):
        if number == 1 and kind == VARINT:
            ir_version = start
        elif number == GRAPH and kind == LENGTH and graph is None:
            graph = start, stop
        elif number == 8 and kind == LENGTH:
            domain, version = _opset(data[start:stop])
            _require(domain not in opsets)
            opsets[domain] = version
        elif number == 14 and kind == LENGTH:
            key, value = _entry(data[start:stop])
            _require(key not in metadata)
            metadata[key] = value
        else:
            # producer, domain, documentation; version
            _require((number, kind) in _UNREAD)
    _require(graph is not None)
    assert graph is not None
    _require(_OLDEST_IR_VERSION <= ir_version <= NEWEST_IR_VERSION)
    _require(_OLDEST_OPSET <= opsets.get("", 0) <= NEWEST_OPSET)
    model = PlainModel(opsets, [], {}, [], [], metadata)
    _read_graph(model, data, graph, file)
    _check_names(model)
    return model


def _read_graph(model: PlainModel, data: mmap.mmap, place: tuple[int, int], file: OpenFile) -> None:
    is_named = False
    for number, kind, start, stop in fields(data, *place):
        _require(kind == LENGTH)
        if number == 1:
            model.nodes.append(_node(data[start:stop], model.opsets[""]))
        elif number == INITIALIZER:
            name, tensor = _tensor(data, start, stop, file)
            _require(bool(name) and name not in model.initializers)
            model.initializers[name] = tensor
        elif number == 11:
            model.inputs.append(_input(data[start:stop]))
        elif number == 12:
            model.outputs.append(_input(data[start:stop]))
        elif number == 2:
            is_named = stop > start
        else:
            _require(number in (10, 13, 16))  # documentation, inner values, notes
    _require(is_named)


def _check_names(model: PlainModel) -> None:
    """Every value has one maker, which comes before its readers."""
    inputs = {value.name for value in model.inputs}
    _require(len(inputs) == len(model.inputs))
    known = inputs | model.initializers.keys()
    for node in model.nodes:
        _require(all(not name or name in known for name in node.inputs))
        for name in node.outputs:
            _require(name not in known)
            known.add(name)
    _require(all(value.name in known for value in model.outputs))


def _node(data: bytes, opset: int) -> PlainNode:
    inputs, outputs, given = [], [], []
    name = op_type = domain = ""
    for number, kind, start, stop in fields(data, 0, len(data)):
        _require(kind == LENGTH)
        if number == 1:
            inputs.append(data[start:stop].decode())
        elif number == 2:
            outputs.append(data[start:stop].decode())
        elif number == 5:
            content = data[start:stop]
            is_short = stop - start <= _SHORT
            given.append(_short_attribute(content) if is_short else _attribute(content))
        elif number == 3:
            name = data[start:stop].decode()
        elif number == 4:
            op_type = data[start:stop].decode()
        elif number == 7:
            domain = data[start:stop].decode()
        else:
            _require(number in (6, 9))  # documentation, notes
    known = schema(op_type, opset)
    _require(domain in ("", "ai.onnx") and known is not None)
    assert known is not None
    kinds = [(attribute, kind) for attribute, kind, _ in given]
    _require(len(dict(kinds)) == len(kinds) and is_regular(known, inputs, outputs, kinds))
    attributes = {attribute: value for attribute, _, value in given}
    return PlainNode(name, op_type, tuple(inputs), tuple(outputs), attributes, data)


@lru_cache(maxsize=1024)
def _short_attribute(data: bytes) -> tuple[str, str, Any]:
    """_attribute of what many nodes say in the same words."""
    return _attribute(data)


def _attribute(data: bytes) -> tuple[str, str, Any]:
    """Name, kind and value."""
    name, kind = "", ""
    values: dict[str, list[Any]] = {kind: [] for kind in _KINDS.values()}
    for number, wire, start, stop in fields(data, 0, len(data)):
        if number == 1 and wire == LENGTH:
            name = data[start:stop].decode()
        elif number == 20 and wire == VARINT:
            kind = _KINDS.get(start, "")
        elif number == 2 and wire == FIXED32:
            values["f"] += _floats(data[start:stop])
        elif number == 3 and wire == VARINT:
            values["i"].append(signed(start))
        elif number == 4 and wire == LENGTH:
            values["s"].append(data[start:stop].decode())
        elif number == 5 and wire == LENGTH:
            values["t"].append(_tensor(data, start, stop, None)[1].read())
        elif number == 7 and wire in (LENGTH, FIXED32):
            values["F"] += _floats(data[start:stop])
        elif number == 8:
            values["I"] += integers(data, wire, start, stop)
        elif number == 9 and wire == LENGTH:
            values["S"].append(data[start:stop].decode())
        else:
            _require(number == 13 and wire == LENGTH)  # documentation
    _require(bool(name and kind))
    _require(all(not found for other, found in values.items() if other != kind))
    if kind in "FIS":
        return name, kind, tuple(values[kind])
    _require(len(values[kind]) == 1)
    return name, kind, values[kind][0]


def _tensor(
    data: mmap.mmap | bytes, start: int, stop: int, file: OpenFile | None
) -> tuple[str, PlainTensor]:
    """Name and tensor; large ones are read from the file, if there is one, when asked for."""
    dims: list[int] = []
    kind, name, place = 0, "", None
    numbers: list[int] = []
    floats: list[float] = []
    for number, wire, begin, end in fields(data, start, stop):
        if number == 1:
            dims += integers(data, wire, begin, end)
        elif number == 2 and wire == VARINT:
            kind = begin
        elif number == 8 and wire == LENGTH:
            name = data[begin:end].decode()
        elif number == RAW_DATA and wire == LENGTH and place is None:
            place = begin, end
        elif number == 4 and wire in (LENGTH, FIXED32) and kind == 1:
            floats += _floats(data[begin:end])
        elif (number, kind) in ((5, 2), (5, 3), (5, 6), (7, 7)):
            numbers += integers(data, wire, begin, end)
        elif number == 14 and wire == VARINT:
            _require(begin == 0)  # the data are here, not in another file
        else:
            _require(number in (12, 16) and wire == LENGTH)  # documentation, notes
    _require(kind in _TYPES and (place is not None) + bool(numbers) + bool(floats) <= 1)
    dtype, shape = np.dtype(_TYPES[kind]), tuple(dims)
    elements = math.prod(shape)
    _require(not is_absurd(dims))
    if place is None:
        _require(elements == len(numbers) + len(floats))
        array = np.asarray(numbers or floats, dtype).reshape(shape)
        array.flags.writeable = False
        return name, PlainTensor(dtype, shape, lambda: array)
    begin, end = place
    _require(end - begin == elements * dtype.itemsize)
    if file is not None and end - begin >= _LARGE:
        return name, PlainTensor(dtype, shape, partial(file.array, begin, dtype, shape))
    kept = data[begin:end]
    return name, PlainTensor(dtype, shape, lambda: np.frombuffer(kept, dtype).reshape(shape))


def _input(data: bytes) -> PlainInput:
    name, found = "", None
    for number, kind, start, stop in fields(data, 0, len(data)):
        _require(kind == LENGTH)
        if number == 1:
            name = data[start:stop].decode()
        elif number == 2:
            found = _type(data[start:stop])
        else:
            _require(number in (3, 4))  # documentation, notes
    _require(bool(name) and found is not None)
    assert found is not None
    return PlainInput(name, *found)


def _type(data: bytes) -> tuple[np.dtype[Any], tuple[int | str | None, ...]]:
    """Element type and shape of a TypeProto, which must be that of a tensor."""
    elements, dims, is_shaped = 0, list[int | str | None](), False
    for number, kind, start, stop in fields(data, 0, len(data)):
        _require(number in (1, 6) and kind == LENGTH)  # 6 says what the tensor stands for
        for inner, wire, begin, end in fields(data, start, stop) if number == 1 else ():
            if inner == 1 and wire == VARINT:
                elements = begin
            else:
                _require(inner == 2 and wire == LENGTH and not is_shaped)
                is_shaped = True
                places = list(fields(data, begin, end))
                _require(all(place[:2] == (1, LENGTH) for place in places))
                dims = [_dim(data[a:b]) for _, _, a, b in places]
    _require(is_shaped and elements in _TYPES)
    _require(not is_absurd([d if isinstance(d, int) else 1 for d in dims]))
    return np.dtype(_TYPES[elements]), tuple(dims)


def _dim(data: bytes) -> int | str | None:
    dim: int | str | None = None
    for number, kind, start, stop in fields(data, 0, len(data)):
        if number == 1 and kind == VARINT:
            dim = signed(start)
            _require(dim >= 0)
        elif number == 2 and kind == LENGTH:
            dim = data[start:stop].decode() or None
        else:
            _require(number == 3 and kind == LENGTH)  # what the dimension stands for
    return dim


def _opset(data: bytes) -> tuple[str, int]:
    domain, version = "", 0
    for number, kind, start, stop in fields(data, 0, len(data)):
        if number == 1 and kind == LENGTH:
            domain = data[start:stop].decode()
        else:
            _require(number == 2 and kind == VARINT)
            version = start
    return "" if domain == "ai.onnx" else domain, version


def _entry(data: bytes) -> tuple[str, str]:
    """Key and value of a note."""
    texts = {1: "", 2: ""}
    for number, kind, start, stop in fields(data, 0, len(data)):
        _require(number in texts and kind == LENGTH)
        texts[number] = data[start:stop].decode()
    return texts[1], texts[2]


# ---- the wire ----


def _floats(data: bytes) -> list[float]:
    _require(len(data) % 4 == 0)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _require(is_plain: bool) -> None:
    if not is_plain:
        raise _NotPlainError
