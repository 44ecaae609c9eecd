"""fix_dimensions: symbolic sizes become numbers everywhere."""

import pytest

from q8tool.errors import UsageError
from q8tool.model.shapes import static_shape
from q8tool.passes.fix_dimensions import fix_dimensions
from tests.graphs import assert_same, model, random

TEXT = "g (float[batch,3,height,8] x) => (float[batch,4,P,6] y) { y = Conv(x, w) }"


def test_all_shapes_follow() -> None:
    before = model(TEXT, w=random(4, 3, 3, 3))
    after = before.clone()
    changes = fix_dimensions(after, {"batch": 1, "height": 10})
    assert [change.node for change in changes] == ["x"]
    assert static_shape(after.graph.inputs[0]) == (1, 3, 10, 8)
    assert static_shape(after.graph.outputs[0]) == (1, 4, 8, 6)
    assert_same(before, after, x=random(1, 3, 10, 8))


def test_one_of_several_leaves_the_others() -> None:
    graph = model(TEXT, w=random(4, 3, 3, 3))
    fix_dimensions(graph, {"batch": 2})
    assert str(graph.graph.inputs[0].shape) == "[2,3,height,8]"
    assert fix_dimensions(graph, {}) == []


def test_an_unknown_name_names_the_nearest() -> None:
    graph = model(TEXT, w=random(4, 3, 3, 3))
    with pytest.raises(UsageError, match="no input has a dimension named 'bach'") as caught:
        fix_dimensions(graph, {"bach": 1})
    assert caught.value.hint == "did you mean batch?"
