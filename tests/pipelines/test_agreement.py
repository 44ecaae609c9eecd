"""Random input: seeded, and of one size wherever a dimension has one name; lists as answers."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool import Session
from q8tool.errors import InputError, Q8Error
from q8tool.pipelines.agreement import (
    OpenSizes,
    compare_on_random_input,
    first_run,
    random_feeds,
)
from tests.graphs import f32, i64, model


def test_feeds_are_seeded_and_dimensions_of_one_name_agree() -> None:
    graph = model(
        "g (float[N,L] x, int64[N,L] i, bool[L] b, uint8[3] u) => (float[N,L] y) { y = Relu(x) }"
    )
    feeds = random_feeds(graph, OpenSizes(1, 5))
    assert {name: array.shape for name, array in feeds.items()} == {
        "x": (1, 1), "i": (1, 1), "b": (1,), "u": (3,),
    }  # fmt: skip
    assert set(np.unique(feeds["i"])) <= {0, 1}
    assert feeds["u"].dtype == np.uint8
    again = random_feeds(graph, OpenSizes(1, 5))
    assert all(np.array_equal(feeds[name], again[name]) for name in feeds)


def test_large_inputs_are_made_up_for_those_who_have_weights() -> None:
    text = "g (float[3000,500] x, float[1000,1000] z) => (float[3000,500] y) { y = Add(x, w) }"
    with pytest.raises(InputError, match=r"'z' of shape \[1000, 1000\] would take 4,000,000"):
        random_feeds(model(text, w=f32(np.ones((100, 100)))))
    feeds = random_feeds(model(text, w=f32(np.ones((1000, 100)))))
    assert feeds["z"].shape == (1000, 1000)


def test_models_that_give_lists() -> None:
    def halves(*sizes: float) -> ir.Model:
        text = """g (float[4,6] x) => (seq(float[2,6]) y) {
            k = Mul(x, w)  y = SplitToSequence <axis = 0> (k, s) }"""
        return model(text, 13, w=f32([sizes[0]]), s=i64(sizes[1:]))

    assert compare_on_random_input(halves(2, 2, 2), halves(2, 2, 2)) == {"y": 0}
    for other in (halves(3, 2, 2), halves(2, 1, 3), halves(2, 4)):
        with pytest.raises(Q8Error, match="'y' would differ"):
            compare_on_random_input(halves(2, 2, 2), other)


def test_a_few_codes_may_be_a_step_off() -> None:
    """Of 65 steps a factor of 1.002 moves one value in twenty to its neighbour."""

    def coded(factor: float, text: str = "uint8[40,60] y) { k = Mul(x, w)") -> ir.Model:
        return model(
            f"g (float[40,60] x) => ({text}  y = QuantizeLinear(k, s, z) }}",
            w=f32([factor]), s=f32(0.05), z=np.array(128, np.uint8),
        )  # fmt: skip

    assert 0.001 < compare_on_random_input(coded(1), coded(1.002))["y"] < 0.1
    with pytest.raises(Q8Error, match="'y' would differ"):
        compare_on_random_input(coded(1), coded(1.2))
    both = "float[40,60] k, uint8[40,60] y) { k = Mul(x, w)"
    with pytest.raises(Q8Error, match="'k' would differ"):
        compare_on_random_input(coded(1, both), coded(1.2, both))


def test_what_a_model_draws_is_not_compared() -> None:
    def noisy(factor: float) -> ir.Model:
        text = """g (float[4,6] x) => (float[4,6] y, float[4,6] z) {
            n = RandomNormalLike(x)  y = Add(x, n)  z = Mul(x, w) }"""
        return model(text, 13, w=f32([factor]))

    assert compare_on_random_input(noisy(2), noisy(2)) == {"z": 0}
    with pytest.raises(Q8Error, match="'z' would differ"):
        compare_on_random_input(noisy(2), noisy(3))


def test_a_dimension_that_is_named_a_sum_has_that_size() -> None:
    graph = model(
        "g (float[B,P] x, float[B,T] m, float[B,U] n) => (float[B,Y] y) "
        "{ y = Concat<axis=1>(x, m) }"
    )
    graph.graph.inputs[1].shape = ir.Shape(["B", "P + 1"])
    graph.graph.inputs[2].shape = ir.Shape(["B", "P + New"])  # nothing is called New
    feeds = random_feeds(graph, OpenSizes(1, 5))
    assert [array.shape for array in feeds.values()] == [(1, 5), (1, 6), (1, 5)]


@pytest.mark.parametrize("new", [1, "N"])
def test_a_mask_as_long_as_a_cache_and_what_is_new(new: int | str) -> None:
    graph = model(
        """g (float[B,1,P,4] past, float[B,1,1,4] x, float[B,T] mask) => (float[B,1,B,4] y) {
            all = Concat<axis=2>(past, x) y = MatMul(mask, all) }"""
    )
    if new == "N":
        graph.graph.inputs[1].shape = ir.Shape(["B", 1, "N", 4])
    sizes, feeds, _ = first_run(graph, Session(graph).run)
    assert sizes.named is not None
    assert sizes.named[0] == "T"
    assert feeds["mask"].shape[1] == feeds["past"].shape[2] + feeds["x"].shape[2]


def test_sound_that_becomes_frames() -> None:
    """Frames of 800 values, 20 of which are a second."""
    text = "g (float[1,S] wave) => (float[1,T,800] y) { y = Reshape(wave, frames) }"
    graph = model(text, 17, frames=i64([1, -1, 800]))
    _, _, answers = first_run(graph, Session(graph).run)
    assert answers["y"].shape == (1, 20, 800)
