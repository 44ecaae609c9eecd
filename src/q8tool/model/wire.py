"""The wire format of protobuf, as far as models need it: tag, length, bytes.

Field numbers are those of onnx.proto.
"""

__all__ = [
    "GRAPH",
    "INITIALIZER",
    "LENGTH",
    "RAW_DATA",
    "encoded",
    "message",
    "message_head",
]

# ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
# The kind of field whose content follows its length.
LENGTH = 2


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
