"""GridSample in C: onnxruntime's answers, and the host's ways for what C does not do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime

PADDINGS = ["zeros", "border", "reflection"]


def feeds(sizes: tuple[int, ...] = (2, 3, 5, 6, 4, 7), seed: int = 5) -> dict[str, Array]:
    samples, channels, h, w, rows, columns = sizes
    generator = np.random.default_rng(seed)
    return {
        "x": generator.standard_normal((samples, channels, h, w), dtype=np.float32),
        "grid": generator.uniform(-2.6, 2.6, (samples, rows, columns, 2)).astype(np.float32),
    }


def check(inputs: dict[str, Array], opset: int, **attributes: str | int) -> None:
    model = model_of([node("GridSample", "x grid", "y", **attributes)], inputs, {}, ["y"], opset)
    (want,) = run_onnxruntime(model, inputs)
    found = [Session(model, threads, strict=True).run(inputs)["y"] for threads in (1, 3)]
    np.testing.assert_allclose(found[0], want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("mode", "opset"), [("bilinear", 16), ("nearest", 16), ("linear", 20), ("nearest", 22)]
)
def test_pictures(mode: str, opset: int, padding: str, aligned: int) -> None:
    check(feeds(), opset, mode=mode, padding_mode=padding, align_corners=aligned)


@pytest.mark.parametrize("padding", PADDINGS)
@given(
    sizes=st.tuples(*(st.integers(1, most) for most in (2, 3, 9, 9, 12, 12))),
    aligned=st.integers(0, 1),
    seed=st.integers(0, 1 << 20),
)
@settings(max_examples=25)
def test_any_sizes(padding: str, sizes: tuple[int, ...], aligned: int, seed: int) -> None:
    check(feeds(sizes, seed), 16, padding_mode=padding, align_corners=aligned)


def test_more_places_than_a_block_holds() -> None:
    check(feeds((1, 9, 31, 17, 23, 41)), 16)


def test_corners_and_edges() -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    grid = np.array([[[[-1, -1], [1, -1], [1, 1], [0, 0]]]], np.float32)
    model = model_of(
        [node("GridSample", "x grid", "y", align_corners=1)], {"x": x, "grid": grid}, {}, ["y"], 16
    )
    found = Session(model, strict=True).run({"x": x, "grid": grid})["y"]
    np.testing.assert_array_equal(found.ravel(), [0, 3, 11, 5.5])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_places_that_are_no_numbers_or_far_away(mode: str, padding: str) -> None:
    far = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e9, -1e9, 0], np.float32)
    grid = np.stack(np.meshgrid(far, far), axis=-1)[None]
    inputs = {"x": np.ones((1, 2, 3, 4), np.float32), "grid": grid}
    model = model_of(
        [node("GridSample", "x grid", "y", mode=mode, padding_mode=padding)], inputs, {}, ["y"], 16
    )
    found = Session(model, strict=True).run(inputs)["y"]
    inside = np.isnan(found) | (found == 0) | (np.abs(found - 1) < 1e-5)
    assert inside.all()


def test_cubic_and_volumes_are_sampled_on_the_host() -> None:
    model = model_of([node("GridSample", "x grid", "y", mode="bicubic")], feeds(), {}, ["y"], 16)
    (step,) = Session(model).explain()
    assert step.dtype == "host"
    assert "bicubic" in step.reason
