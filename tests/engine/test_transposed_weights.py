"""Weights that are transposed behind DequantizeLinear: products of eight bits all the same."""

import numpy as np
import pytest

from q8tool import Session
from tests.build import Array, int8_weights, model_of, node, run_onnxruntime
from tests.graphs import random


@pytest.mark.parametrize("is_fake", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("op", ["Conv", "MatMul"])
def test_same_codes_in_eight_bits(op: str, per_channel: bool, is_fake: bool) -> None:
    """is_fake: the weights are floats that the graph brings to codes."""
    shape, order = ((3, 3, 4, 6), [3, 2, 0, 1]) if op == "Conv" else ((6, 4), [1, 0])
    axis = (3 if op == "Conv" else 0) if per_channel else None
    along = {} if axis is None else {"axis": axis}
    real = random(*shape)
    codes, scale = int8_weights(real, axis)
    weights: dict[str, Array] = {
        "xs": np.asarray(0.03, np.float32), "xz": np.asarray(120, np.uint8),
        "ws": scale, "wz": np.zeros(scale.shape, np.int8),
        "ys": np.asarray(0.1, np.float32), "yz": np.asarray(128, np.uint8),
        **({"real": real} if is_fake else {"codes": codes}),
    }  # fmt: skip
    feeds = {"x": random(2, 4, 7, 5) if op == "Conv" else random(5, 4)}
    nodes = [
        node("QuantizeLinear", "x xs xz", "xc"),
        node("DequantizeLinear", "xc xs xz", "xr"),
        *([node("QuantizeLinear", "real ws wz", "codes", **along)] if is_fake else []),
        node("DequantizeLinear", "codes ws wz", "w", **along),
        node("Transpose", "w", "turned", perm=order),
        node(op, "xr turned", "product"),
        node("QuantizeLinear", "product ys yz", "y"),
    ]
    model = model_of(nodes, feeds, weights, ["y"])
    session = Session(model, threads=1, strict=True)
    np.testing.assert_array_equal(session.run(feeds)["y"], run_onnxruntime(model, feeds)[0])
    assert {step.dtype for step in session.explain()} == {"u8"}
