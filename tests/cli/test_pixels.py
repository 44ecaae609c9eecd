"""quantize --io u8: bytes in, the same labels, and every other command takes the file."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.cli import main
from q8tool.image.load import load_photo
from q8tool.model import io
from tests.graphs import model, random, run
from tests.pipelines.classifiers import COLOURS, photo, saved

TEXT = """g (float[N,3,8,8] x) => (float[N,3] y) {
    c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p)
    y = MatMul(f, k) }"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights = random(3, 3, 3, 3) * 0.1
    weights[range(3), range(3), 1, 1] += 1
    graph = model(TEXT, 13, w=weights, b=random(3) * 0.1, k=np.eye(3, dtype=np.float32))
    graph.metadata_props["q8tool.labels"] = json.dumps(COLOURS)
    generator = np.random.default_rng(0)
    for number in range(10):
        colour = generator.integers(0, 256, 3)
        photo(tmp_path / f"{number}.png", (int(colour[0]), int(colour[1]), int(colour[2])))
    return saved(graph, tmp_path / "m.onnx").parent


def pixels_are_codes(graph: ir.Model) -> bool:
    """Whether the convolution reads the input itself, at most through a DequantizeLinear."""
    node = next(node for node in graph.graph if node.op_type in ("Conv", "QLinearConv"))
    value = node.inputs[0]
    assert value is not None
    producer = value.producer()
    source = value if producer is None else producer.inputs[0]
    return source is graph.graph.inputs[0]


@pytest.mark.parametrize("preset", ["mobilenet", "imagenet", "unit"])
@pytest.mark.parametrize("format", ["qdq", "qoperator"])
def test_bytes_in_same_labels_out(
    folder: Path, preset: str, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    float_model, out = str(folder / "m.onnx"), str(folder / "q.onnx")
    photos = str(folder / "*.png")
    words = ["--images", photos, "--preset", preset, "--io", "u8", "--format", format]
    assert main(["quantize", "--input", float_model, "-o", out, *words]) == 0
    onnx.checker.check_model(out, full_check=True)
    graph = io.load(out)
    assert graph.graph.inputs[0].dtype == ir.DataType.UINT8
    rules = json.loads(graph.metadata_props["q8tool.preprocess"])
    assert (rules["mean"], rules["std"]) == ([0.0] * 3, [1.0] * 3)
    if preset != "imagenet":  # whose channels differ
        assert pixels_are_codes(graph)
    capsys.readouterr()
    verify = ["verify", out, "--float", float_model, "--images", photos]
    assert main(verify) == 0, capsys.readouterr()
    label = ["label-image", photos, "--graph", out, "--json"]
    capsys.readouterr()
    assert main(label) == 0
    answers = json.loads(capsys.readouterr().out)["photos"]
    pixels = np.asarray(load_photo(folder / "3.png").resize((8, 8)))
    scores = run(Path(out), x=pixels.transpose(2, 0, 1)[None].copy())[0][0]
    assert answers[3]["labels"][0]["index"] == int(scores.argmax())
    compare = ["compare", float_model, out, "--images", photos, "--preset", preset]
    assert main([*compare, "--min-agreement", "90%"]) in (0, 4)


def test_nobody_says_how_pixels_become_numbers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["quantize", "--input", str(folder / "m.onnx"), "-o", str(folder / "q.onnx")]
    assert main([*words, "--io", "u8"]) == 2
    assert "--preset" in capsys.readouterr().err
    assert main([*words, "--io", "u8", "--preset", "unit"]) == 0
    assert io.load(folder / "q.onnx").graph.inputs[0].dtype == ir.DataType.UINT8
