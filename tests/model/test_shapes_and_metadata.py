"""Shapes follow from inputs; metadata survives a round trip."""

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from q8tool.errors import InputError
from q8tool.model import io, metadata
from q8tool.model.check import check
from q8tool.model.shapes import dimension_names, fix_dimensions, infer_shapes, static_shape
from tests.graphs import i64, model, random

CONV = "g (float[N,3,9,9] x) => (float[N,4,7,7] y) { c = Conv(x, w)  y = Relu(c) }"


def shape_of(graph: ir.Model, name: str) -> str:
    values = {value.name: value for node in graph.graph for value in node.outputs}
    return str(values[name].shape)


def test_names_of_dimensions_are_kept() -> None:
    graph = model(CONV, w=random(4, 3, 3, 3))
    infer_shapes(graph)
    assert shape_of(graph, "c") == "[N,4,7,7]"
    assert dimension_names(graph) == ["N"]


def test_stale_shapes_give_way() -> None:
    graph = model(CONV, w=random(4, 3, 3, 3))
    graph.graph[0].outputs[0].shape = ir.Shape([1, 2, 3])
    infer_shapes(graph)
    assert shape_of(graph, "c") == "[N,4,7,7]"
    check(graph)


def test_what_onnx_does_not_know_keeps_its_declared_shape() -> None:
    graph = model(
        """<ir_version: 8, opset_import: ["": 13, "mine": 1]>
        g (float[2] x) => (float[2] y) <float[2] a> { a = mine.Secret(x)  y = Relu(a) }"""
    )
    infer_shapes(graph)
    assert shape_of(graph, "a") == "[2]"


def test_made_up_names_are_dropped_and_real_ones_that_look_so_kept() -> None:
    graph = model(
        """g (float[unk__7,2] x) => (float[A,2] y) {
            k = Cast<to=7>(x)  i = NonZero(k)  y = Relu(x) }"""
    )
    infer_shapes(graph)
    assert shape_of(graph, "k") == "[unk__7,2]"
    assert shape_of(graph, "i") == "[2,None]"


def test_fixing_and_static_shapes() -> None:
    graph = model(CONV, w=random(4, 3, 3, 3))
    assert static_shape(graph.graph.inputs[0]) is None
    assert fix_dimensions(graph, {"N": 3}) == ["x"]
    infer_shapes(graph)
    assert static_shape(graph.graph.inputs[0]) == (3, 3, 9, 9)
    assert static_shape(graph.graph.outputs[0]) == (3, 4, 7, 7)
    assert static_shape(None) is None


def test_check_names_the_reason() -> None:
    graph = model(CONV, w=random(4, 3, 3, 3))
    graph.graph.outputs[0].shape = ir.Shape([1, 2, 3])
    with pytest.raises(InputError, match=r"out\.onnx: is not valid ONNX") as caught:
        check(graph, "out.onnx")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("size", [-3, 2**41])
def test_shapes_that_no_tensor_has(size: int, tmp_path: Path) -> None:
    made = ir.to_proto(model(CONV, w=random(4, 3, 3, 3)))
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(InputError, match=r"m\.onnx: value 'x' cannot have the shape"):
        io.load(tmp_path / "m.onnx")


def test_shapes_that_only_inference_shows_to_be_absurd_take_no_time() -> None:
    graph = model(
        """g (float[1] x) => (int64[A] y) {
            r = Reshape(x, big)  y = Cast<to=7>(r) }""",
        big=i64([2**60]),
    )
    infer_shapes(graph)
    with pytest.raises(InputError, match="value 'r' cannot have the shape"):
        check(graph)


def test_labels_and_preprocessing(tmp_path: Path) -> None:
    graph = model(CONV, w=random(4, 3, 3, 3))
    assert metadata.labels(graph) is None
    assert metadata.preprocess(graph) is None
    rules = {"size": [224, 224], "mean": [0, 0, 0], "layout": "NCHW"}
    metadata.set_labels(graph, ["tulip", "Gänseblümchen"])
    metadata.set_preprocess(graph, rules)
    metadata.set_note(graph, "version", "0.1.0")
    io.save(graph, tmp_path / "m.onnx", force=False)
    again = io.load(tmp_path / "m.onnx")
    assert metadata.labels(again) == ["tulip", "Gänseblümchen"]
    assert metadata.preprocess(again) == rules
    assert list(metadata.notes(again)) == ["labels", "preprocess", "version"]


@pytest.mark.parametrize("text", ["{", "[1, 2]", '"tulip"', "[" * 100_000])
def test_labels_that_are_none(text: str) -> None:
    graph = model(CONV, w=random(4, 3, 3, 3))
    graph.metadata_props["q8tool.labels"] = text
    with pytest.raises(InputError, match=r"metadata q8tool\.labels"):
        metadata.labels(graph)


def test_labels_as_ultralytics_writes_them() -> None:
    graph = model(CONV, w=random(4, 3, 3, 3))
    graph.metadata_props["names"] = "{0: 'cat', 1: 'dog'}"
    assert metadata.labels(graph) == ["cat", "dog"]
    for other in ("", "{1: 'dog'}", "__import__('os')", "cat, dog"):
        graph.metadata_props["names"] = other
        assert metadata.labels(graph) is None


def test_sequences_are_no_tensors() -> None:
    text = """g (float[1,4] x) => (float[1,2] y) {
        s = SplitToSequence<axis=1>(x, n)  a = SequenceAt(s, i)  y = Neg(a) }"""
    made = model(text, n=i64(2), i=i64(1))
    infer_shapes(made)
    check(made, "model")
    assert static_shape(made.graph.node(1).outputs[0]) == (1, 2)


LOOP = """Loop(times, yes, empty) <body = b (int64 i, bool going, seq(float[2]) so_far)
    => (bool on, seq(float[2]) grown) { grown = SequenceInsert(so_far, x) on = Identity(going) }>"""
CHOICE = """If(yes) <
    then_branch = t () => (seq(float[2]) one) { one = SequenceInsert(empty, x) },
    else_branch = e () => (seq(float[2]) two) { two = SequenceConstruct(x, x) }>"""


@pytest.mark.parametrize("many", [LOOP, CHOICE])
def test_a_sequence_from_a_body_stays_one(many: str) -> None:
    graph = model(
        f"""g (float[2] x, int64 times, bool yes) => (float[N] y) {{
        empty = SequenceEmpty()  all = {many}  y = ConcatFromSequence<axis=0>(all) }}""",
        17,
    )
    infer_shapes(graph)
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
