"""The rules of shape_rules.py against onnx's own inference."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.engine.facts import Fact, known_facts
from q8tool.engine.graph import Graph
from q8tool.engine.onnx_inference import inferred_by_onnx
from q8tool.engine.read_graph import read_graph
from q8tool.engine.shape_rules import types_by_rule
from q8tool.model import io
from tests.build import Array, Case, float_model, node, quantized_model
from tests.engine.cases import CODE_CASES, FLOAT_CASES

MODELS = [(case, float_model) for case in FLOAT_CASES]
MODELS += [(case, lambda case: quantized_model(case, "uint8")) for case in CODE_CASES]


def compared(graph: Graph, facts: dict[str, Fact]) -> int:
    """How many nodes have a rule; what it says is what onnx infers."""
    count = 0
    for each in graph.nodes:
        ruled = types_by_rule(each, facts)
        if ruled is not None:
            inferred = inferred_by_onnx(each, facts, graph.opsets)
            assert ruled == [inferred[name] for name in each.outputs], each.op_type
            count += 1
    return count


@pytest.mark.parametrize(("case", "make"), MODELS, ids=[case.name for case, _ in MODELS])
def test_every_node_of_the_models_of_other_tests(
    case: Case, make: Callable[[Case], onnx.ModelProto]
) -> None:
    graph = read_graph(io.from_proto(make(case)))
    fed = {name: (array.dtype, array.shape) for name, array in case.inputs.items()}
    compared(graph, known_facts(graph, fed, {}))


def numbers(*values: int) -> Array:
    return np.asarray(values, np.int64)


@pytest.mark.parametrize(
    ("single", "shape", "weights"),
    [
        (node("Reshape", "x s", "y"), (2, 3, 4), {"s": numbers(0, -1)}),
        (node("Reshape", "x s", "y"), (2, 3, 4), {"s": numbers(4, 6, 1)}),
        (node("Slice", "x a b c d", "y"), (5, 9, 4), {
            "a": numbers(-1, 1), "b": numbers(-(2**62), 2**62), "c": numbers(1, -1),
            "d": numbers(-2, 3),
        }),
        (node("Slice", "x a b", "y"), (5, 9), {"a": numbers(1, -3), "b": numbers(100, -1)}),
        (node("Unsqueeze", "x a", "y"), (5, 9), {"a": numbers(0, -1)}),
        (node("Squeeze", "x a", "y"), (1, 5, 1), {"a": numbers(-1)}),
        (node("Gather", "x i", "y", axis=-2), (5, 9, 4), {"i": np.zeros((2, 3), np.int64)}),
        (node("Expand", "x s", "y"), (5, 1), {"s": numbers(2, 1, 7)}),
        (node("Pad", "x p", "y"), (5, 6), {"p": numbers(1, 2, -1, 3)}),
        (node("Resize", "x - s", "y"), (1, 2, 5, 7), {
            "s": np.asarray([1, 1, 2.3, 0.4], np.float32),
        }),
        (node("Split", "x s", "a b", axis=1), (2, 5), {"s": numbers(2, 3)}),
        (node("ReduceMean", "x", "y", axes=[-1, 0], keepdims=0), (2, 5, 3), {}),
        (node("ArgMax", "x", "y", axis=-1, keepdims=0), (2, 5, 3), {}),
        (node("Gemm", "x w b", "y", transA=1, transB=1), (4, 3), {
            "w": np.zeros((5, 4), np.float32), "b": np.zeros((1, 5), np.float32),
        }),
        (node("Cast", "x", "y", to=onnx.TensorProto.INT32), (2, 5), {}),
        (node("DynamicQuantizeLinear", "x", "a b c"), (2, 5), {}),
        (node("Flatten", "x", "y", axis=-1), (2, 5, 3), {}),
    ],
)  # fmt: skip
def test_parameters(
    single: onnx.NodeProto, shape: tuple[int, ...], weights: dict[str, Array]
) -> None:
    case = Case("case", [single], {"x": np.zeros(shape, np.float32)}, weights)
    graph = read_graph(io.from_proto(float_model(case)))
    assert compared(graph, known_facts(graph, {"x": (np.dtype(np.float32), shape)}, {})) == 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_windows(data: st.DataObject) -> None:
    sizes = [data.draw(st.integers(1, 12)) for _ in range(2)]
    draw = [[data.draw(st.integers(1, 4)) for _ in range(2)] for _ in range(3)]
    kernel, strides, dilations = draw
    auto_pad = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    given: dict[str, Any] = {"strides": strides, "dilations": dilations, "auto_pad": auto_pad}
    if auto_pad == "NOTSET":
        given["pads"] = [data.draw(st.integers(0, 2)) for _ in range(4)]
    op_type = data.draw(st.sampled_from(["Conv", "MaxPool"]))
    if op_type == "Conv":
        single = onnx.helper.make_node("Conv", ["x", "w"], ["y"], **given)
    else:
        single = onnx.helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=kernel, **given)
    graph = read_graph(io.from_proto(untested_model(single)))
    float32 = np.dtype(np.float32)
    facts = {"x": Fact(float32, (1, 3, *sizes)), "w": Fact(float32, (4, 3, *kernel))}
    ruled = types_by_rule(graph.nodes[0], facts)
    if ruled is not None:
        assert inferred_by_onnx(graph.nodes[0], facts, graph.opsets) == {"y": ruled[0]}


def untested_model(single: onnx.NodeProto) -> onnx.ModelProto:
    """A model of one node whose shapes nobody has looked at."""
    values = [onnx.helper.make_tensor_value_info(n, 1, None) for n in single.input]
    graph = onnx.helper.make_graph(
        [single], "g", values, [onnx.helper.make_tensor_value_info("y", 1, None)]
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


def test_inputs_that_do_not_fit_have_no_rule() -> None:
    single = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = read_graph(io.from_proto(untested_model(single)))
    float32 = np.dtype(np.float32)
    facts = {"x": Fact(float32, (2, 3)), "w": Fact(float32, (4, 5))}
    assert types_by_rule(graph.nodes[0], facts) is None
    assert types_by_rule(graph.nodes[0], {**facts, "w": Fact(np.dtype(np.int8), (3, 5))}) is None
