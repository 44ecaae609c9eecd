"""Small files that hold enormous models are refused before anything is built from them."""

import time
from pathlib import Path

import onnx
import pytest
from onnx import FunctionProto, GraphProto, TensorProto, helper

from q8tool.errors import InputError
from q8tool.model import io
from q8tool.model.nesting import MOST_CALLED_NODES, MOST_LEVELS, refuse_excess

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
CONDITION = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]


def branches(depth: int) -> GraphProto:
    """A graph of 2 ** depth - 1 others: in every branch a node with two branches."""
    if depth == 0:
        return helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], [Y])
    inner = branches(depth - 1)
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return helper.make_graph([node], "g", [], [Y])


def in_branches(depth: int) -> onnx.ModelProto:
    graph = branches(depth)
    graph.input.extend([X, CONDITION])
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8)


def calls(depth: int, times: int = 2) -> onnx.ModelProto:
    """Functions each of which calls the next one several times."""
    functions: list[FunctionProto] = []
    for level in range(depth):
        names = ["a", *(f"t{i}" for i in range(times - 1)), "b"]
        nodes = [
            helper.make_node(f"f{level + 1}", [names[i]], [names[i + 1]], domain="my")
            for i in range(times)
        ]
        if level == depth - 1:
            nodes = [helper.make_node("Relu", ["a"], ["b"])]
        functions.append(helper.make_function("my", f"f{level}", ["a"], ["b"], nodes, OPSETS))
    graph = helper.make_graph([helper.make_node("f0", ["x"], ["y"], domain="my")], "g", [X], [Y])
    return helper.make_model(graph, opset_imports=OPSETS, functions=functions, ir_version=8)


@pytest.mark.parametrize(
    ("model", "message"),
    [(in_branches(14), "graphs lie inside its nodes"), (calls(40), "call each other so often")],
)
def test_a_small_file_with_too_much_inside(
    model: onnx.ModelProto, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "large.onnx"
    onnx.save(model, path)
    before = time.monotonic()
    with pytest.raises(InputError, match=message):
        io.load(path)
    assert time.monotonic() - before < 5


def test_what_is_nested_with_measure_is_read(tmp_path: Path) -> None:
    for place, model in enumerate((in_branches(5), calls(6), calls(3, times=20))):
        path = tmp_path / f"{place}.onnx"
        onnx.save(model, path)
        assert io.load(path).graph.outputs[0].name == "y"


def test_levels_are_counted_exactly() -> None:
    """2 graphs are 1 deep, 4 are 2 deep, 8 are 3 deep: 1538 levels of 7, 3586 of 8."""
    assert sum(level * 2**level for level in range(1, 8)) == 1538 < MOST_LEVELS < 3586
    refuse_excess(in_branches(7), "it")
    with pytest.raises(InputError, match="graphs lie inside its nodes"):
        refuse_excess(in_branches(8), "it")


def test_calls_are_counted_exactly() -> None:
    """2 ** 16 calls are allowed, 2 ** 17 are not; and functions that call each other never end."""
    assert 2**16 < MOST_CALLED_NODES < 2**17
    refuse_excess(calls(17), "it")
    with pytest.raises(InputError, match="so often"):
        refuse_excess(calls(18), "it")
    circle = calls(4)
    circle.functions[-1].node.append(helper.make_node("f1", ["a"], ["c"], domain="my"))
    with pytest.raises(InputError, match="calls itself"):
        refuse_excess(circle, "it")
