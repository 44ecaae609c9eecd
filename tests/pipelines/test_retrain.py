"""retrain on small folders: odd data sets, odd photos, what is written, what is refused."""

import csv
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from q8tool.engine.session import Session
from q8tool.errors import ExpectationError, InputError, UsageError
from q8tool.image.distort import Distortion
from q8tool.image.load import load_photo
from q8tool.image.spec import Spec
from q8tool.model import io, metadata
from q8tool.pipelines import label_image, quantize, retrain
from q8tool.pipelines.preprocessing import photo_feeds
from q8tool.pipelines.retrain_report import Report
from tests.train.photos import COLOURS, colour_folders, photo

RED, GREEN, BLUE = COLOURS.values()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return colour_folders(tmp_path / "photos", {"red": 12, "green": 12, "blue": 12})


def run(tmp_path: Path, photos: Path, base: Path, **options: Any) -> Report:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return retrain.run(
        retrain.Options(
            image_dir=photos, output=out / "retrained.onnx", base=str(base),
            cache=tmp_path / "cache", force=True, threads=2, **options,
        )
    )  # fmt: skip


def accuracy(report: Report) -> float:
    test = report.results[0].test
    assert test is not None
    return test.accuracy


def test_what_is_written(tmp_path: Path, photos: Path, base: Path) -> None:
    report = run(tmp_path, photos, base)
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    assert names == {
        "retrained.onnx", "retrained.float.onnx", "labels.txt", "split.csv", "report.json",
    }  # fmt: skip
    assert (out / "labels.txt").read_text() == "blue\ngreen\nred\n"
    rows = list(csv.DictReader((out / "split.csv").read_text().splitlines()))
    assert len(rows) == 36
    for label in ("red", "green", "blue"):
        parts = {row["part"] for row in rows if row["label"] == label}
        assert parts == {"training", "validation", "test"}
    stored = json.loads((out / "report.json").read_text())
    matrix = np.array(stored["models"][0]["test"]["confusion_matrix_rows_true"])
    assert matrix.sum(1).tolist() == stored["photos"]["test"]
    assert accuracy(report) == matrix.trace() / matrix.sum() == 1.0
    assert [result.form for result in report.results] == ["eight-bit", "float"]
    assert report.computed == report.wanted


@pytest.mark.parametrize("name", ["retrained.onnx", "retrained.float.onnx"])
def test_everybody_accepts_the_result(tmp_path: Path, photos: Path, base: Path, name: str) -> None:
    run(tmp_path, photos, base)
    path = tmp_path / "out" / name
    onnx.checker.check_model(str(path), full_check=True)
    assert sorted(metadata.notes(io.load(path))) == ["labels", "preprocess", "retrain"]
    files = sorted(photos.rglob("*.png"))[::5]
    said = label_image.run(label_image.Options(files, path, top=3))
    session = onnxruntime.InferenceSession(str(path))
    info = Session(path).inputs[0]
    for file, answer in zip(files, said.answers, strict=True):
        feeds = photo_feeds(load_photo(file), info, Spec((16, 16)))
        theirs = session.run(["final_result"], feeds)[0][0]
        ours = {label.name: label.probability for label in answer.labels}
        for index, label in enumerate(["blue", "green", "red"]):
            assert ours[label] == pytest.approx(theirs[index], abs=1e-3)
        assert answer.labels[0].name == file.parent.name
    if "float" in name:
        small = tmp_path / "small.onnx"
        quantize.run(quantize.Options(path, small, images=files))
        assert label_image.run(
            label_image.Options(files[:1], small, expect=files[0].parent.name)
        ).answers


def test_the_second_run_computes_nothing_and_writes_the_same_bytes(
    tmp_path: Path, photos: Path, base: Path
) -> None:
    run(tmp_path, photos, base)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert run(tmp_path, photos, base).computed == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
    # Nor does it matter where the folder lies, or what an earlier run has stored.
    moved = tmp_path / "renamed" / "deeper"
    shutil.copytree(photos, moved)
    shutil.rmtree(tmp_path / "cache")
    run(tmp_path, moved, base)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first


