"""Damage: bytes of any file, and fields of a model that stays a protobuf message."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

__all__ = ["damaged_bytes", "damaged_model", "damaged_text"]

Random = np.random.Generator

SIZES = [-1, 0, 1, 2, 3, 7, 255, 65536, 2**31 - 1, -(2**31), 2**31, 2**40,
         2**62, 2**63 - 1, -(2**63)]  # fmt: skip
NUMBERS = [0.0, -0.0, -1.0, 1e-45, 1e-30, 1e30, 3.4e38, float("inf"), float("-inf"), float("nan")]
WORDS = [b"\xff" * 9 + b"\x01", b"\x80" * 12, b"\0" * 8, b"\xff" * 4, b"\x7f\xff\xff\xff", b"../"]
PLACES = ["../outside.bin", "/etc/hostname", "link.bin", "weights.bin", "", ".", "a/../../b", "\0x"]
TEXTS = ["", "NaN", "1e400", "-1", '"', "[", "{" * 500, "[" * 5000, "0x", "\0", "\u202e", "9" * 400,
         "null", "true", "1979-05-27", "\n", ",", "=", "''", "1" * 5000]  # fmt: skip
# Operators that another can turn into: their lowerings then meet attributes and ranks not theirs.
OPERATORS = [
    "Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Mul", "Div", "Relu", "Clip", "Softmax",
    "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Split", "Slice", "Reshape",
    "Transpose", "Pad", "Resize", "Gather", "Expand", "Tile", "ReduceMean", "Cast", "Flatten",
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
    "MatMulInteger", "ConvInteger", "Squeeze", "Unsqueeze", "LayerNormalization", "ArgMax",
    "TopK", "BatchNormalization", "DepthToSpace", "SpaceToDepth", "Where", "ConstantOfShape",
    "Range", "Shape", "NonZero", "Loop", "If", "Scan", "Einsum", "LSTM", "CumSum", "OneHot",
    "Trilu", "GRU", "RNN", "NonMaxSuppression", "GatherElements", "GatherND", "ScatterElements",
    "ScatterND", "Mod", "Equal", "Less", "ArgMin", "ReduceL2", "Sum", "Identity", "GridSample",
    "Attention", "RotaryEmbedding", "SequenceAt", "SplitToSequence", "ConcatFromSequence",
    "Optional", "GroupNormalization", "InstanceNormalization", "LpPool", "MaxUnpool", "RoiAlign",
    "StringConcat",
]  # fmt: skip


def pick(random: Random, items: Sequence[Any]) -> Any:
    return items[int(random.integers(len(items)))]


ATTRIBUTES = [
    "axis", "axes", "group", "pads", "strides", "dilations", "kernel_shape", "perm", "to",
    "alpha", "keepdims", "transB", "blocksize", "num_outputs", "auto_pad", "ceil_mode",
    "hidden_size", "direction", "layout", "batch_dims", "largest", "fmod", "upper", "split",
]  # fmt: skip
TYPES = ["float32", "int8", "uint8", "int32", "int64", "float64", "float16", "bool"]

# ---- bytes ----


def damaged_bytes(random: Random, data: bytes) -> bytes:
    """One to eight flips, cuts, repetitions, insertions, or all behind a place gone."""
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        if not changed:
            break
        at = int(random.integers(len(changed)))
        end = min(len(changed), at + int(random.integers(1, 40)))
        kind = int(random.integers(7))
        if kind <= 1:
            changed[at] ^= 1 << int(random.integers(8))
        elif kind == 2:
            changed[at] = int(random.integers(256))
        elif kind == 3:
            del changed[at:end]
        elif kind == 4:
            changed[at:at] = changed[at:end] * int(random.integers(1, 20))
        elif kind == 5:
            word = pick(random, WORDS)
            changed[at : at + len(word)] = word
        elif random.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def damaged_text(random: Random, data: bytes) -> bytes:
    """Numbers and words of a text replaced, or its bytes damaged."""
    if random.random() < 0.3:
        return damaged_bytes(random, data)
    text = data.decode()
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(len(text) + 1))
        end = min(len(text), at + int(random.integers(0, 12)))
        text = text[:at] + pick(random, TEXTS) + text[end:]
    return text.encode("utf-8", "replace")


# ---- models ----


def damaged_model(random: Random, data: bytes) -> bytes:
    """One to three fields of a model changed; of one in five, bytes as well or instead."""
    if random.random() < 0.15:
        return damaged_bytes(random, data)
    model = onnx.load_model_from_string(data)
    for _ in range(int(random.integers(1, 4))):
        if random.random() < 0.85:
            pick(random, GRAPH_SURGERY)(random, _any_graph(random, model))
        else:
            pick(random, MODEL_SURGERY)(random, model)
    changed = bytes(model.SerializeToString())
    return damaged_bytes(random, changed) if random.random() < 0.05 else changed


def _any_graph(random: Random, model: onnx.ModelProto) -> onnx.GraphProto:
    """The model's graph or, one time in two, a body in it if there is one."""
    graph = model.graph
    while random.random() < 0.5:
        bodies = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
        if not bodies:
            break
        graph = pick(random, bodies)
    return graph


