"""Sanity: samples that cannot be what the model was trained on are named, others are not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from q8tool.calibrate.collect import Sample
from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import InputError
from q8tool.image.load import load_photo
from q8tool.image.spec import PRESETS, Spec
from q8tool.model import io
from q8tool.pipelines.preprocessing import ChosenSpec, photo_feeds
from q8tool.pipelines.rewriting import prepared
from q8tool.pipelines.samples import load_arrays
from q8tool.pipelines.sanity import Doubts, doubts_about_pixels
from tests.graphs import Array, f32, model, random

INFO = TensorInfo("input", np.dtype(np.float32), (1, 3, 224, 224))


def looked_at(*samples: Sample, **limits: tuple[float, float]) -> list[str]:
    doubts = Doubts(limits)
    assert list(doubts.passing(iter(samples))) == list(samples)
    return doubts.found()


def test_a_sample_of_one_value_is_named() -> None:
    fine = Sample("fine.jpg", {"x": f32([1, 2])})
    flat = [Sample(f"{name}.jpg", {"x": f32([3, 3])}) for name in "abcde"]
    assert looked_at(fine, flat[0]) == ["a.jpg: input 'x' has the same value everywhere"]
    found = looked_at(fine, *flat)[0]
    assert found == "a.jpg, b.jpg, c.jpg and 2 more: input 'x' has the same value everywhere"


def test_equal_samples_are_said() -> None:
    samples = [Sample(f"{i}", {"x": f32([1, 2])}) for i in range(4)]
    assert looked_at(*samples) == ["all 4 samples are the same"]
    assert looked_at(samples[0]) == []


def test_values_beyond_what_the_model_says() -> None:
    samples = [Sample("a.npz[0]", {"x": f32([-1, 1.05])}), Sample("a.npz[1]", {"x": f32([0, 255])})]
    assert looked_at(*samples, x=(-1.0, 1.0)) == [
        "a.npz[1]: input 'x' reaches beyond -1..1, which the model says it takes"
    ]


def test_integers_are_not_looked_at() -> None:
    assert looked_at(Sample("ids", {"x": np.full(3, 7)}), Sample("more", {"x": np.arange(3)})) == []


def test_pixels_for_what_is_no_classifier() -> None:
    graph = model(
        "g (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Conv(x, w) }", w=random(3, 3, 1, 1)
    )
    info = TensorInfo("x", np.dtype(np.float32), (None, 3, 8, 8))
    pixels = np.abs(random(1, 3, 8, 8)) * 40

    def samples() -> Iterator[Sample]:
        yield Sample("a", {"x": np.clip(pixels, 0, 255)})

    found = doubts_about_pixels(graph, info, samples, None)
    assert found == [
        "input 'x' holds what looks like pixels 0..255; most models take -1..1 or 0..1"
    ]
    assert (
        doubts_about_pixels(graph, info, lambda: iter([Sample("a", {"x": pixels / 255})]), None)
        == []
    )


PIXELS = np.random.default_rng(5).uniform(0, 255, (4, 3, 8, 8)).astype(np.float32)


def doubts_of(body: str, **constants: Array) -> list[str]:
    graph = model(f"g (float[N,3,8,8] x) => (float[N,4,8,8] y) {{ {body} }}", **constants)
    info = TensorInfo("x", np.dtype(np.float32), (None, 3, 8, 8))
    samples = [Sample(str(i), {"x": PIXELS[i : i + 1]}) for i in range(4)]
    return doubts_about_pixels(graph, info, lambda: iter(samples), None)


@pytest.mark.parametrize(("scale", "count"), [(1 / 74, 0), (1.0, 1)])
def test_biases_say_what_size_the_input_has(scale: float, count: int) -> None:
    # Of pixels evenly spread over 0..255 the deviation is 74: sums of one weight each deviate by 1.
    weights = np.zeros((4, 3, 1, 1), np.float32)
    weights[:, 0, 0, 0] = scale
    body = "a = Conv(x, w, b) y = Relu(a)"
    assert len(doubts_of(body, w=weights, b=f32([1, -1, 0.5, -2]))) == count


def test_behind_a_normalization_every_scale_is_the_same() -> None:
    weights, ones, zeros = random(4, 3, 1, 1), np.ones(4, np.float32), np.zeros(4, np.float32)
    body = "a = Conv(x, w) y = InstanceNormalization(a, s, z)"
    assert doubts_of(body, w=weights, s=ones, z=zeros) == []


@pytest.fixture(scope="module")
def photos(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "imagenet").glob("*.jpg"))[::8]


def fed(photos: list[Path], preset: str, exchanged: bool = False) -> list[Sample]:
    mean, std = PRESETS[preset]
    spec = Spec((224, 224), mean, std, channels="BGR" if exchanged else "RGB")
    return [Sample(str(path), photo_feeds(load_photo(path), INFO, spec)) for path in photos]


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_224"])
def test_wrong_preprocessing_of_real_models(data_dir: Path, photos: list[Path], name: str) -> None:
    graph, _ = prepared(io.load(data_dir / "models" / f"{name}.onnx"))

    def doubts(preset: str, exchanged: bool, from_flags: bool) -> str:
        samples = fed(photos, preset, exchanged)
        mean, std = PRESETS[preset]
        chosen = ChosenSpec(Spec((224, 224), mean, std), "flags") if from_flags else None
        return " ".join(doubts_about_pixels(graph, INFO, lambda: iter(samples), chosen))

    assert doubts("mobilenet", False, True) == ""
    assert doubts("mobilenet", False, False) == ""
    assert "makes them the model is surer" in doubts("raw", False, True)
    assert "of pixels 0..255 as --preset" in doubts("raw", False, False)
    assert "may want BGR" in doubts("mobilenet", True, True)


def arrays(tmp_path: Path, array: Array, shape: tuple[int | str | None, ...]) -> str:
    np.savez(tmp_path / "d.npz", x=array)
    with pytest.raises(InputError) as caught:
        load_arrays(tmp_path / "d.npz", [TensorInfo("x", np.dtype(np.float32), shape)])
    return caught.value.hint


def test_channels_at_the_wrong_end(tmp_path: Path) -> None:
    assert "np.moveaxis(array, -1, -3)" in arrays(tmp_path, random(2, 8, 8, 3), (1, 3, 8, 8))
    assert "np.moveaxis(array, -3, -1)" in arrays(tmp_path, random(2, 3, 8, 8), ("N", 8, 8, 3))
    assert arrays(tmp_path, random(2, 3, 9, 9), (1, 3, 8, 8)) == ""