def test_a_new_or_changed_photo_is_all_that_is_computed(
    tmp_path: Path, photos: Path, base: Path
) -> None:
    before = run(tmp_path, photos, base, form="int8").wanted
    photo(photos / "red" / "new.png", RED)
    photo(photos / "green" / "3.png", GREEN, (30, 30))
    report = run(tmp_path, photos, base, form="int8")
    assert (report.wanted, report.computed) == (before + 1, 2)


def test_another_base_or_preprocessing_does_not_reuse_features(
    tmp_path: Path, photos: Path, base: Path
) -> None:
    from q8tool.pipelines.preprocessing import SpecOptions

    run(tmp_path, photos, base, form="float")
    other = run(tmp_path, photos, base, form="float", preprocessing=SpecOptions("unit"))
    assert other.computed == other.wanted


def test_broken_and_misnamed_photos_are_left_out(tmp_path: Path, photos: Path, base: Path) -> None:
    whole = (photos / "red" / "1.png").read_bytes()
    (photos / "red" / "half.png").write_bytes(whole[: len(whole) // 2])
    (photos / "red" / "text.jpg").write_text("not a photo")
    (photos / "red" / "empty.jpg").touch()
    Image.new("RGB", (20, 20), GREEN).save(photos / "green" / "really_a_png.jpg", "PNG")
    Image.new("L", (20, 20), 9).save(photos / "blue" / "gray.bmp")
    report = run(tmp_path, photos, base)
    skipped = {Path(file).name: reason for file, reason in report.skipped}
    assert set(skipped) == {"half.png", "text.jpg", "empty.jpg"}
    assert skipped["text.jpg"] == "not a photo"
    assert skipped["empty.jpg"] == "is empty"
    assert sum(map(sum, report.counts.values())) == 38
    with pytest.raises(InputError, match=r"\(and 2 more\)"):
        run(tmp_path, photos, base, strict=True)


def bomb() -> bytes:
    """The head of a PNG that says it is 60,000 pixels wide and high."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def test_a_huge_photo_is_used_and_a_bomb_is_not(tmp_path: Path, photos: Path, base: Path) -> None:
    Image.new("L", (10_000, 10_000), 80).save(photos / "red" / "huge.jpg", quality=20)
    (photos / "red" / "bomb.png").write_bytes(bomb())
    report = run(tmp_path, photos, base, form="int8")
    assert [(Path(f).name, why) for f, why in report.skipped] == [("bomb.png", "too many pixels")]
    assert sum(map(sum, report.counts.values())) == 37


def test_copies_count_once_and_disputed_ones_not(tmp_path: Path, photos: Path, base: Path) -> None:
    shutil.copy(photos / "red" / "1.png", photos / "red" / "again.png")
    shutil.copy(photos / "red" / "2.png", photos / "blue" / "stray.png")
    report = run(tmp_path, photos, base, form="int8")
    assert [sorted(group) for group in report.repeated] == [["red/1.png", "red/again.png"]]
    assert [sorted(group) for group in report.disputed] == [["blue/stray.png", "red/2.png"]]
    assert sum(map(sum, report.counts.values())) == 35
    assert any("in several classes" in text for text in report.warnings)


@pytest.mark.parametrize("count", [1, 2])
def test_classes_of_one_and_two_photos(tmp_path: Path, base: Path, count: int) -> None:
    folder = colour_folders(tmp_path / "photos", {"red": 10, "blue": count})
    with pytest.raises(InputError, match=f"class 'blue' has {count} photo"):
        run(tmp_path, folder, base)
    report = run(tmp_path, folder, base, testing=0, validation=0)
    assert report.results[0].test is None
    assert any("fewer than 20 photos: 'blue'" in text for text in report.warnings)
    answers = label_image.run(
        label_image.Options([folder / "blue" / "0.png"], tmp_path / "out" / "retrained.onnx")
    ).answers
    assert answers[0].labels[0].name == "blue"


def test_two_classes_of_nineteen_and_five_to_one(tmp_path: Path, base: Path) -> None:
    folder = colour_folders(tmp_path / "photos", {"red": 19, "green": 96})
    report = run(tmp_path, folder, base)
    assert all(min(counts) >= 1 for counts in report.counts.values())
    assert accuracy(report) == 1.0
    assert any("'green' has 96 photos, 'red' 19" in text for text in report.warnings)


def test_labels_that_differ_in_case_and_punctuation_only(tmp_path: Path, base: Path) -> None:
    colours = dict(zip(["a b", "a-b", "A-B", "Bär 🐻"], [RED, GREEN, BLUE, (128, 128, 128)],
                       strict=True))  # fmt: skip
    for label, colour in colours.items():
        for number in range(8):
            photo(tmp_path / "photos" / label / f"{number}.png", colour)
    report = run(tmp_path, tmp_path / "photos", base)
    assert list(report.labels) == ["A-B", "Bär 🐻", "a b", "a-b"]
    assert (tmp_path / "out" / "labels.txt").read_text("utf-8").splitlines() == report.labels
    stored = io.load(tmp_path / "out" / "retrained.onnx")
    assert metadata.labels(stored) == list(report.labels)
    assert accuracy(report) == 1.0


@pytest.mark.parametrize("counts", [{}, {"red": 5}])
def test_no_class_and_one_class(tmp_path: Path, base: Path, counts: dict[str, int]) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError):
        run(tmp_path, colour_folders(tmp_path / "photos", counts), base)
    assert not list((tmp_path / "out").iterdir())


def test_mirrored_copies_are_learnt_from(tmp_path: Path, photos: Path, base: Path) -> None:
    plain = run(tmp_path, photos, base, form="int8")
    more = run(tmp_path, photos, base, form="int8", distortion=Distortion(mirror=True))
    assert more.computed == sum(plain.counts["training"])
    again = run(
        tmp_path, photos, base, form="int8", distortion=Distortion(brightness=30, crop=10), copies=2
    )
    assert again.computed == 2 * sum(plain.counts["training"])
    assert accuracy(more) == 1.0


def test_a_missed_accuracy_writes_the_report_only(tmp_path: Path, photos: Path, base: Path) -> None:
    for path in photos.rglob("*.png"):
        photo(path, (128, 128, 128))
    with pytest.raises(ExpectationError, match=r"100\.0% was demanded"):
        run(tmp_path, photos, base, min_accuracy=1.0)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json"}


def test_existing_outputs_are_refused_before_any_work(
    tmp_path: Path, photos: Path, base: Path
) -> None:
    (tmp_path / "labels.txt").write_text("mine")
    options = retrain.Options(
        photos, tmp_path / "retrained.onnx", base=str(base), cache=tmp_path / "cache"
    )
    with pytest.raises(UsageError, match=r"labels\.txt: exists already"):
        retrain.run(options)
    assert (tmp_path / "labels.txt").read_text() == "mine"
    assert not (tmp_path / "cache").exists()


def test_small_steps_summaries_and_models_on_the_way(
    tmp_path: Path, photos: Path, base: Path
) -> None:
    options: dict[str, Any] = {
        "form": "int8", "hidden": 0, "learning_rate": 0.5, "most_steps": 40, "batch": 8,
        "summaries": tmp_path / "logs", "store_folder": tmp_path / "way", "store_every": 20,
    }  # fmt: skip
    run(tmp_path, photos, base, **options)
    report = run(tmp_path, photos, base, **options)
    assert accuracy(report) == 1.0
    assert sorted(path.name for path in (tmp_path / "way").iterdir()) == [
        "retrained_step_20.onnx", "retrained_step_40.onnx",
    ]  # fmt: skip
    # Never deleted: the second run has a folder of its own.
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["run-001", "run-002"]
    lines = (tmp_path / "logs" / "run-001" / "training.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20, 30, 40]


def test_a_quantized_base_and_a_wrong_checksum(tmp_path: Path, photos: Path, base: Path) -> None:
    run(tmp_path, photos, base)
    with pytest.raises(InputError, match="is quantized already"):
        run(tmp_path, photos, tmp_path / "out" / "retrained.onnx")
    with pytest.raises(InputError, match="SHA-256 is"):
        run(tmp_path, photos, base, sha256="0" * 64)


def test_the_result_can_be_the_next_base(tmp_path: Path, photos: Path, base: Path) -> None:
    run(tmp_path, photos, base)
    first = shutil.copy(tmp_path / "out" / "retrained.float.onnx", tmp_path / "first.onnx")
    assert accuracy(run(tmp_path, photos, Path(first))) == 1.0
