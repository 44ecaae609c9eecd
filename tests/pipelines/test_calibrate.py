"""calibrate: the same file however samples are cut, ordered or spread; quantize uses it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.calibrate.observers import METHODS, Method
from q8tool.calibrate.ranges import load_ranges
from q8tool.errors import InputError, UsageError
from q8tool.model import io
from q8tool.pipelines import calibrate, equalizing, quantize
from q8tool.pipelines.calibrate import MergeOptions, Options
from q8tool.pipelines.preprocessing import SpecOptions
from tests.graphs import Array, model, random
from tests.pipelines.classifiers import colour_model, photo, saved

TEXT = """g (float[N,3,8,8] x) => (float[N,4] y) {
    c = Conv(x, w) r = Relu(c) d = Conv(r, v) p = GlobalAveragePool(d) f = Flatten(p)
    y = Gemm(f, k) }"""
SAMPLES = random(12, 3, 8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("calibrate")
    graph = model(TEXT, 13, w=random(8, 3, 3, 3), v=random(8, 8, 3, 3), k=random(8, 4))
    io.save(graph, found / "m.onnx", force=False)
    return found


def calibrated(folder: Path, name: str, samples: Array, **options: Any) -> Path:
    np.savez(folder / "part.npz", x=samples)
    out = folder / name
    calibrate.run(Options(folder / "m.onnx", out, data=folder / "part.npz", force=True, **options))
    return out


@given(st.permutations(range(12)), st.lists(st.integers(1, 11), max_size=3, unique=True), st.data())
@settings(max_examples=6, deadline=None, derandomize=True)
@pytest.mark.parametrize("method", METHODS)
def test_any_order_and_any_chunks_give_the_same_file(
    folder: Path, method: Method, order: list[int], cuts: list[int], data: st.DataObject
) -> None:
    whole = calibrated(folder, "whole.json", SAMPLES, calibration=method)
    parts = [
        calibrated(folder, f"{number}.json", part, calibration=method)
        for number, part in enumerate(np.split(SAMPLES[order], sorted(cuts)))
    ]
    merged = folder / "merged.json"
    calibrate.merge(MergeOptions(data.draw(st.permutations(parts)), merged, force=True))
    assert merged.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_quantize_with_the_file_is_quantize_with_the_samples(
    folder: Path, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """quantize holds every fifth sample back: the file is measured on the others.

    Ranges of a file are of the model as it is, so nothing may be equalized without one either.
    """
    monkeypatch.setattr(equalizing, "FEWEST_VALUES", 10**9)
    np.savez(folder / "all.npz", x=SAMPLES)
    kept = [index for index in range(12) if index % 5]
    file = calibrated(folder, "kept.json", SAMPLES[kept], calibration=method)
    models = []
    for options in (
        {"data": folder / "all.npz", "calibration": method},
        {"ranges": file, "data": folder / "all.npz"},
    ):
        out = folder / "q.onnx"
        report = quantize.run(quantize.Options(folder / "m.onnx", out, force=True, **options))
        found = io.load(out)
        found.metadata_props.clear()
        models.append(ir.to_proto(found).SerializeToString())
    assert models[0] == models[1]
    assert report.comparison.samples == 3  # held back from fitting
    assert report.ranging.source == "a ranges file"


def test_an_edited_range_is_used(folder: Path) -> None:
    file = calibrated(folder, "edited.json", SAMPLES)
    low, high = load_ranges(file).ranges["r"]
    file.write_text(file.read_text().replace(f'"r": [{low!r}, {high!r}]', '"r": [0, 510]'))
    out = folder / "edited.onnx"
    quantize.run(quantize.Options(folder / "m.onnx", out, ranges=file, force=True, strip=False))
    scales = [
        value.const_value.numpy().item()
        for value in io.load(out).graph.initializers.values()
        if value.const_value is not None and value.const_value.size == 1
    ]
    assert 2.0 in scales


def test_photos_and_how_they_were_read_are_noted(tmp_path: Path) -> None:
    bare = colour_model()
    bare.metadata_props.pop("q8tool.preprocess")
    weights = random(3, 3, 1, 1)
    conv = model("g (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Conv(x, w) }", w=weights)
    path = saved(conv, tmp_path / "m.onnx")
    photos = [photo(tmp_path / f"{i}.png", (40 * i, 9, 255 - i)) for i in range(5)]
    (tmp_path / "broken.png").write_bytes(b"no photo")
    report = calibrate.run(
        Options(
            path, tmp_path / "r.json", images=[*photos, tmp_path / "broken.png"],
            preprocessing=SpecOptions("unit"), calibration="minmax",
        )
    )  # fmt: skip
    assert report.samples == 5
    assert [file for file, _ in report.skipped] == [str(tmp_path / "broken.png")]
    assert load_ranges(tmp_path / "r.json").preprocess == {
        "size": [8, 8], "mean": [0.0] * 3, "std": [255.0] * 3, "layout": "NCHW",
        "channels": "RGB", "resize": "stretch",
    }  # fmt: skip
    assert report.to_json()["ranges"]["x"] == [0.0, 1.0]
    done = quantize.run(
        quantize.Options(path, tmp_path / "q.onnx", ranges=tmp_path / "r.json", images=photos)
    )
    assert done.ranging.preprocessing is not None
    assert done.ranging.preprocessing.source == "ranges file"
    assert "std" in io.load(tmp_path / "q.onnx").metadata_props["q8tool.preprocess"]


def test_refusals(folder: Path, tmp_path: Path) -> None:
    path, out = folder / "m.onnx", tmp_path / "r.json"
    with pytest.raises(UsageError, match="photos or arrays"):
        calibrate.run(Options(path, out))
    with pytest.raises(UsageError, match="photos or arrays"):
        calibrate.run(Options(path, out, images=[path], data=path))
    with pytest.raises(InputError, match="no such file"):
        calibrate.run(Options(path, out, data=tmp_path / "none.npz"))
    np.savez(tmp_path / "d.npz", x=SAMPLES)
    quantize.run(quantize.Options(path, tmp_path / "q.onnx"))
    with pytest.raises(InputError, match="quantized already"):
        calibrate.run(Options(tmp_path / "q.onnx", out, data=tmp_path / "d.npz"))
    plain = saved(model("g (float[N] x) => (float[N] y) { y = Neg(x) }"), tmp_path / "p.onnx")
    np.savez(tmp_path / "p.npz", x=random(3, 4))
    with pytest.raises(InputError, match="nothing in it"):
        calibrate.run(Options(plain, out, data=tmp_path / "p.npz"))
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        calibrate.run(Options(path, out, data=tmp_path / "d.npz"))
    assert out.read_text() == "mine"
