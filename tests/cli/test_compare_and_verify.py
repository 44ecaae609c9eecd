"""q8tool compare and q8tool verify as typed: what differs is found, what is claimed is checked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.cli import main
from q8tool.model import io
from tests.graphs import f32, model, random
from tests.pipelines.classifiers import photo, saved

TEXT = """g (float[N,3,8,8] x) => (float[N,4] y) {
    c = Conv(x, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) y = MatMul(f, k) }"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved(model(TEXT, 13, w=random(8, 3, 3, 3), k=random(8, 4)), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=random(12, 3, 8, 8))
    np.savez(tmp_path / "e.npz", x=random(12, 3, 8, 8, seed=5))
    return tmp_path


def typed(folder: Path, *words: object) -> int:
    texts = [str(word) for word in words]
    inside = [str(folder / t) if t.endswith((".onnx", ".npz")) else t for t in texts]
    return main(inside)


def quantized(folder: Path, *words: object) -> None:
    assert typed(folder, "quantize", "--input", "m.onnx", "-o", "q.onnx", *words) == 0


def test_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized(folder, "--data", "d.npz")
    capsys.readouterr()
    assert typed(folder, "compare", "m.onnx", "q.onnx", "--data", "d.npz") == 0
    printed = capsys.readouterr().out
    assert "noisiest values" in printed
    assert "of 12 samples" in printed
    assert typed(folder, "compare", "m.onnx", "q.onnx", "--data", "d.npz", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["comparison"]["samples"] == 12
    assert {"name", "op", "sqnr_db", "is_scaled"} == set(report["values"][0])
    assert report["bytes"]["other"] == (folder / "q.onnx").stat().st_size


def other_weights(folder: Path, row: list[float]) -> None:
    """The model with a bias of its scores."""
    graph = model(
        TEXT.replace("y = MatMul(f, k)", "z = MatMul(f, k) y = Add(z, b)"),
        13, w=random(8, 3, 3, 3), k=random(8, 4), b=f32(row),
    )  # fmt: skip
    saved(graph, folder / "o.onnx")


def test_what_differs_is_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other_weights(folder, [0, 0, 0, 1e6])
    words = ["compare", "m.onnx", "o.onnx", "--data", "d.npz"]
    assert typed(folder, *words, "--worst", "2") == 0
    printed = capsys.readouterr().out
    assert "other label" in printed
    assert " 3" in printed
    assert "more" in printed
    for limit in (["--min-agreement", "99%"], ["--max-drop", "1%"]):
        assert typed(folder, *words, *limit) == 4
        captured = capsys.readouterr()
        assert captured.err.startswith("error: the ")
        assert "other label" in captured.out  # the report comes first
    assert typed(folder, "compare", "m.onnx", "m.onnx", "--data", "d.npz", "--max-drop", "0") == 0
    assert "equal answers" in capsys.readouterr().out


def test_a_model_that_takes_bytes_and_one_that_takes_floats(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same network, which divides its pixels by 255 itself."""
    text = TEXT.replace("float[N,3,8,8] x", "uint8[N,3,8,8] x").replace(
        "c = Conv(x, w)", "q = Cast<to=1>(x) h = Div(q, s) c = Conv(h, w)"
    )
    graph = model(text, 13, w=random(8, 3, 3, 3), k=random(8, 4), s=f32(255))
    saved(graph, folder / "bytes.onnx")
    photos = [photo(folder / f"{i}.png", (40 * i, 9, 255 - i)) for i in range(4)]
    plain = io.load(folder / "m.onnx")
    plain.metadata_props["q8tool.preprocess"] = json.dumps(
        {"size": [8, 8], "mean": [0, 0, 0], "std": [255, 255, 255]}
    )
    saved(plain, folder / "m.onnx")
    images = [word for path in photos for word in ("--images", path)]
    assert typed(folder, "compare", "m.onnx", "bytes.onnx", *images, "--min-agreement", "1") == 0
    assert "100.0% of 4 samples" in capsys.readouterr().out


@pytest.mark.parametrize("io", ["float", "u8"])
def test_weights_that_are_inputs_too(io: str, folder: Path) -> None:
    """Files before 2019 list every weight among the inputs."""
    graph = model(TEXT, 8, w=random(8, 3, 3, 3), k=random(8, 4))
    graph.graph.inputs.extend(graph.graph.initializers.values())
    graph.metadata_props["q8tool.preprocess"] = json.dumps(
        {"size": [8, 8], "mean": [0, 0, 0], "std": [255, 255, 255]}
    )
    saved(graph, folder / "m.onnx")
    samples: list[object] = ["--data", "d.npz"]
    if io == "u8":
        photos = [photo(folder / f"{i}.png", (40 * i, 9, 255 - i)) for i in range(6)]
        samples = [word for path in photos for word in ("--images", path)]
    quantized(folder, *samples, "--io", io)
    assert typed(folder, "compare", "m.onnx", "q.onnx", *samples) == 0
    assert typed(folder, "verify", "q.onnx", "--float", "m.onnx", *samples) == 0


def test_models_that_do_not_go_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(model("g (float[2] x) => (float[2] z) { z = Relu(x) }"), folder / "z.onnx")
    assert typed(folder, "compare", "m.onnx", "z.onnx") == 5
    assert "its outputs ['z']" in capsys.readouterr().err
    assert typed(folder, "compare", "m.onnx", "none.onnx") == 5
    saved(model(TEXT.replace("[N,4]", "[N,5]"), 13, w=random(8, 3, 3, 3), k=random(8, 5)),
          folder / "wide.onnx")  # fmt: skip
    assert typed(folder, "compare", "m.onnx", "wide.onnx") == 5
    assert "its output 'y' has shape" in capsys.readouterr().err


def test_outputs_whose_size_follows_from_values(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The models find another number of things; what can be compared is."""
    text = TEXT.replace("[N,4] y)", "[N,4] y, float[M] s)").replace(
        "y = MatMul(f, k)",
        "y = MatMul(f, k) g = Greater(y, t) u = Reshape(g, line) s = Compress(y, u)",
    )
    for name, limit in (("m", 0.0), ("o", 0.5)):
        graph = model(
            text, 13, w=random(8, 3, 3, 3), k=random(8, 4), t=f32(limit),
            line=np.array([-1], np.int64),
        )  # fmt: skip
        saved(graph, folder / f"{name}.onnx")
    assert typed(folder, "compare", "m.onnx", "o.onnx", "--data", "d.npz", "--json") == 0
    comparison = json.loads(capsys.readouterr().out)["comparison"]
    assert comparison["sqnr_db"] is None  # y is the same to the bit
    assert comparison["top1_agreement"] is None


@pytest.mark.parametrize("command", ["compare m.onnx q.onnx", "verify q.onnx --float m.onnx"])
def test_no_photo_can_be_read(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [photo(folder / f"{i}.png", (40 * i, 9, 255 - i)) for i in range(6)]
    quantized(folder, *(word for path in photos for word in ("--images", path)), "--preset", "unit")
    (folder / "bad").mkdir()
    (folder / "bad" / "1.png").write_bytes(b"nothing")
    capsys.readouterr()
    words = [*command.split(), "--images", folder / "bad", "--preset", "unit"]
    assert typed(folder, *words) == 5
    assert "none of the photos can be read" in capsys.readouterr().err


def test_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized(folder, "--data", "d.npz")
    words = ["verify", "q.onnx", "--float", "m.onnx", "--data"]
    capsys.readouterr()
    assert typed(folder, *words, "d.npz") == 0
    printed = capsys.readouterr().out
    assert "differs" not in printed
    assert {line.split()[0] for line in printed.splitlines() if "holds" in line} == {
        "source_sha256", "samples_sha256", "same_label", "sqnr_db",
    }  # fmt: skip
    assert typed(folder, *words, "e.npz", "--json") == 4
    captured = capsys.readouterr()
    report: dict[str, Any] = json.loads(captured.out)
    assert [row["holds"] for row in report["claims"][:2]] == [True, False]
    assert "samples_sha256" in captured.err


def test_verify_finds_what_was_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized(folder, "--data", "d.npz")
    found = io.load(folder / "q.onnx")
    codes = next(
        value
        for value in found.graph.initializers.values()
        if value.dtype == ir.DataType.INT8 and value.shape == ir.Shape([8, 3, 3, 3])
    )
    assert codes.const_value is not None
    codes.const_value = ir.Tensor(codes.const_value.numpy() // 2, name=codes.name)
    saved(found, folder / "q.onnx")
    other_weights(folder, [0, 0, 0, 0])
    assert typed(folder, "verify", "q.onnx", "--float", "m.onnx", "--data", "d.npz") == 4
    assert "sqnr_db" in capsys.readouterr().err
    assert typed(folder, "verify", "q.onnx", "--float", "o.onnx", "--data", "d.npz") == 4
    assert "source_sha256" in capsys.readouterr().err


def test_verify_of_a_file_with_a_damaged_note(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantized(folder, "--data", "d.npz")
    found = io.load(folder / "q.onnx")
    found.metadata_props["q8tool.preprocess"] = '{"size": 3}'
    saved(found, folder / "q.onnx")
    assert typed(folder, "verify", "q.onnx", "--float", "m.onnx", "--data", "d.npz") == 5
    assert "metadata q8tool.preprocess" in capsys.readouterr().err


def test_verify_of_a_ranges_file_and_photos(folder: Path) -> None:
    photos = [photo(folder / f"{i}.png", (40 * i, 9, 255 - i)) for i in range(6)]
    images = [word for path in photos for word in ("--images", path)]
    calibrate = ["calibrate", "--input", "m.onnx", "--output", folder / "r.json"]
    assert typed(folder, *calibrate, *images, "--preset", "unit") == 0
    quantized(folder, "--ranges", folder / "r.json", *images)
    assert typed(folder, "verify", "q.onnx", "--float", "m.onnx", *images) == 0


def test_nothing_to_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(folder, "verify", "m.onnx", "--float", "m.onnx") == 5
    assert "says nothing" in capsys.readouterr().err
    quantized(folder)
    assert typed(folder, "verify", "q.onnx", "--float", "m.onnx") == 0
    quantized(folder, "--data", "d.npz", "--force")
    assert typed(folder, "verify", "q.onnx", "--float", "m.onnx") == 5
    assert "need the photos" in capsys.readouterr().err
