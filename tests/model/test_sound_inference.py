"""Inference with some of its rules guarded: sound sizes as ever, others left open."""

from pathlib import Path

import onnx
import pytest

from q8tool.model.shapes import infer_shapes
from q8tool.model.sound_inference import guard_inference
from tests.fuzz.worker import ask
from tests.graphs import i64, model, proto

WINDOW = "a = AveragePool<kernel_shape=[8, 1]>(x) "


def dims(found: onnx.ModelProto, name: str) -> list[int]:
    (value,) = [value for value in found.graph.value_info if value.name == name]
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("opset", [11, 13, 18, 22])
def test_sizes_below_zero_are_left_open(opset: int, tmp_path: Path) -> None:
    body = WINDOW + "s = Slice(a, start, end) g = GatherND(a, places) t = Relu(s) y = Relu(g)"
    text = f"g (float[1,2,4,4] x) => (float y, float t) {{ {body} }}"
    arrays = {"start": i64([0, 0]), "end": i64([1, 1]), "places": i64([[0, 0]])}

    def case() -> tuple[int, int]:
        graph = model(text, opset, **arrays)
        infer_shapes(graph)
        shapes = {value.name: value.shape for node in graph.graph for value in node.outputs}
        assert list(shapes["a"] or ()) == [1, 2, -3, 4]
        assert shapes["s"] is None
        return 0, 0

    answer = ask(case, tmp_path / "log")
    assert not answer.finding, answer.text


@pytest.mark.parametrize("opset", [8, 13])
def test_a_list_of_endless_sizes(opset: int, tmp_path: Path) -> None:
    """2 ** 40 entries, each of which would be a dimension."""

    def case() -> tuple[int, int]:
        text = "g (float[2] x, int64[1099511627776] n) => (float y) { e = Expand(x, n) y = Abs(e) }"
        graph = model(text, opset)
        infer_shapes(graph)
        assert graph.graph[0].outputs[0].shape is None
        return 0, 0

    answer = ask(case, tmp_path / "log")
    assert not answer.finding, answer.text


UNTYPED = [
    "y = EyeLike<dtype=1>(nowhere)",
    'y = RegexFullMatch<pattern="a">(nowhere)',
    'y = ai.onnx.ml.DictVectorizer<string_vocabulary=["a"]>(nowhere)',
    'y = ai.onnx.ml.LabelEncoder<keys_strings=["a"], values_int64s=[1]>(nowhere)',
    """y = ai.onnx.ml.TreeEnsemble<tree_roots=[0], nodes_splits=float[1] {1}, nodes_featureids=[0],
        nodes_modes=uint8[1] {0}, nodes_truenodeids=[0], nodes_falsenodeids=[0],
        nodes_trueleafs=[1], nodes_falseleafs=[1], leaf_targetids=[0], leaf_weights=float[1] {1},
        n_targets=1>(nowhere)""",
]


@pytest.mark.parametrize("body", UNTYPED)
def test_an_input_that_nobody_makes(body: str, tmp_path: Path) -> None:
    def case() -> tuple[int, int]:
        head = '<ir_version: 9, opset_import: ["": 20, "ai.onnx.ml": 5]>'
        graph = onnx.parser.parse_model(f"{head} g (float[2] x) => (float[2] y) {{ {body} }}")
        guard_inference()
        onnx.shape_inference.infer_shapes(graph)
        return 0, 0

    answer = ask(case, tmp_path / "log")
    assert not answer.finding, answer.text


def test_sound_sizes_are_followed_through_lists_of_sizes() -> None:
    infer_shapes(model("g (float[2] x) => (float y) { y = Relu(x) }"))  # guards
    text = """g (float[1,6,4,5] x) => (float y) {
        one = Constant<value_ints=[1]>() four = Constant<value_ints=[4]>()
        a = Slice(x, one, four, one) n = Shape(x) m = Slice(n, one, four) b = ConstantOfShape(m)
        c = GatherND(x, places) d = Expand(x, n) e = Expand(d, n) y = Relu(b) }"""
    graph = proto(text, 13, places=i64([[0, 1], [0, 5]]))
    found = onnx.shape_inference.infer_shapes(graph, data_prop=True)
    assert dims(found, "a") == [1, 3, 4, 5]
    assert dims(found, "b") == [6, 4, 5]
    assert dims(found, "c") == [2, 4, 5]
    assert dims(found, "e") == [1, 6, 4, 5]
