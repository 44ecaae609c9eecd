"""restore_checkpoint: values by name, shape and type checked, the unmatched named."""

import numpy as np
import pytest

from q8tool.errors import InputError, UsageError
from q8tool.passes.restore_checkpoint import restore_checkpoint
from tests.graphs import assert_same, i64, model, random, weight

TEXT = """g (float[2,3] x) => (float[2,4] y) {
    c = MatMul(x, fc_weight)  y = Add(c, fc_bias) }"""
OLD = {"fc_weight": np.zeros((3, 4), np.float32), "fc_bias": np.zeros(4, np.float32)}
NEW = {"fc_weight": random(3, 4), "fc_bias": random(4), "step": i64(7)}


def test_values_by_name_and_the_unmatched_both_ways() -> None:
    graph = model(TEXT, **OLD)
    done = restore_checkpoint(graph, {"fc_weight": NEW["fc_weight"], "step": NEW["step"]})
    assert [change.node for change in done.changes] == ["fc_weight"]
    assert done.not_in_checkpoint == ["fc_bias"]
    assert done.not_in_model == ["step"]
    wanted = model(TEXT, **{**OLD, "fc_weight": NEW["fc_weight"]})
    assert_same(wanted, graph, x=random(2, 3))


def test_inputs_without_values_become_weights() -> None:
    text = """g (float[2,3] x, float[3,4] w) => (float[2,4] y) { y = MatMul(x, w) }"""
    graph = model(text)
    restore_checkpoint(graph, {"w": random(3, 4)})
    assert [value.name for value in graph.graph.inputs] == ["x"]
    np.testing.assert_array_equal(weight(graph, "w"), random(3, 4))


@pytest.mark.parametrize(
    ("only", "keep", "filled"),
    [
        (["fc_*"], [], ["fc_weight", "fc_bias"]),
        (["*_bias"], [], ["fc_bias"]),
        ([], ["*_bias"], ["fc_weight"]),
        (["fc_*"], ["*_weight"], ["fc_bias"]),
    ],
)
def test_patterns(only: list[str], keep: list[str], filled: list[str]) -> None:
    graph = model(TEXT, **OLD)
    done = restore_checkpoint(graph, NEW, only, keep)
    assert [change.node for change in done.changes] == filled
    assert done.not_in_checkpoint == []


def test_half_floats_are_converted() -> None:
    graph = model(TEXT, **OLD)
    done = restore_checkpoint(graph, {"fc_bias": np.array([1, 2, 3, 4], np.float16)})
    assert done.changes[0].what == "value restored, converted from FLOAT16"
    assert weight(graph, "fc_bias").dtype == np.float32


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (random(4, 3), r"shape \[4, 3\], the model \[3, 4\]"),
        (np.zeros((3, 4), np.int64), "INT64, the model FLOAT"),
    ],
)
def test_another_shape_or_type_is_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        restore_checkpoint(model(TEXT, **OLD), {"fc_weight": array})


def test_a_pattern_that_matches_nothing_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'fc_wieght' matches no weight") as caught:
        restore_checkpoint(model(TEXT, **OLD), NEW, ["fc_wieght"])
    assert caught.value.hint == "did you mean fc_weight?"
