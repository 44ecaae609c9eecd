"""label-image: probabilities by hand, names that fit, real models on real photos."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from q8tool.errors import InputError, UsageError
from q8tool.model import metadata
from q8tool.pipelines import quantize
from q8tool.pipelines.label_image import Options, Report, run
from q8tool.pipelines.preprocessing import SpecOptions
from tests.graphs import f32, model, u8
from tests.pipelines.classifiers import (
    BLUE,
    CHANNELS_LAST,
    GREEN,
    LOGITS,
    SOFTMAX,
    colour_model,
    gray_model,
    photo,
    saved,
)


def answers(folder: Path, graph: Any, **options: Any) -> Report:
    """What the model says of a red photo."""
    path = saved(graph, folder / "m.onnx")
    return run(Options(options.pop("photos", [photo(folder / "red.png")]), path, **options))


def found(report: Report) -> Any:
    """(name, probability) of each label of the first photo."""
    return [(label.name, label.probability) for label in report.answers[0].labels]


def softmax(*logits: float) -> list[float]:
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("text", [LOGITS, SOFTMAX, CHANNELS_LAST])
def test_probabilities_of_a_red_photo(tmp_path: Path, text: str) -> None:
    report = answers(tmp_path, colour_model(text))
    assert [name for name, _ in found(report)] == ["red", "green", "blue"]
    assert [p for _, p in found(report)] == pytest.approx(softmax(5, 0, 0), abs=1e-6)
    assert report.softmax == (text != SOFTMAX)
    assert report.preprocessing.source == "metadata"


@pytest.mark.parametrize(
    ("flags", "red", "other"),
    [
        ({"preset": "raw"}, 255.0, 0.0),
        ({"preset": "mobilenet"}, 1.0, -1.0),
        ({"preset": "imagenet"}, (255 - 123.675) / 58.395, -116.28 / 57.12),
        # An explicit 0 is 0, which 2017's label_image took for "not given".
        ({"preset": "mobilenet", "mean": (0.0,)}, 2.0, 0.0),
        ({"mean": (0.0, 0.0, 0.0), "std": (51.0,)}, 5.0, 0.0),
        ({"mean": (155.0,), "std": (100.0,)}, 1.0, -1.55),
    ],
)
def test_flags_win_over_metadata(
    tmp_path: Path, flags: dict[str, Any], red: float, other: float
) -> None:
    graph = model(LOGITS)
    metadata.set_preprocess(graph, {"size": [8, 8], "mean": [9.0] * 3, "std": [9.0] * 3})
    report = answers(tmp_path, graph, preprocessing=SpecOptions(**flags), top=1)
    blue = -103.53 / 57.375 if flags.get("preset") == "imagenet" else other
    assert found(report) == [("class 0", pytest.approx(softmax(red, other, blue)[0], abs=1e-6))]
    assert report.preprocessing.source == "flags"


def test_bgr(tmp_path: Path) -> None:
    graph = colour_model()
    rules = metadata.preprocess(graph)
    assert rules is not None
    metadata.set_preprocess(graph, rules | {"channels": "BGR"})
    assert found(answers(tmp_path, graph))[0][0] == "blue"


def test_one_channel(tmp_path: Path) -> None:
    report = answers(tmp_path, gray_model())
    assert found(report) == [("dark", pytest.approx(0.701)), ("bright", pytest.approx(0.299))]
    assert not report.softmax


BYTES = """g (uint8[N,8,8,3] x) => (float[N,3] y) {
    d = DequantizeLinear(x, scale, zero) y = ReduceMean<axes=[1,2], keepdims=0>(d) }"""
HALVES = """g (float16[N,3,8,8] x) => (float16[N,3] y) {
    p = GlobalAveragePool(x) y = Flatten(p) }"""


def test_models_that_take_bytes_get_pixels(tmp_path: Path) -> None:
    graph = model(BYTES, scale=f32(1 / 51), zero=u8(0))
    report = answers(tmp_path, graph)
    assert [p for _, p in found(report)] == pytest.approx(softmax(5, 0, 0), abs=1e-6)
    assert report.preprocessing.source == "input type"


def test_models_that_take_half_precision(tmp_path: Path) -> None:
    graph = model(HALVES)
    report = answers(tmp_path, graph, preprocessing=SpecOptions("unit", std=(51.0,)))
    assert [p for _, p in found(report)] == pytest.approx(softmax(5, 0, 0), abs=1e-3)


def test_several_photos_one_of_them_broken(tmp_path: Path) -> None:
    photos = [photo(tmp_path / "1.png"), photo(tmp_path / "3.png", BLUE)]
    (tmp_path / "2.png").write_text("no photo")
    stages = []
    options = Options([tmp_path], saved(colour_model(), tmp_path / "m.onnx"), expect="red")
    report = run(options, lambda *stage: stages.append(stage))
    assert [answer.photo for answer in report.answers] == [str(path) for path in photos]
    assert report.failed == [(str(tmp_path / "2.png"), "not a photo")]
    assert report.missed == [(str(photos[1]), "blue")]
    assert stages == [("labelling", 1, 3), ("labelling", 2, 3), ("labelling", 3, 3)]


def test_no_photo_can_be_read(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no photo")
    graph = saved(colour_model(), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=rf"^none of the 2 .* {tmp_path}/a\.png: not a photo$"):
        run(Options([tmp_path], graph))
    with pytest.raises(InputError, match=rf"^{tmp_path}/a\.png: not a photo$"):
        run(Options([tmp_path / "a.png"], graph))


def test_labels_from_a_file_replace_those_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("rot\ngrün\nblau\n\n", encoding="utf-8")
    report = answers(tmp_path, colour_model(), labels=tmp_path / "l.txt")
    assert [name for name, _ in found(report)] == ["rot", "grün", "blau"]
    assert report.warnings == []


def test_labels_of_another_model(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("one")
    report = answers(tmp_path, colour_model(), labels=tmp_path / "l.txt")
    assert [name for name, _ in found(report)] == ["one", "class 1", "class 2"]
    assert report.warnings == ["there are 1 labels for 3 classes; they may be of another model"]


@pytest.mark.parametrize(
    ("expected", "is_missed"),
    [("red", False), ("RED", False), ("re", True), ("ed", True), ("blue", True), ("r.d", True)],
)
def test_expected_words_are_whole(tmp_path: Path, expected: str, is_missed: bool) -> None:
    graph = colour_model()
    metadata.set_labels(graph, ["dark red, crimson", "green", "blue"])
    report = answers(tmp_path, graph, expect=expected)
    assert report.missed == ([(str(tmp_path / "red.png"), "dark red, crimson")] * is_missed)


def test_compare(tmp_path: Path) -> None:
    other = model(LOGITS.replace("Flatten(p)", "f = Flatten(p) y = Neg(f)").replace("y = f", "f"))
    report = answers(tmp_path, colour_model(), compare=saved(other, tmp_path / "o.onnx"))
    answer = report.answers[0]
    expected = softmax(-5, 0, 0)
    assert [label.other for label in answer.labels] == pytest.approx(expected, abs=1e-6)
    # The other model has no names of its own.
    assert [label.name for label in answer.compared] == ["green", "blue", "red"]
    assert not answer.agrees
    assert report.agreement == 0.0


def test_compare_feeds_each_model_in_its_own_way(tmp_path: Path) -> None:
    other = saved(colour_model(CHANNELS_LAST), tmp_path / "o.onnx")
    report = answers(tmp_path, colour_model(), compare=other)
    same = [(label.probability, label.other) for label in report.answers[0].labels]
    assert all(mine == pytest.approx(its) for mine, its in same)
    bare = model(CHANNELS_LAST)
    report = answers(tmp_path, colour_model(), compare=saved(bare, tmp_path / "o.onnx"))
    assert [label.other for label in report.answers[0].labels] == pytest.approx(softmax(5, 0, 0))
    assert report.agreement == 1.0


def test_compare_with_a_model_of_other_classes(tmp_path: Path) -> None:
    other = gray_model()
    metadata.set_labels(other, ["red", "night"])
    report = answers(tmp_path, colour_model(), compare=saved(other, tmp_path / "o.onnx"))
    assert [label.other for label in report.answers[0].labels] == [pytest.approx(0.299), None, None]


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    graph, other = colour_model(), colour_model(LOGITS.replace("y = Flatten(p)", MIRRORED))
    for each in (graph, other):
        metadata.set_labels(each, ["crane", "green", "crane"])
    report = answers(tmp_path, graph, compare=saved(other, tmp_path / "o.onnx"))
    answer = report.answers[0]
    assert (answer.labels[0].name, answer.compared[0].name) == ("crane", "crane")
    assert answer.labels[0].other == pytest.approx(softmax(0, 0, 5)[0])
    assert not answer.agrees


# Red for blue: the reds of the photo are the third score.
MIRRORED = "f = Flatten(p) a, b, c = Split<axis=1>(f) y = Concat<axis=1>(c, b, a)"
TWO_OUTPUTS = """g (float[N,3,8,8] x) => (float[N,3] y, float[N,3] z, float[N,3,8,8] map) {
    p = GlobalAveragePool(x) y = Flatten(p) z = Neg(y) map = Relu(x) }"""


def test_output_layer(tmp_path: Path) -> None:
    graph = colour_model(TWO_OUTPUTS)
    assert found(answers(tmp_path, graph, top=1))[0][0] == "red"
    assert found(answers(tmp_path, graph, top=1, output_layer="z"))[0][0] == "green"
    with pytest.raises(UsageError, match="no output 'q'") as caught:
        answers(tmp_path, graph, output_layer="q")
    assert caught.value.hint == "its outputs: y, z, map"
    with pytest.raises(InputError, match=r"'map' \(float32, 1 x 3 x 8 x 8\) is not one score"):
        answers(tmp_path, graph, output_layer="map")


def test_input_layer(tmp_path: Path) -> None:
    assert found(answers(tmp_path, colour_model(), input_layer="x"))[0][0] == "red"
    with pytest.raises(UsageError, match="no input 'input'") as caught:
        answers(tmp_path, colour_model(), input_layer="input")
    assert caught.value.hint == "its inputs: x"


@pytest.mark.parametrize("batch", ["1", "4"])
def test_models_of_a_fixed_number_of_photos(tmp_path: Path, batch: str) -> None:
    report = answers(tmp_path, colour_model(SOFTMAX.replace("N", batch)))
    assert [p for _, p in found(report)] == pytest.approx(softmax(5, 0, 0), abs=1e-6)


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    graph = model(LOGITS.replace("y = Flatten(p)", "f = Flatten(p) y = Div(f, z)"), z=f32([0]))
    with pytest.raises(InputError, match="output 'y' is not finite for this photo"):
        answers(tmp_path, graph, preprocessing=SpecOptions("unit"))


def test_json_shape(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_text("no photo")
    graph = colour_model(SOFTMAX)
    photos = [photo(tmp_path / "a.png", GREEN), tmp_path / "b.png"]
    compare = saved(graph, tmp_path / "o.onnx")
    report = answers(tmp_path, graph, photos=photos, expect="red", top=1, compare=compare)
    written = report.to_json()
    label = {"index": 1, "name": "green", "probability": pytest.approx(softmax(5, 0, 0)[0])}
    milliseconds = written["photos"][0].pop("milliseconds")
    assert 0 < milliseconds < 1000
    assert written == {
        "photos": [
            {
                "photo": str(photos[0]),
                "labels": [label | {"other": label["probability"]}],
                "compared": [label],
                "agrees": True,
            }
        ],
        "failed": [{"photo": str(photos[1]), "reason": "not a photo"}],
        "missed": [{"photo": str(photos[0]), "first": "green"}],
        "warnings": [],
        "softmax_applied": False,
        "preprocessing": {
            "size": [8, 8], "mean": [0.0] * 3, "std": [51.0] * 3, "layout": "NCHW",
            "channels": "RGB", "resize": "stretch", "from": "metadata",
        },
    }  # fmt: skip


# ---- real models ----

MODELS = {
    "mobilenet_v1_0.75_224": ("imagenet_labels.txt", "military uniform", "macaw"),
    "mobilenet_v2_1.0_224": ("imagenet_labels_with_background.txt", "military uniform", "macaw"),
}
FORMS = ("float", "measured", "data-free")


@pytest.fixture(scope="session")
def real_models(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    """Each model as it is, quantized with photos, and quantized without any data."""
    folder = tmp_path_factory.mktemp("models")
    photos = sorted((data_dir / "imagenet").glob("*.jpg"))[:16]
    made = {}
    for name in MODELS:
        source = data_dir / "models" / f"{name}.onnx"
        made[name, "float"] = source
        for form, images in (("measured", photos), ("data-free", [])):
            path = made[name, form] = folder / f"{name}.{form}.onnx"
            options = quantize.Options(source, path, images=images)
            quantize.run(replace(options, preprocessing=SpecOptions("mobilenet")))
    return made


@pytest.mark.data
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", FORMS)
def test_real_photos(data_dir: Path, real_models: Any, name: str, form: str) -> None:
    labels, hopper, bird = MODELS[name]
    photos = [data_dir / "photos" / file for file in ("grace_hopper.bmp", "parrot.jpg")]
    options = Options(photos, real_models[name, form], labels=data_dir / "models" / labels)
    report = run(replace(options, preprocessing=SpecOptions("mobilenet")))
    first, second = ([label.name for label in answer.labels] for answer in report.answers)
    assert first[0] == hopper
    assert bird in second
    assert not report.softmax
    for answer in report.answers:
        probabilities = [label.probability for label in answer.labels]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0.3 < sum(probabilities) < 1.02


@pytest.mark.data
def test_float_and_eight_bit_side_by_side(data_dir: Path, real_models: Any) -> None:
    name = "mobilenet_v2_1.0_224"
    photos = sorted((data_dir / "imagenet").glob("*.jpg"))[100:130]
    report = run(
        Options(
            photos, real_models[name, "measured"], top=3,
            preprocessing=SpecOptions("mobilenet", resize="crop"),
            compare=real_models[name, "float"],
        )
    )  # fmt: skip
    assert report.agreement >= 0.9
    best = [answer.labels[0] for answer in report.answers]
    assert np.mean([abs(label.probability - (label.other or 0)) for label in best]) < 0.1
