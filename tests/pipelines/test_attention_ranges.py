"""Attention ranges: clipped unless an answer is made from a weight that would be clipped."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from q8tool.calibrate.collect import Sample, collect
from q8tool.calibrate.observers import Method
from q8tool.calibrate.ranges import Ranges
from q8tool.engine.read_graph import read_graph
from q8tool.model import io
from q8tool.pipelines.attention_ranges import attention_ranges
from q8tool.pipelines.refitting import Refitting
from q8tool.pipelines.samples import load_arrays
from tests.graphs import model, random
from tests.pipelines.classifiers import saved

# The answer is made from the first of many tokens, as from a class token.
TEXT = """g (float[256,256] x) => (float[1,8] y) {
    s = Softmax(x) m = MatMul(s, v) r = Relu(m) y = Slice(r, first, second, rows) }"""
SAMPLES = 12


def scores(sharp_row: int) -> NDArray[np.float32]:
    """Of many samples; one token of one of them attends to another with a weight of 0.9."""
    values = random(SAMPLES, 256, 256)
    others = np.exp(values[5, sharp_row].astype(np.float64)).sum()
    values[5, sharp_row, 7] = np.log(9.0 * others)
    return values


def found(folder: Path, values: NDArray[np.float32], method: Method) -> Ranges:
    first, second, rows = (np.asarray([number], np.int64) for number in (0, 1, 0))
    graph = model(TEXT, v=random(256, 8, seed=1), first=first, second=second, rows=rows)
    loaded = io.load(saved(graph, folder / "m.onnx"))
    np.savez(folder / "d.npz", x=values)
    samples = load_arrays(folder / "d.npz", read_graph(loaded).inputs)
    seen = [Sample(str(i), one.feeds) for i, one in enumerate(samples.at(range(len(samples))))]
    statistics = collect(loaded, seen, ["s"], method)
    return attention_ranges(loaded, statistics, Refitting(samples, range(len(samples)), 1))


def test_a_weight_that_decides_an_answer_is_not_clipped(tmp_path: Path) -> None:
    values = scores(sharp_row=0)
    powers = np.exp(values.astype(np.float64))
    highest = (powers / powers.sum(axis=-1, keepdims=True)).max()
    assert found(tmp_path, values, "weighted-mse")["s"][1] == pytest.approx(highest, rel=1e-5)


def test_a_weight_that_decides_nothing_is(tmp_path: Path) -> None:
    assert found(tmp_path, scores(sharp_row=9), "weighted-mse") == {}


@pytest.mark.parametrize("method", ["mse", "minmax", "percentile"])
def test_other_methods_mean_what_they_say(tmp_path: Path, method: Method) -> None:
    assert found(tmp_path, scores(sharp_row=0), method) == {}
