"""Models of one LSTM, GRU or RNN, with any of their options."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.graphs import Array, random

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
BOTH: dict[str, Any] = {"direction": "bidirectional"}
BACK: dict[str, Any] = {"direction": "reverse"}
# Steps, batch, inputs, hidden units.
SIZES = (7, 3, 5, 4)


def lengths_of(steps: int, batch: int) -> Array:
    """Of every sequence, from 1 to all steps; the first is the longest."""
    return np.asarray([steps - (3 * row) % steps for row in range(batch)], np.int32)


def recurrent(
    op: str,
    options: str = "",
    sizes: tuple[int, int, int, int] = SIZES,
    opset: int = 14,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node, whose every output is the model's.

    options  of b (bias), l (lengths_of), h (initial states), p (peepholes)
    """
    steps, batch, inputs, hidden = sizes
    count, wide = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[op] * hidden
    states = (batch, count, hidden) if attributes.get("layout") else (count, batch, hidden)
    size = np.float32(1 / np.sqrt(hidden))
    arrays: dict[str, Array] = {
        "w": random(count, wide, inputs),
        "r": random(count, wide, hidden, seed=1) * size,
        "b": random(count, 2 * wide, seed=2),
        "l": lengths_of(steps, batch),
        "h": random(*states, seed=3),
    }
    if op == "LSTM":
        arrays |= {"c": random(*states, seed=4), "p": random(count, 3 * hidden, seed=5)}
    wanted = {*"wr", *options, *("c" if "h" in options else "")}
    names = [name if name in wanted else "" for name in arrays]
    while not names[-1]:
        names.pop()
    outputs = ["y", "yh", "yc"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, ["x", *names], outputs, hidden_size=hidden, **attributes)
    shape = [batch, steps, inputs] if attributes.get("layout") else [steps, batch, inputs]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, None) for y in outputs],
        [numpy_helper.from_array(arrays[name], name) for name in names if name],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def with_codes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with w and r as int8, a scale per row of each gate, behind DequantizeLinear."""
    graph, nodes = model.graph, []
    for item in list(graph.initializer):
        if item.name not in ("w", "r"):
            continue
        array = numpy_helper.to_array(item)
        scales = np.abs(array).max((0, 2)) / np.float32(127)
        codes = np.rint(array / scales[:, None]).astype(np.int8)
        graph.initializer.remove(item)
        named = {"q": codes, "s": scales, "z": np.zeros(len(scales), np.int8)}
        for key, values in named.items():
            graph.initializer.append(numpy_helper.from_array(values, item.name + key))
        reads = [item.name + key for key in named]
        nodes.append(helper.make_node("DequantizeLinear", reads, [item.name], axis=1))
    last = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *last])
    return model


def sequences(sizes: tuple[int, int, int, int] = SIZES) -> Array:
    """What such a model reads."""
    return random(*sizes[:3], seed=9)
