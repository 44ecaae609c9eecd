"""Activations with a scale per channel, as NNCF writes them: the same codes, in eight bits."""

import numpy as np
import onnx
import pytest

from q8tool import Session
from tests.build import Array, model_of, node, run_onnxruntime
from tests.graphs import random

CHANNELS = 6
FEEDS = {"x": random(2, 3, 9, 8)}


def depthwise(
    activation: str, kind: str, *, zero_points: Array | None = None, read_twice: bool = False,
    multiplier: int = 1,
) -> onnx.ModelProto:  # fmt: skip
    """x -> Conv -> activation -> codes per channel -> depthwise Conv -> codes."""
    weights: dict[str, Array] = {}

    def coded(name: str, *shape: int, seed: int) -> str:
        codes = np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)
        weights[f"{name}_codes"] = codes
        weights[f"{name}_scale"] = np.linspace(0.001, 0.004, shape[0]).astype(np.float32)
        weights[f"{name}_zero"] = np.zeros(shape[0], np.int8)
        return f"{name}_codes {name}_scale {name}_zero"

    signed = kind == "int8"
    weights |= {
        "xs": np.asarray(0.02, np.float32), "xz": np.asarray(0 if signed else 128, kind),
        "cs": np.linspace(0.002, 0.02, CHANNELS).astype(np.float32),
        "cz": np.zeros(CHANNELS, kind) if zero_points is None else zero_points.astype(kind),
        "ys": np.asarray(0.03, np.float32), "yz": np.asarray(0 if signed else 120, kind),
        "b1": random(CHANNELS), "b2": random(CHANNELS * multiplier, seed=1),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x xs xz", "xc"),
        node("DequantizeLinear", "xc xs xz", "xr"),
        node("DequantizeLinear", coded("w1", CHANNELS, 3, 3, 3, seed=1), "w1", axis=0),
        node("Conv", "xr w1 b1", "c1", pads=[1, 1, 1, 1]),
        node(activation, "c1", "a"),
        node("QuantizeLinear", "a cs cz", "ac", axis=1),
        node("DequantizeLinear", "ac cs cz", "ar", axis=1),
        node("DequantizeLinear", coded("w2", CHANNELS * multiplier, 1, 3, 3, seed=2), "w2", axis=0),
        node("Conv", "ar w2 b2", "c2", pads=[1, 1, 1, 1], group=CHANNELS),
        node("QuantizeLinear", "c2 ys yz", "y"),
    ]
    outputs = ["y", *(["a"] if read_twice else [])]
    return model_of(nodes, FEEDS, weights, outputs)


@pytest.mark.parametrize(
    ("activation", "kind", "options", "is_eightbit"),
    [
        ("Relu", "uint8", {}, True),
        ("LeakyRelu", "int8", {}, True),
        ("Sigmoid", "uint8", {}, True),  # which no factor passes
        ("Relu", "uint8", {"multiplier": 2}, True),
        ("Relu", "uint8", {"read_twice": True}, True),
        ("LeakyRelu", "uint8", {"zero_points": np.arange(CHANNELS)}, False),
    ],
)
def test_same_codes(
    activation: str, kind: str, options: dict[str, object], is_eightbit: bool
) -> None:
    model = depthwise(activation, kind, **options)  # type: ignore[arg-type]
    expected = run_onnxruntime(model, FEEDS)
    session = Session(model, threads=1, strict=True)
    results = list(session.run(FEEDS).values())
    # Half a code may round either way in float32.
    assert np.abs(results[0].astype(int) - expected[0]).max() <= 1
    assert (results[0] != expected[0]).mean() < 0.02
    for result, wanted in zip(results[1:], expected[1:], strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-5)
    products = [step.dtype for step in session.explain() if step.op.startswith("Conv")]
    assert (products[-1] == "u8") == is_eightbit
