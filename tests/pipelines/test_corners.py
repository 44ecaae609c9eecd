"""Odd but valid models run, freeze and are quantized: types, empty tensors, names, order."""

import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from q8tool import Session
from q8tool.model.node_order import sort_nodes
from q8tool.pipelines import compare, freeze, quantize
from tests.graphs import Array, random

X, W = random(4, 8), random(8, 5)
PRODUCT = "g (float[4,8] x) => (float[4,5] y) { h = MatMul(x, w) b = Relu(h) y = Sigmoid(b) }"


def model_of(text: str, opset: int = 17, **weights: Any) -> onnx.ModelProto:
    """Weights are arrays, or tensors of a type that numpy does not have."""
    head = f'<ir_version: 10, opset_import: ["": {opset}]>\n'
    model = onnx.parser.parse_model(head + text)
    for name, array in weights.items():
        is_tensor = isinstance(array, TensorProto)
        tensor = array if is_tensor else numpy_helper.from_array(np.asarray(array), name)
        model.graph.initializer.append(tensor)
    return model


def check(model: onnx.ModelProto, feeds: dict[str, Array], folder: Path, **expected: Array) -> None:
    """As it is, frozen, and in eight bits."""
    path, frozen, small = (folder / f"{name}.onnx" for name in ("float", "frozen", "eight"))
    onnx.save(model, path)
    freeze.run(freeze.Options(input_path=path, output_path=frozen))
    quantize.run(quantize.Options(input_path=path, output_path=small))
    for file, tolerance in ((path, 1e-5), (frozen, 1e-5), (small, 0.1)):
        results = Session(file).run(feeds)
        for name, wanted in expected.items():
            result = results[name]
            assert result.shape == wanted.shape
            if wanted.dtype == object:
                assert result.tolist() == wanted.tolist()
            else:
                np.testing.assert_allclose(result, wanted, atol=tolerance)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
def test_initializers_of_other_floats(dtype: Any, tmp_path: Path) -> None:
    text = "g (float[4,8] x) => (float[4,5] y) { wf = Cast<to=1>(w) y = MatMul(x, wf) }"
    weights = W.astype(dtype)
    check(model_of(text, w=weights), {"x": X}, tmp_path, y=X @ weights.astype(np.float32))


def test_initializers_of_four_bits() -> None:
    codes = np.clip(np.rint(W * 3), -8, 7)
    packed = helper.make_tensor("w", TensorProto.INT4, [8, 5], codes.astype(int).ravel().tolist())
    text = "g (float[4,8] x) => (float[4,5] y) { wf = DequantizeLinear(w, s) y = MatMul(x, wf) }"
    model = model_of(text, 21, w=packed, s=np.float32(0.3))
    result = Session(model).run({"x": X})["y"]
    np.testing.assert_allclose(result, X @ (codes * 0.3), atol=1e-5)


@pytest.mark.parametrize("rows", [0, 4])
def test_tensors_without_elements(rows: int, tmp_path: Path) -> None:
    text = """g (float[N,8] x) => (float[N,5] y, float[M,8] z)
        { y = MatMul(x, w) z = Concat<axis=0>(x, nothing) }"""
    x = X[:rows]
    model = model_of(text, w=W, nothing=np.zeros((0, 8), np.float32))
    check(model, {"x": x}, tmp_path, y=x @ W, z=x)


@pytest.mark.parametrize("name", ["", "same"])
def test_nodes_without_names_and_of_one_name(name: str, tmp_path: Path) -> None:
    model = model_of(PRODUCT, w=W)
    for node in model.graph.node:
        node.name = name
    check(model, {"x": X}, tmp_path, y=1 / (1 + np.exp(-np.maximum(X @ W, 0))))


def test_nodes_in_any_order(tmp_path: Path) -> None:
    model = model_of(PRODUCT, w=W)
    turned = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(turned)
    check(model, {"x": X}, tmp_path, y=1 / (1 + np.exp(-np.maximum(X @ W, 0))))


def test_only_what_stands_wrong_moves() -> None:
    model = model_of(
        """g (float[4] x, bool c) => (float[4] y) {
            late = If (c) <then_branch = t () => (a) { a = Neg(first) },
                           else_branch = e () => (b) { b = Abs(first) }>
            other = Exp(x) first = Sin(x) y = Add(late, other) }"""
    )
    assert sort_nodes(model)
    assert [n.op_type for n in model.graph.node] == ["Exp", "Sin", "If", "Add"]
    assert not sort_nodes(model)
    cycle = model_of("g (float[4] x) => (float[4] y) { y = Add(x, z) z = Neg(y) }")
    assert not sort_nodes(cycle)


def test_sequences_optionals_and_text(tmp_path: Path) -> None:
    text = """g (float[4,8] x, string[k] word) => (float[a,b] y, string[2] t, string[k] u) {
        h = MatMul(x, w) s = SequenceConstruct(h, h) i = Identity(s)
        all = ConcatFromSequence<axis=0>(i) o = Optional(all) y = OptionalGetElement(o)
        t = Identity(words) u = Identity(word) }"""
    words = np.array(["café", "b"], object)
    model = model_of(text, 18, w=W, words=words)
    feeds = {"x": X, "word": words[:1]}
    check(model, feeds, tmp_path, y=np.concatenate([X @ W, X @ W]), t=words, u=words[:1])


def test_time_grows_with_the_number_of_nodes(tmp_path: Path) -> None:
    """Counted in Python calls, which no other program on the machine changes.

    The first run imports, so that it does not count.
    """
    counts = [_calls_to_freeze(size, tmp_path) for size in (10, 150, 600)]
    assert counts[2] < 4.4 * counts[1]


def _calls_to_freeze(size: int, folder: Path) -> int:
    nodes = [
        helper.make_node(("Relu", "Neg")[i % 2], [f"v{i}"], [f"v{i + 1}"]) for i in range(size)
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("v0", f"v{size}")
    ]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 17)]
    path = folder / f"{size}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        freeze.run(freeze.Options(input_path=path, output_path=folder / f"{size}.frozen.onnx"))
    finally:
        sys.setprofile(None)
    return calls


def test_models_with_sequences_inside_are_compared(tmp_path: Path) -> None:
    made = model_of(
        """g (float[4,8] x) => (float[4,5] y) {
        two = Constant<value = int64 {2}>()  parts = SplitToSequence<axis=1>(x, two)
        h = ConcatFromSequence<axis=1>(parts)  y = MatMul(h, w) }""",
        w=W,
    )
    path = tmp_path / "float.onnx"
    onnx.save(made, path)
    found = compare.run(compare.Options(path, path))
    assert [value.name for value in found.values] == ["h", "y"]
