"""Model files: load with every reference checked, save atomically."""

import os
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from q8tool.errors import InputError, UnsupportedError
from q8tool.model.attribute_limits import absurd_attribute
from q8tool.model.external import (
    check_external_data,
    save_with_data,
    settle_external_tensors,
    without_external_data,
)
from q8tool.model.files import check_output, write_atomically
from q8tool.model.graph import all_graphs, all_nodes, weight_bytes
from q8tool.model.nesting import refuse_excess
from q8tool.model.node_order import sort_nodes
from q8tool.model.refusals import first_line, refusals_named
from q8tool.model.shapes import absurd_value, fill_output_shapes
from q8tool.model.streamed import write_streamed
from q8tool.model.weights_on_disk import CutModel, cut_large_weights, restore_weights

__all__ = [
    "EXTERNAL_LIMIT",
    "MODEL_ENDINGS",
    "file_bytes",
    "files_of",
    "from_proto",
    "load",
    "reads_other_files",
    "save",
    "to_proto",
]

# Above this many bytes of weights they go to a file of their own; protobuf ends at 2 GB.
EXTERNAL_LIMIT = 1_500_000_000
# Above this many bytes a model is written tensor by tensor.
STREAMED_FROM = 64_000_000

# From this size on, large weights stay in the file.
_CUT_FROM = 1_000_000

_OTHER_FILES = "q8tool.other_files"

_STRING, _TENSOR = ir.AttributeType.STRING, ir.AttributeType.TENSOR

_TEXT_FORMATS = {
    ".json": "json",
    ".onnxjson": "json",
    ".pbtxt": "textproto",
    ".prototxt": "textproto",
    ".textproto": "textproto",
    ".txtpb": "textproto",
}

MODEL_ENDINGS = frozenset({".onnx", *_TEXT_FORMATS})
"""Of the names of model files."""


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Read a model: binary protobuf, or the text form that the extension names.

    Large weights stay in the file until they are read (model/weights_on_disk.py). Weights in
    external files stay there (memory mapped) unless small; they must lie in the model's folder or
    below. Raises InputError for a missing file, a folder, a file that is
    damaged, truncated or not ONNX, and for external data that is missing, short or elsewhere;
    UnsupportedError for a standard-domain operator that the standard does not know.
    """
    with refusals_named(str(path)):
        return _loaded(path)


def _loaded(path: str | os.PathLike[str]) -> ir.Model:
    cut = _cut(Path(path))
    data = _bytes(path) if cut is None else cut.data
    # The checker reads the bytes themselves where it can: no third copy of the weights.
    is_checked = _text_format(path) is None and b"location" not in data
    if is_checked:
        data = _checked(data, path)
    proto = _parsed(data, path)
    del data
    refuse_excess(proto, str(path))
    has_external = check_external_data(proto, path)
    if not is_checked:
        _check_parsed(proto, path)
    model = ir.from_proto(proto)
    value = absurd_value(model)
    if value is not None:
        raise InputError(f"{path}: value '{value.name}' cannot have the shape {value.shape}")
    _check_attributes(model, path)
    if cut is not None:
        _restore(model, cut, path)
    _check_weights(model, path)
    if has_external:
        ir.external_data.set_base_dir(model.graph, Path(path).resolve().parent)
        settle_external_tensors(model)
        model.meta[_OTHER_FILES] = True
    return model


def _check_attributes(model: ir.Model, path: str | os.PathLike[str]) -> None:
    """Texts are UTF-8, which protobuf's parser does not insist on; attributes are not absurd."""
    metadata = model.metadata_props
    if any(isinstance(text, bytes) for text in (*metadata.keys(), *metadata.values())):
        raise InputError(f"{path}: is damaged: a text of its metadata is not UTF-8")
    for node in _all_nodes(model):
        given = node.attributes.values()
        texts = (attr.value for attr in given if attr.type == _STRING)
        if any(isinstance(text, bytes) for text in (node.name, *texts)):
            raise InputError(f"{path}: is damaged: a text of node {node.name!r} is not UTF-8")
        values = {attr.name: attr.value for attr in given}
        absurd = absurd_attribute(node.op_type, values, len(node.inputs), len(node.outputs))
        if absurd is not None:
            raise InputError(
                f"{path}: node '{node.name}' ({node.op_type}): its attribute '{absurd}' cannot "
                f"be {values[absurd]!r}"
            )
    for value in (*model.graph.inputs, *model.graph.outputs):
        if isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.UNDEFINED:
            raise InputError(f"{path}: is damaged: value '{value.name}' has no type")


def _all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    bodies: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in bodies:
        yield from all_nodes(graph)


def _check_weights(model: ir.Model, path: str | os.PathLike[str]) -> None:
    """Weights have the bytes that their shape asks for, which onnx does not insist on."""
    for graph in all_graphs(model):
        tensors = [value.const_value for value in graph.initializers.values()]
        attributes = [attr for node in graph for attr in node.attributes.values()]
        tensors += [attr.value for attr in attributes if attr.type == _TENSOR]
        for tensor in tensors:
            if isinstance(tensor, ir.TensorProtoTensor) and not _is_whole(tensor):
                raise InputError(
                    f"{path}: is damaged: weight '{tensor.name}' does not have the bytes of "
                    f"{tensor.dtype.name.lower()}{list(tensor.shape.numpy())}"
                )


def _is_whole(tensor: ir.TensorProtoTensor) -> bool:
    if tensor.raw.HasField("raw_data"):
        return len(tensor.raw.raw_data) == tensor.nbytes
    try:
        return tensor.numpy().size == tensor.size
    except (TypeError, ValueError):
        return False


