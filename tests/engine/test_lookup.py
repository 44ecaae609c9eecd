"""Elements and blocks at indices of the run, and the greatest of an axis, in C."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from q8tool import Session
from q8tool.errors import InputError
from tests.build import Array, model_of, node, run_onnxruntime
from tests.engine.test_choice import same_in_c

TYPES = [np.float32, np.float64, np.int8, np.uint8, np.int64, np.float16]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_gather_elements(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    dtype = data.draw(st.sampled_from(TYPES))
    size = shape[axis]
    wanted = list(shape)
    wanted[axis] = data.draw(st.integers(1, 9))
    within = st.integers(-size, size - 1)
    indices: Array = data.draw(hnp.arrays(np.int64, tuple(wanted), elements=within))
    if data.draw(st.booleans()):
        indices = indices.astype(np.int32)
    x = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    feeds = {"x": x, "i": indices}
    model = model_of([node("GatherElements", "x i", "y", axis=axis)], feeds, {}, ["y"])
    for threads in (1, 2):
        (got,) = Session(model, threads, strict=True).run(feeds).values()
        np.testing.assert_array_equal(got, np.take_along_axis(x, indices, axis))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_scatter_elements(data: st.DataObject) -> None:
    """Without a reduction places differ: which update stays is not said."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=6))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    reduction = data.draw(st.sampled_from(["none", "add", "mul", "min", "max"]))
    dtype = data.draw(st.sampled_from([np.float32, np.int64, np.uint8, np.float64]))
    count = data.draw(st.integers(1, shape[axis]))
    order = np.random.default_rng(1).permuted(np.indices(shape)[axis], axis=axis)
    indices = np.take(order, range(count), axis)
    indices -= shape[axis] * np.random.default_rng(2).integers(0, 2, indices.shape)
    if reduction != "none":
        indices[...] = data.draw(st.integers(-shape[axis], shape[axis] - 1))
    generator = np.random.default_rng(3)
    feeds: dict[str, Array] = {
        "x": generator.integers(0, 4, shape).astype(dtype),
        "i": indices,
        "u": generator.integers(0, 4, indices.shape).astype(dtype),
    }
    nodes = [node("ScatterElements", "x i u", "y", axis=axis, reduction=reduction)]
    same_in_c(model_of(nodes, feeds, {}, ["y"], opset=18), feeds)


@pytest.mark.parametrize("batch_dims", [0, 1])
@pytest.mark.parametrize("depth", [1, 2])
def test_gather_nd(batch_dims: int, depth: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    indices = np.random.default_rng(1).integers(-3, 3, (3, 7, depth))
    feeds: dict[str, Array] = {"x": x, "i": indices}
    nodes = [node("GatherND", "x i", "y", batch_dims=batch_dims)]
    same_in_c(model_of(nodes, feeds, {}, ["y"]), feeds)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_scatter_nd(reduction: str, dtype: Any) -> None:
    generator = np.random.default_rng(0)
    feeds = {
        "x": generator.integers(0, 9, (4, 5, 6)).astype(dtype),
        "i": np.array([[0, 1], [-1, -2], [2, 4]]),
        "u": generator.integers(0, 9, (3, 6)).astype(dtype),
    }
    nodes = [node("ScatterND", "x i u", "y", reduction=reduction)]
    same_in_c(model_of(nodes, feeds, {}, ["y"], opset=18), feeds)


CASES: list[tuple[str, Array]] = [
    ("GatherElements", np.array([[0, 4]])),
    ("GatherElements", np.array([[-5, 0]])),
    ("GatherND", np.array([[0, 5]])),
    ("GatherND", np.array([[-5, 0]])),
    ("ScatterElements", np.array([[1, 1 << 40]])),
    ("ScatterND", np.array([[4, 0]])),
]


@pytest.mark.parametrize(("op", "indices"), CASES)
def test_an_index_outside_is_an_error(op: str, indices: Array) -> None:
    feeds = {"x": np.zeros((4, 5), np.float32), "i": indices}
    reads = "x i"
    if op.startswith("Scatter"):
        feeds["u"] = np.zeros(indices.shape if op.endswith("s") else (1,), np.float32)
        reads = "x i u"
    session = Session(model_of([node(op, reads, "y")], feeds, {}, ["y"], opset=18), 1, strict=True)
    with pytest.raises(InputError, match=r"(gather|scatter).*: an index is outside its axis"):
        session.run(feeds)
    feeds["i"] = np.zeros_like(indices)
    session.run(feeds)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_top_k(data: st.DataObject) -> None:
    """Against numpy's stable sort: equal elements stay in their order."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=9))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    k = data.draw(st.integers(1, shape[axis]))
    largest = data.draw(st.integers(0, 1))
    dtype = data.draw(st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8]))
    x = data.draw(hnp.arrays(dtype, shape, elements=st.integers(0, 5).map(dtype)))
    attributes = {"axis": axis, "largest": largest, "sorted": data.draw(st.integers(0, 1))}
    model = model_of(
        [node("TopK", "x k", "v i", **attributes)], {"x": x}, {"k": np.array([k])}, ["v", "i"]
    )
    keys = -x.astype(np.float64) if largest else x.astype(np.float64)
    order = np.take(np.argsort(keys, axis=axis, kind="stable"), range(k), axis)
    for threads in (1, 2):
        found = Session(model, threads, strict=True).run({"x": x})
        np.testing.assert_array_equal(found["i"], order)
        np.testing.assert_array_equal(found["v"], np.take_along_axis(x, order, axis))


def test_top_k_of_many_rows_and_what_is_no_number() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3000)).astype(np.float32)
    x[:, 7] = np.nan
    model = model_of([node("TopK", "x k", "v i")], {"x": x}, {"k": np.array([100])}, ["v", "i"])
    order = np.argsort(np.where(np.isnan(x), -np.inf, -x), axis=1, kind="stable")[:, :100]
    for threads in (1, 3):
        found = Session(model, threads, strict=True).run({"x": x})
        np.testing.assert_array_equal(found["i"], order)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("attributes", [{}, {"exclusive": 1}, {"reverse": 1, "exclusive": 1}])
@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_cum_sum(axis: int, attributes: dict[str, int], dtype: str) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (4, 7, 3)).astype(dtype)
    model = model_of(
        [node("CumSum", "x a", "y", **attributes)], {"x": x}, {"a": np.array(axis)}, ["y"]
    )
    (want,) = run_onnxruntime(model, {"x": x})
    got = Session(model, 1, strict=True).run({"x": x})["y"]
    np.testing.assert_array_equal(got, want)
