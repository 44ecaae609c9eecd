"""Valid files that ask for too much: one error, in time, before memory is gone."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from q8tool import Session
from q8tool.errors import InputError
from q8tool.model import io, shapes
from q8tool.ops import budget
from q8tool.passes.fold_constants import fold_constants
from tests.build import Array, model_of, node, run_onnxruntime

X = {"x": np.ones(1, np.float32)}


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


def model_with(nodes: list[onnx.NodeProto], weights: dict[str, Array]) -> onnx.ModelProto:
    """Unchecked: nobody's shape inference may walk these."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


HUGE = {
    "ConstantOfShape": ([node("ConstantOfShape", "s", "k")], {"s": i64(2**38)}),
    "Range": (
        [node("Range", "zero many one", "whole"), node("Cast", "whole", "k", to=1)],
        {"zero": i64(0)[0], "many": i64(2**37)[0], "one": i64(1)[0]},
    ),
    "Expand": ([node("Expand", "x s", "k")], {"s": i64(2**19, 2**19)}),
    "Conv": (
        [
            node("Reshape", "x s", "picture"),
            node("Conv", "picture w", "k", pads=[200_000] * 4),
        ],
        {"s": i64(1, 1, 1, 1), "w": np.ones((4, 1, 1, 1), np.float32)},
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_value_out_of_all_proportion_is_refused(name: str) -> None:
    nodes, weights = HUGE[name]
    model = model_with([*nodes, node("Add", "x k", "y")], weights)
    with pytest.raises(InputError, match="bytes; at most"):
        Session(model, 1).run(X)


@pytest.mark.parametrize("most", [i64(2**40)[0], None])
def test_a_loop_without_end_is_refused(most: Array | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "SECONDS", 0.2)
    scalar = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", "goes", "goes_on"), node("Add", "a a", "b")],
        "body",
        [scalar("i", TensorProto.INT64, []), scalar("goes", TensorProto.BOOL, []),
         scalar("a", TensorProto.FLOAT, [1])],
        [scalar("goes_on", TensorProto.BOOL, []), scalar("b", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    endless = helper.make_node(
        "Loop", ["" if most is None else "most", "true", "x"], ["y"], body=body
    )
    weights = {"true": np.asarray(True)} | ({} if most is None else {"most": most})
    with pytest.raises(InputError, match="takes too long"):
        Session(model_with([endless], weights), 1).run(X)


def test_constants_that_double_are_not_folded_for_ever() -> None:
    """Forty times Concat(k, k): a thousand numbers become 2 ** 50."""
    nodes = [node("Concat", f"k{i} k{i}", f"k{i + 1}", axis=0) for i in range(40)]
    nodes += [node("ReduceSum", "k40", "r", keepdims=0), node("Add", "x r", "y")]
    proto = model_with(nodes, {"k0": np.ones(1024, np.float32)})
    model = io.from_proto(proto)
    fold_constants(model)
    held = [value.const_value for value in model.graph.initializers.values()]
    assert sum(tensor.nbytes for tensor in held if tensor is not None) < 1_000_000
    shapes.infer_shapes(model)
    with pytest.raises(InputError, match="memory"):
        Session(proto, 1)


def test_a_number_that_no_descriptor_holds() -> None:
    x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    conv = node("Conv", "x w", "y", strides=[2**62, 2**62])
    model = model_of([conv], {"x": x}, {"w": w}, ["y"])
    np.testing.assert_array_equal(Session(model, 1).run({"x": x})["y"], np.full((1, 4, 1, 1), 27))


def test_more_dimensions_than_arrays_have() -> None:
    graph = helper.make_graph(
        [node("Relu", "x", "y")],
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1] * 70)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1] * 70)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    found = shapes.absurd_value(io.from_proto(model))
    assert found is not None
    assert found.name == "x"


@pytest.mark.parametrize(("condition", "said"), [("true", "would take"), ("asked", "of its body")])
def test_a_value_inside_a_branch_is_refused_as_well(condition: str, said: str) -> None:
    """The shape of its value follows from what it captures; a branch that is taken is no body."""
    branch = helper.make_graph(
        [
            node("Reshape", "x picture", "p"),
            node("ConvTranspose", "p w", "z", output_shape=[65536, 65536]),
        ],
        "branch",
        [],
        [helper.make_empty_tensor_value_info("z")],
    )
    chosen = helper.make_node("If", [condition], ["y"], then_branch=branch, else_branch=branch)
    asked = node("Cast", "x", "asked", to=TensorProto.BOOL)
    weights = {
        "true": np.asarray(True), "picture": i64(1, 1, 1, 1), "w": np.ones((1, 1, 3, 3), np.float32)
    }  # fmt: skip
    with pytest.raises(InputError, match=said):
        Session(model_with([asked, chosen], weights), 1).run(X)


@pytest.mark.parametrize(("operator", "second"), [("Gather", "places"), ("Unsqueeze", "axes")])
def test_codes_of_nine_dimensions(operator: str, second: str) -> None:
    """More than C has: codes of one scale that become those of another do so on the host."""
    nodes = [
        node("QuantizeLinear", "x s z", "a"),
        node("DequantizeLinear", "a s z", "b"),
        node(operator, f"b {second}", "c"),
        node("QuantizeLinear", "c other z", "y"),
    ]
    weights: dict[str, Array] = {
        "s": np.asarray(0.25, np.float32),
        "other": np.asarray(0.5, np.float32),
        "z": np.asarray(3, np.uint8),
        "places": np.asarray([1, 0, 1, 1]).reshape(1, 2, 1, 2, 1),
        "axes": i64(0, 1, 2, 3),
    }
    x = np.arange(48, dtype=np.float32).reshape(2, 3, 2, 2, 2) / 8
    model = model_of(nodes, {"x": x}, weights, ["y"])
    (found,) = Session(model, threads=1).run({"x": x}).values()
    assert found.ndim == 9
    np.testing.assert_array_equal(found, run_onnxruntime(model, {"x": x})[0])