def _attribute(random: Random, graph: onnx.GraphProto) -> None:
    found = [a for node in graph.node for a in node.attribute]
    if not found:
        return
    chosen = pick(random, found)
    kind = int(random.integers(6))
    if kind == 0:
        chosen.type = int(random.integers(0, 16)) % 15  # there are 15
    elif kind == 1 and chosen.ints:
        del chosen.ints[int(random.integers(len(chosen.ints))) :]
    elif chosen.ints:
        chosen.ints[int(random.integers(len(chosen.ints)))] = pick(random, SIZES)
    elif chosen.HasField("s"):
        chosen.s = pick(random, [b"", b"SAME_UPPER", b"NOTSET", b"linear", b"\xff\xfe", b"DCR"])
    elif chosen.HasField("f"):
        chosen.f = pick(random, NUMBERS)
    else:
        chosen.i = pick(random, SIZES)


def _new_attribute(random: Random, graph: onnx.GraphProto) -> None:
    if not graph.node:
        return
    node, name = pick(random, graph.node), pick(random, ATTRIBUTES)
    if any(a.name == name for a in node.attribute):
        return
    count = int(random.integers(0, 5))
    value = pick(random, [pick(random, SIZES), [int(pick(random, SIZES)) for _ in range(count)],
                          pick(random, NUMBERS)])  # fmt: skip
    if value != []:
        node.attribute.append(onnx.helper.make_attribute(name, value))


def _weight_shape(random: Random, graph: onnx.GraphProto) -> None:
    if not graph.initializer:
        return
    tensor = pick(random, graph.initializer)
    kind = int(random.integers(5))
    if kind == 0:
        tensor.data_type = int(random.integers(0, 27))
    elif kind == 1:
        tensor.raw_data = tensor.raw_data[: int(random.integers(len(tensor.raw_data) + 1))]
    elif kind == 2:
        tensor.dims.append(pick(random, SIZES))
    elif kind == 3 and tensor.dims:
        del tensor.dims[0]
    elif tensor.dims:
        tensor.dims[int(random.integers(len(tensor.dims)))] = pick(random, SIZES)


def _weight_values(random: Random, graph: onnx.GraphProto) -> None:
    """Scales of 0, NaN and infinity, zero points and indices out of range, sound in form."""
    if not graph.initializer:
        return
    tensor = pick(random, graph.initializer)
    try:
        array = onnx.numpy_helper.to_array(tensor).copy()
    except Exception:  # damaged before
        return
    if array.size == 0 or array.dtype.kind not in "iuf":
        return
    flat = array.reshape(-1)
    value = pick(random, NUMBERS if array.dtype.kind == "f" else SIZES)
    with np.errstate(all="ignore"):
        wanted = np.asarray(value).astype(array.dtype)
    flat[: 1 if random.random() < 0.5 else None] = wanted
    tensor.CopyFrom(onnx.numpy_helper.from_array(flat.reshape(array.shape), tensor.name))


def _reshaped_weight(random: Random, graph: onnx.GraphProto) -> None:
    """A sound tensor of another shape or type under the same name."""
    if not graph.initializer:
        return
    tensor = pick(random, graph.initializer)
    shape = [int(random.integers(0, 6)) for _ in range(int(random.integers(0, 6)))]
    array = random.integers(0, 5, shape).astype(pick(random, TYPES))
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _value(random: Random, graph: onnx.GraphProto) -> None:
    values = [*graph.input, *graph.output, *graph.value_info]
    if not values:
        return
    kind = pick(random, values).type.tensor_type
    chosen = int(random.integers(4))
    if chosen == 0:
        kind.elem_type = int(random.integers(0, 27))
    elif chosen == 1:
        kind.shape.dim.add().dim_value = pick(random, SIZES)
    elif chosen == 2:
        kind.ClearField("shape")
    elif kind.shape.dim:
        dim = pick(random, kind.shape.dim)
        if random.random() < 0.3:
            dim.dim_param = "N"
        else:
            dim.dim_value = pick(random, SIZES)


