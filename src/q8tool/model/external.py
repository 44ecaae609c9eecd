"""Weights in files beside the model: checked before use, written and read back."""

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.external_data_helper import ExternalDataInfo

from q8tool.errors import InputError, Q8Error, UsageError
from q8tool.model.files import temporary_beside, write_error
from q8tool.model.graph import all_graphs
from q8tool.model.limits import is_absurd

__all__ = [
    "check_external_data",
    "save_with_data",
    "settle_external_tensors",
    "without_external_data",
]

# Below this many bytes a tensor is kept in memory and in the model file itself: shapes, scales
# and other small constants that everybody looks at.
_SMALL = 4096


def check_external_data(proto: onnx.ModelProto, path: str | os.PathLike[str]) -> bool:
    """Check every external reference of a parsed model; return whether there is any.

    Raises InputError if a file is missing, lies outside the model's folder (by `..`, by an
    absolute path or through a link) or is shorter than a tensor says.
    """
    folder = Path(path).resolve().parent
    found = False
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            found = True
            _check_reference(tensor, folder, path)
    return found


def without_external_data(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with a scalar in place of each external tensor, for a checker that opens no files.

    The model itself if it has none.
    """
    if all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in _tensors(proto)):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in _tensors(copy):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            for field in ("dims", "external_data", "data_location"):
                tensor.ClearField(field)
            tensor.raw_data = bytes(16)  # one element of any type
    return copy


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            yield from _graph_tensors(graph)


def _check_reference(tensor: onnx.TensorProto, folder: Path, path: str | os.PathLike[str]) -> None:
    where = f"{path}: tensor '{tensor.name}': its external data"
    try:
        info = ExternalDataInfo(tensor)
        if isinstance(info.location, bytes):  # as protobuf gives a text that is none
            raise ValueError("the name of its file is not UTF-8")
        offset, length = int(info.offset or 0), int(info.length or 0)
        data = (folder / info.location).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{where} is described wrongly: {error}") from error
    if not info.location or not data.is_relative_to(folder):
        raise InputError(
            f"{where} '{info.location}' lies outside the model's folder",
            "copy the file beside the model",
        )
    if not data.is_file():
        raise InputError(f"{where} '{info.location}' is missing")
    needed = _bytes_needed(tensor, where)
    if length and length != needed:
        raise InputError(f"{where} has {length} bytes, its shape needs {needed}")
    if offset < 0 or offset + needed > data.stat().st_size:
        raise InputError(f"{where} '{info.location}' is truncated")


def _bytes_needed(tensor: onnx.TensorProto, where: str) -> int:
    if is_absurd(tensor.dims):
        raise InputError(f"{where} cannot have the shape {list(tensor.dims)}")
    try:
        bits = ir.DataType(tensor.data_type).bitwidth
    except (TypeError, ValueError) as error:  # texts, no type at all, a type of nobody's
        raise InputError(f"{where} is of no type of a fixed size: {error}") from error
    return int(-(-math.prod(tensor.dims) * bits // 8))


class UnmappedTensor(ir.ExternalTensor):
    """External data that is read whenever it is asked for, and kept by nobody.

    Mapped into memory, as onnx-ir does it, all of a file counts as memory of this process once
    every weight was looked at.
    """

    def numpy(self) -> NDArray[Any]:
        """The values; a new array each time."""
        if self.dtype.bitwidth < 8:
            return np.asarray(super().numpy())
        dtype = np.dtype(self.dtype.numpy()).newbyteorder("<")
        with open(self.path, "rb") as file:  # noqa: PTH123 - onnx-ir gives a string
            file.seek(self.offset or 0)
            array = np.fromfile(file, dtype, self.size)
        if array.size != self.size:
            raise OSError(f"{self.path} became shorter while it was read")
        return array.reshape(self.shape.numpy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.numpy().astype(dtype or self.dtype.numpy(), copy=False)

    def tobytes(self) -> bytes:
        """The bytes as they are in the file."""
        with open(self.path, "rb") as file:  # noqa: PTH123 - onnx-ir gives a string
            file.seek(self.offset or 0)
            return file.read(self.length or self.nbytes)


def settle_external_tensors(model: ir.Model) -> None:
    """External tensors of at most 4 KB come into memory, larger ones are read when asked for.

    The checker and folding look at the small ones.
    """
    for graph in all_graphs(model):
        for value in graph.initializers.values():
            tensor = value.const_value
            if not isinstance(tensor, ir.ExternalTensor):
                continue
            if tensor.nbytes <= _SMALL:
                value.const_value = ir.Tensor(tensor.numpy().copy(), name=tensor.name)
                continue
            value.const_value = UnmappedTensor(
                tensor.location, tensor.offset, tensor.length, tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()), name=tensor.name or "",
                base_dir=tensor.base_dir,
            )  # fmt: skip


def save_with_data(model: ir.Model, target: Path, *, force: bool) -> int:
    """Write the model and, beside it, one file `<name>.data` with its weights; return the bytes.

    Both are written under temporary names, the weights read back and compared by hash, then
    renamed: weights first. Raises UsageError if either exists without force or cannot be written,
    Q8Error if the disk gives back other bytes.
    """
    data_file = target.with_name(target.name + ".data")
    if data_file.exists() and not force:
        raise UsageError(f"{data_file}: exists already", "overwrite it with --force")
    with temporary_beside(data_file) as data, temporary_beside(target) as graph:
        try:
            proto = _written(model, data, data_file.name)
            graph.write_bytes(proto.SerializeToString(deterministic=True))
            for file in (data, graph):
                _sync(file)
            data.replace(data_file)
            graph.replace(target)
            return data_file.stat().st_size + target.stat().st_size
        except OSError as error:
            raise write_error(target, error) from error


def _written(model: ir.Model, data: Path, location: str) -> onnx.ModelProto:
    """Write all but the small weights to data; return the model that looks for them at location."""
    external = ir.external_data.unload_from_model(
        model.clone(), data.parent, data.name, size_threshold_bytes=_SMALL
    )
    for original, written in zip(_initializers(model), _initializers(external), strict=True):
        if isinstance(written, ir.ExternalTensor) and _digest(original) != _digest(written):
            raise Q8Error(f"{data}: tensor '{written.name}' reads back with other bytes")
    proto = ir.to_proto(external)
    for tensor in _tensors(proto):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    return proto


def _initializers(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in all_graphs(model):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value


def _digest(tensor: ir.TensorProtocol) -> bytes:
    return hashlib.sha256(tensor.tobytes()).digest()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
