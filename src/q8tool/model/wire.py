"""The wire format of protobuf, as far as models need it: tag, length, bytes.

Field numbers are those of onnx.proto.
"""

import mmap
from collections.abc import Iterator

__all__ = [
    "FIXED32",
    "FIXED64",
    "GRAPH",
    "INITIALIZER",
    "LENGTH",
    "RAW_DATA",
    "VARINT",
    "WireError",
    "encoded",
    "fields",
    "integers",
    "message",
    "message_head",
    "signed",
]

# ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
# Kinds of fields: a number, eight bytes, content that follows its length, four bytes.
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """Bytes that are not protobuf."""


def fields(data: mmap.mmap | bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, kind, and where the content begins and ends; of a varint its value for the beginning.

    The next field begins where one ends. Raises WireError for bytes that are not protobuf.
    """
    while position < end:
        tag = data[position]
        position += 1
        if tag > 127:
            tag, position = _varint(data, position - 1, end)
        kind = tag & 7
        if kind == LENGTH:
            length = data[position] if position < end else 128
            position += 1
            if length > 127:
                length, position = _varint(data, position - 1, end)
            start, position = position, position + length
            _must(position <= end)
            yield tag >> 3, kind, start, position
        elif kind == VARINT:
            value, position = _varint(data, position, end)
            yield tag >> 3, kind, value, position
        else:
            _must(kind in (FIXED32, FIXED64))
            start, position = position, position + (4 if kind == FIXED32 else 8)
            _must(position <= end)
            yield tag >> 3, kind, start, position


def integers(data: mmap.mmap | bytes, kind: int, start: int, stop: int) -> list[int]:
    """A field of repeated integers as `fields` gives it: one, or several packed behind a length."""
    if kind == VARINT:
        return [signed(start)]
    _must(kind == LENGTH)
    numbers = []
    while start < stop:
        number, start = _varint(data, start, stop)
        numbers.append(signed(number))
    return numbers


def signed(number: int) -> int:
    """What the 64 bits of a varint mean as int64 or, extended, int32."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number


def message(number: int, content: bytes) -> bytes:
    """A field of this number with the content."""
    return message_head(number, len(content)) + content


def message_head(number: int, length: int) -> bytes:
    """What stands before a content of this length."""
    return encoded(number << 3 | LENGTH) + encoded(length)


def encoded(value: int) -> bytes:
    """A number as varint: seven bits a byte, lowest first."""
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)


def _varint(data: mmap.mmap | bytes, position: int, end: int) -> tuple[int, int]:
    """The number at position and where it ends."""
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise WireError("a number has no end")


def _must(is_protobuf: bool) -> None:
    if not is_protobuf:
        raise WireError("a field that protobuf does not have")