def _wiring(random: Random, graph: onnx.GraphProto) -> None:
    """Inputs from anywhere (cycles as well), inputs and outputs that are missing or double."""
    nodes = graph.node
    if not nodes:
        return
    names = [name for node in nodes for name in (*node.input, *node.output)] + ["", "nowhere"]
    names += [tensor.name for tensor in graph.initializer]
    node, kind = pick(random, nodes), int(random.integers(6))
    if kind <= 2 and node.input:
        node.input[int(random.integers(len(node.input)))] = pick(random, names)
    elif kind == 3:
        node.input.append(pick(random, names))
    elif kind == 4 and node.input:
        del node.input[int(random.integers(len(node.input)))]
    elif node.output:
        node.output[int(random.integers(len(node.output)))] = pick(random, names)


def _operator(random: Random, graph: onnx.GraphProto) -> None:
    if graph.node:
        node = pick(random, graph.node)
        node.op_type = pick(random, OPERATORS)
        if random.random() < 0.5:
            del node.attribute[:]
        if random.random() < 0.1:
            node.domain = pick(random, ["com.microsoft", "ai.onnx.ml", "nowhere"])


def _repeated(random: Random, graph: onnx.GraphProto) -> None:
    """A node or weight twice, or gone."""
    chosen = graph.node if random.random() < 0.5 else graph.initializer
    if not chosen:
        return
    at = int(random.integers(len(chosen)))
    if random.random() < 0.5:
        del chosen[at]
    else:
        chosen.add().CopyFrom(chosen[at])


def _versions(random: Random, model: onnx.ModelProto) -> None:
    if random.random() < 0.3:
        model.ir_version = int(pick(random, SIZES))
    elif model.opset_import:
        version = pick(random, [1, 6, 7, 9, 11, 13, 15, 18, 21, 24, 26, 99, *SIZES])
        pick(random, model.opset_import).version = version


def _external(random: Random, graph: onnx.GraphProto) -> None:
    if not graph.initializer:
        return
    tensor = pick(random, graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, values in (("location", PLACES), ("offset", SIZES), ("length", SIZES)):
        if key == "location" or random.random() < 0.5:
            tensor.external_data.add(key=key, value=str(pick(random, values)))


def _metadata(random: Random, model: onnx.ModelProto) -> None:
    """What our tools note in a model, and cannot be."""
    value = pick(random, ['{"mean": [%s]}', '["%s"]', '{"x": %s}', "%s"])
    key = pick(random, ["preprocess", "labels", "scaled", "ranges"])
    model.metadata_props.add(key=f"q8tool.{key}", value=value.replace("%s", pick(random, TEXTS)))


def _nested(random: Random, model: onnx.ModelProto) -> None:
    """The whole graph inside branches of branches."""
    depth = int(pick(random, [1, 3, 20, 60]))
    outputs = [value.name for value in model.graph.output]
    nodes = list(model.graph.node)
    for level in range(depth):
        names = [f"{name}_{level}" for name in outputs]
        body = onnx.helper.make_graph(
            nodes, f"body{level}", [],
            [onnx.helper.make_empty_tensor_value_info(n) for n in outputs],
        )  # fmt: skip
        nodes = [
            onnx.helper.make_node("If", ["chooses"], names, then_branch=body, else_branch=body)
        ]
        outputs = names
        if model.ByteSize() * 2**level > 1 << 16:
            break
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for value, name in zip(model.graph.output, outputs, strict=True):
        value.name = name
    model.graph.input.append(onnx.helper.make_tensor_value_info("chooses", 9, []))


GRAPH_SURGERY: list[Callable[[Random, onnx.GraphProto], None]] = [
    _attribute, _attribute, _new_attribute, _weight_shape, _weight_values, _weight_values,
    _reshaped_weight, _value, _value, _wiring, _wiring, _operator, _repeated, _external,
]  # fmt: skip
MODEL_SURGERY: list[Callable[[Random, onnx.ModelProto], None]] = [_versions, _metadata, _nested]
