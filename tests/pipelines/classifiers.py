"""Classifiers whose answers one can compute by hand: how red, green and blue a photo is."""

from pathlib import Path

import onnx_ir as ir
from PIL import Image

from q8tool.model import io, metadata
from tests.graphs import f32, model

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = ["red", "green", "blue"]
# The mean of each channel.
LOGITS = "g (float[N,3,8,8] x) => (float[N,3] y) { p = GlobalAveragePool(x) y = Flatten(p) }"
SOFTMAX = """g (float[N,3,8,8] x) => (float[N,3] y) {
    p = GlobalAveragePool(x) f = Flatten(p) y = Softmax<axis=1>(f) }"""
CHANNELS_LAST = """g (float[N,8,8,3] x) => (float[N,3] y) {
    y = ReduceMean<axes=[1,2], keepdims=0>(x) }"""
GRAY = """g (float[N,1,8,8] x) => (float[N,2] y) {
    p = GlobalAveragePool(x) f = Flatten(p) y = Gemm(f, w, b) }"""


def colour_model(text: str = LOGITS) -> ir.Model:
    """A model of three colours that carries their names, and how to feed it: pixels 0..5."""
    graph = model(text)
    metadata.set_labels(graph, COLOURS)
    layout = "NHWC" if text == CHANNELS_LAST else "NCHW"
    rules = {"size": [8, 8], "mean": [0.0] * 3, "std": [51.0] * 3, "layout": layout}
    metadata.set_preprocess(graph, rules)
    return graph


def gray_model() -> ir.Model:
    """Two classes, "bright" and "dark": brightness b and 1 - b."""
    graph = model(GRAY, w=f32([[1, -1]]), b=f32([0, 1]))
    metadata.set_labels(graph, ["bright", "dark"])
    metadata.set_preprocess(graph, {"size": [8, 8], "mean": [0.0], "std": [255.0]})
    return graph


def saved(graph: ir.Model, path: Path) -> Path:
    """The path, after writing the model to it."""
    io.save(graph, path, force=True)
    return path


def photo(path: Path, colour: tuple[int, int, int] = RED) -> Path:
    """The path, after writing a photo of one colour to it."""
    Image.new("RGB", (20, 10), colour).save(path)
    return path
