"""The report of every layer: what it became, why, and what it costs."""

import json
from pathlib import Path

import numpy as np
import pytest

from q8tool.errors import UsageError
from q8tool.model import io
from q8tool.pipelines import quantize
from q8tool.pipelines.quantize import Options
from tests.graphs import model, random
from tests.pipelines.classifiers import saved

TEXT = """g (float[N,3,8,8] x) => (float[N,4] y) {
    c = Conv(x, w, b) r = Relu(c) d = Conv(r, v) s = Sigmoid(d) e = Conv(s, v)
    p = GlobalAveragePool(e) f = Flatten(p) z = MatMul(f, k) y = Softmax(z) }"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    graph = model(TEXT, 13, w=random(8, 3, 3, 3), b=random(8), v=random(8, 8, 1, 1), k=random(8, 4))
    for node in graph.graph:
        node.name = node.outputs[0].name
    np.savez(tmp_path / "d.npz", x=random(10, 3, 8, 8))
    return saved(graph, tmp_path / "m.onnx")


def test_every_layer_is_described(path: Path) -> None:
    out, file = path.with_name("q.onnx"), path.with_name("r.json")
    result = quantize.run(
        Options(path, out, data=path.with_name("d.npz"), report=file, excluded=["e"])
    )
    report = json.loads(file.read_text())
    assert report == json.loads(json.dumps(result.to_json()))
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert list(layers) == ["c", "r", "d", "s", "e", "p", "f", "z", "y"]
    assert (layers["c"]["form"], layers["e"]["form"]) == ("eight-bit", "float")
    assert layers["e"]["reason"] == "excluded"
    assert layers["c"]["bytes"] == {
        "float": 4 * (216 + 8),
        "eight_bit": 216 + 8 * 4 + 8 * 5 + 8 * 4,
    }
    assert layers["e"]["bytes"]["float"] == layers["e"]["bytes"]["eight_bit"]
    low, high = layers["c"]["output_range"]
    assert low == 0.0 < high
    ranks = {layer["damage_rank"] for layer in layers.values()} - {None}
    assert ranks == set(range(1, len(ranks) + 1))
    worst = min(
        (layer for layer in layers.values() if layer["damage_rank"]),
        key=lambda one: one["damage_rank"],
    )
    measured = [layer["sqnr_db"] for layer in layers.values() if layer["sqnr_db"] is not None]
    assert worst["sqnr_db"] == min(measured) > 20
    times = [layer["milliseconds"]["float"] for layer in layers.values()]
    assert 0 <= min(times) <= max(times) < 1e3
    assert sum(layer["milliseconds"]["eight_bit"] for layer in layers.values()) > 0


def test_without_samples_there_is_no_damage(path: Path) -> None:
    file = path.with_name("r.json")
    quantize.run(Options(path, path.with_name("q.onnx"), report=file))
    layers = {layer["name"]: layer for layer in json.loads(file.read_text())["layers"]}
    assert layers["c"]["form"] == "run-time range"
    assert all(layer["damage_rank"] is None for layer in layers.values())


def test_an_existing_report_stays(path: Path) -> None:
    file = path.with_name("r.json")
    file.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        quantize.run(Options(path, path.with_name("q.onnx"), report=file))
    assert file.read_text() == "mine"
    assert not path.with_name("q.onnx").exists()
    assert io.load(path)