def reads_other_files(model: ir.Model) -> bool:
    """Whether weights of a loaded model lie in files of their own."""
    return bool(model.meta.get(_OTHER_FILES))


def _cut(path: Path) -> CutModel | None:
    """The model without its large weights, None for what the ordinary way must look at."""
    try:
        is_large = path.is_file() and path.stat().st_size >= _CUT_FROM
        return cut_large_weights(path) if is_large and _text_format(path) is None else None
    except OSError:
        return None


def _restore(model: ir.Model, cut: CutModel, path: str | os.PathLike[str]) -> None:
    try:
        restore_weights(model, cut)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", error.hint) from error


def _text_format(path: str | os.PathLike[str]) -> str | None:
    return _TEXT_FORMATS.get(Path(path).suffix.lower())


def _bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, a model file is needed") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"
        ) from error
    if not data:
        raise InputError(f"{path}: is empty, not an ONNX model")
    return data


def _parsed(data: bytes, path: str | os.PathLike[str]) -> onnx.ModelProto:
    kind = _text_format(path)
    try:
        proto = onnx.load_model_from_string(data, format=kind or "protobuf")
    except Exception as error:  # protobuf and each text parser raise their own errors
        reason = f"is not an ONNX model as {kind}: {first_line(error)}" if kind else _not_onnx(data)
        raise InputError(f"{path}: {reason}") from error
    if not proto.HasField("graph") or not proto.ir_version:
        raise InputError(f"{path}: {_not_onnx(data)}")
    return proto


def _not_onnx(data: bytes) -> str:
    head = data[:4096].decode("utf-8", errors="replace")
    if all(letter.isprintable() or letter.isspace() for letter in head[:-1]):
        return "is a text file, not an ONNX model"
    return "is not an ONNX model, or is damaged or truncated"


def _checked(data: bytes, path: str | os.PathLike[str]) -> bytes:
    """The bytes of a model that is valid, or becomes so with sorted nodes and shaped outputs."""
    try:
        _check_structure(data, path)
    except InputError:
        proto = _parsed(data, path)
        is_sorted, is_filled = sort_nodes(proto), fill_output_shapes(proto)
        if not (is_sorted or is_filled):
            raise
        data = proto.SerializeToString()
        _check_structure(data, path)
    return data


def _check_parsed(proto: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """The same for a model that is not checked as bytes; the changes are made in place."""
    try:
        _check_structure(without_external_data(proto), path)
    except InputError:
        is_sorted, is_filled = sort_nodes(proto), fill_output_shapes(proto)
        if not (is_sorted or is_filled):
            raise
        _check_structure(without_external_data(proto), path)


def _check_structure(model: onnx.ModelProto | bytes, path: str | os.PathLike[str]) -> None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        if isinstance(model, bytes):
            _parsed(model, path)  # says better what is wrong with a file that is no model at all
        raise _structure_error(path, first_line(error)) from error


def _structure_error(path: str | os.PathLike[str], reason: str) -> InputError:
    unknown = "No Op registered for "
    if reason.startswith(unknown):
        return UnsupportedError(
            f"{path}: the standard has no operator {reason.removeprefix(unknown)}"
        )
    return InputError(f"{path}: is not a valid ONNX model: {reason}")


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """A graph of a model in memory. Raises InputError if its structure is not valid."""
    with refusals_named("model"):
        return ir.from_proto(proto)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model in memory, weights included where they are not external.

    Raises InputError for what the format has no form for.
    """
    with refusals_named("model"):
        return ir.to_proto(model)


def file_bytes(model: ir.Model, path: str | os.PathLike[str]) -> int:
    """Bytes on disk of a model loaded from path, the files with its external data included."""
    return sum(file.stat().st_size for file in files_of(model, path))


def files_of(model: ir.Model, path: str | os.PathLike[str]) -> list[Path]:
    """The file of a model loaded from path, then those with its external data, sorted."""
    own, others = Path(path).resolve(), set[Path]()
    for graph in all_graphs(model):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                others.add(Path(value.const_value.path).resolve())
    return [own, *sorted(others - {own})]


def save(
    model: ir.Model,
    path: str | os.PathLike[str],
    *,
    force: bool,
    external_limit: int = EXTERNAL_LIMIT,
) -> int:
    """Write a model so that path holds all of it or what it held before; return the bytes written.

    force            overwrite an existing file
    external_limit   bytes of weights above which they go to `<name>.data` beside the model,
                     written tensor by tensor, read back and compared by hash
    The extension chooses the text forms, as for load; same model, same bytes. Raises UsageError if
    the file exists without force or cannot be written.
    """
    target = check_output(path, force=force)
    if weight_bytes(model) > external_limit:
        return save_with_data(model, target, force=force)
    if _text_format(target) is None and weight_bytes(model) > STREAMED_FROM:
        with write_atomically(path, force=force) as file:
            return write_streamed(model, file)
    data = _serialized(to_proto(_with_data_inside(model)), target)
    with write_atomically(path, force=force) as file:
        file.write(data)
    return len(data)


def _with_data_inside(model: ir.Model) -> ir.Model:
    if not any(
        isinstance(value.const_value, ir.ExternalTensor)
        for graph in all_graphs(model)
        for value in graph.initializers.values()
    ):
        return model
    return ir.external_data.load_to_model(model.clone())


def _serialized(proto: onnx.ModelProto, target: Path) -> bytes:
    kind = _text_format(target)
    if kind is None:
        return bytes(proto.SerializeToString(deterministic=True))
    return bytes(onnx.serialization.registry.get(kind).serialize_proto(proto))
