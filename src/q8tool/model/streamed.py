"""Streamed files: a model written tensor by tensor, one large weight in memory at a time.

the model without large weights --serialized--> bytes
ModelProto = rest | graph: small part | initializer | initializer | ...
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import onnx
import onnx_ir as ir

from q8tool.model.wire import GRAPH, INITIALIZER, RAW_DATA, message_head

__all__ = ["write_streamed"]

# Smaller weights are serialized with the rest.
_LARGE = 1 << 20


def write_streamed(model: ir.Model, file: BinaryIO) -> int:
    """Write the model as binary protobuf; return the bytes. Same model, same bytes."""
    lean = model.clone()
    large: dict[str, ir.TensorProtocol] = {}
    for name, value in lean.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes >= _LARGE and tensor.dtype != ir.DataType.STRING:
            large[name] = tensor
            value.const_value = ir.Tensor(np.zeros(0, np.float32), name=name)
    proto = ir.to_proto(lean)
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in large]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    small = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    rest = proto.SerializeToString(deterministic=True)
    heads = {name: _head(name, tensor) for name, tensor in large.items()}
    length = len(small) + sum(len(heads[name]) + large[name].nbytes for name in large)
    written = 0
    for piece in _pieces(rest + message_head(GRAPH, length) + small, heads, large):
        written += file.write(piece)
    return written


def _pieces(
    first: bytes, heads: dict[str, bytes], large: dict[str, ir.TensorProtocol]
) -> Iterator[bytes]:
    yield first
    for name, tensor in large.items():
        yield heads[name]
        yield tensor.tobytes()


def _head(name: str, tensor: ir.TensorProtocol) -> bytes:
    """All of an initializer but the bytes of its values."""
    described = onnx.TensorProto(
        name=name, data_type=int(tensor.dtype), dims=list(tensor.shape.numpy())
    )
    inner = bytes(described.SerializeToString(deterministic=True))
    inner += message_head(RAW_DATA, tensor.nbytes)
    return message_head(INITIALIZER, len(inner) + tensor.nbytes) + inner
