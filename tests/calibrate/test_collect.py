"""Collect: ranges of inputs, outputs and what is between; what is not finite is named."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from q8tool.calibrate.collect import Sample, collect
from q8tool.calibrate.observers import METHODS, Method, make_observer
from q8tool.errors import InputError
from tests.graphs import Array, f32, model, random, run

TEXT = "g (float[N,3,6,6] x) => (float[N,4,4,4] y) { c = Conv(x, w)  y = Relu(c) }"
W = random(4, 3, 3, 3)


def samples(count: int) -> list[Sample]:
    return [Sample(f"photo{i}.jpg", {"x": random(1, 3, 6, 6, seed=i)}) for i in range(count)]


def between(photos: list[Sample]) -> list[Array]:
    graph = model("g (float[N,3,6,6] x) => (float[N,4,4,4] c) { c = Conv(x, w) }", w=W)
    return [run(graph, **photo.feeds)[0] for photo in photos]


def test_ranges_are_those_of_onnxruntime() -> None:
    photos = samples(5)
    found = collect(model(TEXT, w=W), photos, ["x", "c", "y"]).ranges()
    fed = np.stack([photo.feeds["x"] for photo in photos])
    inner = np.stack(between(photos))
    assert found["x"] == (fed.min(), fed.max())
    np.testing.assert_allclose(found["c"], (inner.min(), inner.max()), rtol=1e-5)
    np.testing.assert_allclose(found["y"], (0, inner.max()), rtol=1e-5)
    assert list(found) == ["x", "c", "y"]


def test_a_model_that_is_run_in_parts_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "g (float[1,9] x) => (float[1,9] y) { a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, v) }"
    graph = model(text, w=random(9, 9), v=random(9, 9, seed=1))
    photos = [Sample(str(i), {"x": random(1, 9, seed=i)}) for i in range(5)]
    whole = collect(graph, photos, ["x", "a", "b", "y"], "mse")
    monkeypatch.setattr("q8tool.calibrate.collect.LARGE", 100)
    monkeypatch.setattr("q8tool.calibrate.collect.IN_PARTS", 2)
    monkeypatch.setattr("q8tool.engine.parts.run_in_parts.__defaults__", (None, 100))
    parts = collect(graph, photos, ["x", "a", "b", "y"], "mse")
    assert parts.to_json() == whole.to_json()


@pytest.mark.parametrize("method", sorted({*METHODS} - {"weighted-mse"}))
def test_every_method_but_the_usual_one_stays_within_what_was_seen(method: Method) -> None:
    found = collect(model(TEXT, w=W), samples(8), ["c"], method).ranges()
    widest = collect(model(TEXT, w=W), samples(8), ["c"]).ranges()
    assert widest["c"][0] <= found["c"][0] < 0 < found["c"][1] <= widest["c"][1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("on_host", [False, True])
def test_the_engine_counts_what_an_observer_of_all_values_counts(
    method: Method, on_host: bool
) -> None:
    # Unique has no C kernel, so that the size of what follows is not known when it is compiled.
    maker = "Unique(x)" if on_host else "Neg(x)"
    graph = model(f"g (float[N] x) => (float[M] y) {{ c = {maker}  y = Relu(c) }}")
    photos = [
        Sample(str(i), {"x": random(9000, seed=i) * np.float32(4.0**i)}) for i in range(-2, 3)
    ]
    found = collect(graph, photos, ["c", "y"], method)
    observers = {name: make_observer(method) for name in ("c", "y")}
    for photo in photos:
        c = np.unique(photo.feeds["x"]) if on_host else -photo.feeds["x"]
        observers["c"].update(c)
        observers["y"].update(np.maximum(c, 0))
    kept = {name: observer.to_json() for name, observer in observers.items()}
    assert found.to_json()["tensors"] == kept


def test_progress_is_told_once_a_sample() -> None:
    calls: list[None] = []
    collect(model(TEXT, w=W), samples(3), ["c"], seen=lambda: calls.append(None))
    assert len(calls) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_photo_that_makes_no_numbers_is_named(bad: float) -> None:
    photos = samples(3)
    array = np.array(photos[1].feeds["x"])
    array[0, 0, 0, 0] = bad
    photos[1] = Sample("broken.jpg", {"x": array})
    with pytest.raises(InputError, match=r"broken\.jpg: tensor 'x'"):
        collect(model(TEXT, w=W), photos, ["x", "c"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("op", "bad"), [("Log", -1.0), ("Reciprocal", 0.0), ("Exp", 1000.0)])
def test_a_tensor_that_stops_being_numbers_is_named(op: str, bad: float, method: Method) -> None:
    graph = model(f"g (float[N] x) => (float[N] y) {{ c = {op}(x)  y = Relu(c) }}")
    photos = [Sample("fine", {"x": np.ones(40, np.float32)})]
    photos.append(Sample("broken.jpg", {"x": np.append(np.ones(39), bad).astype(np.float32)}))
    with np.errstate(all="ignore"), pytest.raises(InputError, match=r"broken\.jpg: tensor 'c'"):
        collect(graph, photos, ["c"], method)


def test_the_first_node_that_makes_no_numbers_is_named() -> None:
    graph = model(
        "g (float[N] x) => (float[N] y) { a = Log(x)  b = Neg(a)  c = Abs(b)  y = Relu(c) }"
    )
    graph.graph[0].name = "head/log"
    photos = [Sample("broken.jpg", {"x": f32([1, -1])})]
    with np.errstate(all="ignore"), pytest.raises(InputError) as caught:
        collect(graph, photos, ["c"])
    message = "broken.jpg: tensor 'a' becomes NaN or infinite in Log 'head/log'"
    assert caught.value.message == message


@pytest.mark.parametrize("method", METHODS)
def test_names_that_the_model_has_already(method: Method) -> None:
    text = """<ir_version: 8, opset_import: ["": 13]>
        g (float[N] x) => (float[N] "c/ReduceMin") { c = Neg(x)  "c/ReduceMin" = Neg(c) }"""
    graph = model(text.replace('"c/ReduceMin"', "t"))
    graph.graph.outputs[0].name = "c/ReduceMin"
    low, _ = collect(graph, [Sample("a", {"x": f32([1, 2])})], ["c"], method).ranges()["c"]
    assert low == (-2.5 if method == "weighted-mse" else -2.0)


def test_no_sample() -> None:
    with pytest.raises(InputError, match="no sample"):
        collect(model(TEXT, w=W), [], ["c"])


def test_large_values_are_no_infinity() -> None:
    graph = model("g (float[N] x) => (float[N] y) { y = Neg(x) }")
    photos = [Sample("a", {"x": np.full(4, 3e38, np.float32)})]
    assert collect(graph, photos, ["x", "y"]).ranges()["y"] == (float(-np.float32(3e38)),) * 2


def test_empty_tensors_tell_nothing() -> None:
    graph = model("g (float[N] x) => (float[N] y) { y = Neg(x) }")
    photos = [Sample("none", {"x": f32([])}), Sample("some", {"x": f32([1, 2])})]
    assert collect(graph, photos, ["y"]).ranges() == {"y": (-2, -1)}


def test_memory_does_not_grow_with_samples() -> None:
    graph = model("g (float[1,65536] x) => (float[1,65536] y) { y = Relu(x) }")

    def photos(count: int) -> Iterator[Sample]:
        for index in range(count):
            yield Sample(str(index), {"x": random(1, 65536, seed=index)})

    def peak(count: int) -> int:
        tracemalloc.start()
        collect(graph, photos(count), ["x", "y"], "mse")
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(2)  # what is allocated once
    # From 8 on as many samples are under way as ever.
    assert peak(40) < peak(8) + 65536 * 4
