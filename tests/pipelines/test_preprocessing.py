"""Preprocessing: from flags, from metadata, tried out on photos, or the usual way."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from q8tool.engine.session import Session, TensorInfo
from q8tool.engine.side_by_side import run_each
from q8tool.errors import InputError, UsageError
from q8tool.image.spec import PRESETS, Spec
from q8tool.model import metadata
from q8tool.pipelines import preprocessing
from q8tool.pipelines.preprocessing import (
    ChosenSpec,
    SpecOptions,
    choose_spec,
    image_input,
    stated_spec,
)
from tests.graphs import f32, model
from tests.pipelines.classifiers import CHANNELS_LAST, LOGITS, colour_model, gray_model, photo

F32 = np.dtype(np.float32)


def chosen(graph: ir.Model, photos: Any = (), **flags: Any) -> ChosenSpec:
    info = image_input(Session(graph).inputs)
    return choose_spec(graph, info, SpecOptions(**flags), photos)


@pytest.mark.parametrize(
    ("shape", "flags", "layout", "size", "channels"),
    [
        ("N,3,8,9", {}, "NCHW", (8, 9), 3),
        ("1,8,9,3", {}, "NHWC", (8, 9), 3),
        ("N,1,8,9", {}, "NCHW", (8, 9), 1),
        ("N,8,9,1", {}, "NHWC", (8, 9), 1),
        ("N,3,H,W", {}, "NCHW", (224, 224), 3),
        ("N,3,H,W", {"size": (5, 6)}, "NCHW", (5, 6), 3),
        ("N,3,H,W", {"width": 6}, "NCHW", (224, 6), 3),
        ("N,3,8,W", {"width": 6}, "NCHW", (8, 6), 3),
        ("N,H,W,3", {"height": 5, "width": 6}, "NHWC", (5, 6), 3),
    ],
)
def test_what_the_shape_says(
    shape: str, flags: Any, layout: str, size: tuple[int, int], channels: int
) -> None:
    graph = model(f"g (float[{shape}] x) => (float[{shape}] y) {{ y = Relu(x) }}")
    spec = chosen(graph, preset="imagenet", **flags).spec
    assert (spec.layout, spec.size, len(spec.mean)) == (layout, size, channels)
    assert spec.mean == PRESETS["imagenet"][0][:channels]


def test_metadata_is_believed_and_flags_win_value_by_value() -> None:
    graph = model(LOGITS)
    rules = Spec((8, 8), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "NCHW", "BGR", "crop")
    metadata.set_preprocess(graph, rules.to_dict())
    assert chosen(graph) == ChosenSpec(rules, "metadata")
    found = chosen(graph, mean=(0.0,), resize="stretch")
    assert found.source == "flags"
    assert found.spec == Spec((8, 8), (0.0,) * 3, (4.0, 5.0, 6.0), "NCHW", "BGR", "stretch")
    assert chosen(graph, resize="stretch").source == "metadata"
    assert chosen(graph, preset="raw").spec.mean == (0.0, 0.0, 0.0)
    assert str(chosen(graph, preset="raw")) == "flags: raw"
    assert stated_spec(graph, image_input(Session(graph).inputs), SpecOptions())[0] == rules


def test_nothing_is_said() -> None:
    graph = model(LOGITS)
    spec, source = stated_spec(graph, image_input(Session(graph).inputs), SpecOptions())
    assert source is None
    assert spec.size == (8, 8)


def test_as_many_values_as_channels() -> None:
    assert chosen(gray_model(), mean=(9.0,)).spec.mean == (9.0,)
    with pytest.raises(UsageError, match="3 values for 1 channels"):
        chosen(gray_model(), mean=(1.0, 2.0, 3.0))


def test_one_photo_is_too_few_to_try(tmp_path: Path) -> None:
    found = chosen(model(LOGITS), [photo(tmp_path / "a.png")])
    assert (found.source, found.detail) == ("assumed", "mobilenet")
    assert found.spec.mean == (127.5,) * 3


# Three colours, and a class that wins unless the mean of a channel is above 9.
TRAINED_ON_RAW = """g (float[BATCH,3,8,8] x) => (float[BATCH,4] y) {
    p = GlobalAveragePool(x) f = Flatten(p) y = Gemm(f, w, b) }"""


@pytest.mark.parametrize("batch", ["N", "1", "3"])
def test_the_way_with_confident_and_different_answers_is_taken(tmp_path: Path, batch: str) -> None:
    graph = model(TRAINED_ON_RAW.replace("BATCH", batch), w=f32(np.eye(3, 4)), b=f32([0, 0, 0, 9]))
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]
    photos = [photo(tmp_path / f"{i}.png", colour) for i, colour in enumerate(colours)]
    found = chosen(graph, photos)
    assert (found.source, found.detail) == ("tried out", "raw")
    assert str(found) == "tried out: raw"


def test_broken_photos_are_left_out_of_the_trial(tmp_path: Path) -> None:
    photos = [photo(tmp_path / f"{i}.png", (80 * i, 0, 240 - 80 * i)) for i in range(4)]
    (tmp_path / "bad.png").write_text("no photo")
    assert chosen(model(LOGITS), [tmp_path / "bad.png", *photos]).source == "tried out"
    with pytest.raises(InputError, match=r"bad\.png: not a photo"):
        chosen(model(LOGITS), [tmp_path / "bad.png"])
    with pytest.raises(InputError, match="none of the photos can be read"):
        chosen(model(LOGITS), [tmp_path / "bad.png", tmp_path / "bad.png"])


def test_photos_are_spread_over_the_folder(tmp_path: Path) -> None:
    """The first ones of a folder often show the same thing."""
    graph = model(TRAINED_ON_RAW.replace("BATCH", "N"), w=f32(np.eye(3, 4)), b=f32([0, 0, 0, 9]))
    colours = [(255, 0, 0)] * 40 + [(0, 255, 0)] * 40 + [(0, 0, 255)] * 40
    photos = [photo(tmp_path / f"{i:03}.png", colour) for i, colour in enumerate(colours)]
    assert chosen(graph, photos).detail == "raw"


def test_models_that_say_the_same_of_all_get_the_usual_way(tmp_path: Path) -> None:
    graph = model(
        TRAINED_ON_RAW.replace("BATCH", "N"), w=f32(np.zeros((3, 4))), b=f32([0, 9, 0, 0])
    )
    photos = [photo(tmp_path / f"{i}.png", (20 * i, 0, 0)) for i in range(12)]
    found = chosen(graph, photos)
    assert (found.source, found.detail) == ("assumed", "mobilenet")


def test_models_without_scores_get_the_usual_way(tmp_path: Path) -> None:
    graph = model("g (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }")
    rng = np.random.default_rng(0)
    photos = []
    for index in range(5):
        photos.append(tmp_path / f"{index}.png")
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(photos[-1])
    found = chosen(graph, photos)
    assert (found.source, found.detail) == ("assumed", "mobilenet")


def test_the_input_that_takes_photos() -> None:
    picture = TensorInfo("x", F32, (1, 3, 8, 8))
    vector = TensorInfo("v", F32, (1, 5))
    assert image_input([picture]) is picture
    assert image_input([vector, picture], "x") is picture
    open_shape = TensorInfo("o", F32, ("N", "C", "H", "W"))
    assert image_input([vector, open_shape], "o") is open_shape
    with pytest.raises(InputError, match="input 'v', float32 \\(1, 5\\), takes no picture"):
        image_input([vector, picture], "v")
    for inputs in (
        [vector],
        [picture, vector],
        [],
        [TensorInfo("i", np.dtype(np.int64), (1, 3, 8, 8))],
    ):
        with pytest.raises(InputError, match="does not take one picture") as caught:
            image_input(inputs, hint="do this")
        assert caught.value.hint == "do this"
    with pytest.raises(UsageError, match="no input 'w'") as unknown:
        image_input([picture, vector], "w")
    assert unknown.value.hint == "its inputs: x, v"


def test_a_note_that_makes_no_sense() -> None:
    graph = colour_model(CHANNELS_LAST)
    metadata.set_preprocess(graph, {"size": [8]})
    with pytest.raises(InputError, match=r"metadata q8tool\.preprocess"):
        chosen(graph)


def test_one_preprocessing_is_tried_on_what_gives_no_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def counted(session: Session, fed: Any, then: Any) -> Any:
        answers = list(run_each(session, fed, then))
        tried.append(len(answers))
        return answers

    monkeypatch.setattr(preprocessing, "run_each", counted)
    photos = [photo(tmp_path / f"{i}.png", (40 * i, 90, 200 - 30 * i)) for i in range(5)]
    graph = model("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }")
    assert chosen(graph, photos).source == "assumed"
    assert tried == [5]
