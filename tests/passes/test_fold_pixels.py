"""Models that take pixels: the answers are those of the float input, to half a step at borders."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.passes.fold_pixels import fold_pixels
from tests.graphs import Array, f32, model, ops, random, run

PIXELS = np.random.default_rng(4).integers(0, 256, (2, 3, 8, 8)).astype(np.uint8)
CONV = "g (float[N,3,8,8] x) => (float[N,4,{side},{side}] y) {{ y = Conv<pads={pads}>(x, w{b}) }}"
EVEN = ([127.5] * 3, [127.5] * 3)
UNEVEN = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


def normalized(mean: list[float], std: list[float]) -> Array:
    shape = (1, 3, 1, 1)
    return ((PIXELS - f32(mean).reshape(shape)) / f32(std).reshape(shape)).astype(np.float32)


def conv(padded: bool, biased: bool) -> ir.Model:
    text = CONV.format(side=8 if padded else 6, pads=[int(padded)] * 4, b=", b" if biased else "")
    weights = {"w": random(4, 3, 3, 3), **({"b": random(4)} if biased else {})}
    return model(text, 13, **weights)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("mean", "std"), [EVEN, UNEVEN, ([0.0] * 3, [255.0] * 3)])
def test_answers_stay(mean: list[float], std: list[float], biased: bool) -> None:
    wanted = run(conv(False, biased), x=normalized(mean, std))[0]
    graph = conv(False, biased)
    changes, ranges = fold_pixels(graph, "x", mean, std, 1)
    assert len(changes) == 1
    assert ops(graph) == ["DequantizeLinear", "Conv"]
    assert graph.graph.inputs[0].dtype == ir.DataType.UINT8
    np.testing.assert_allclose(run(graph, x=PIXELS)[0], wanted, atol=2e-5)
    low, high = ranges["x_pixels"]
    assert low == pytest.approx(min(-np.rint(m) / s for m, s in zip(mean, std, strict=True)))
    assert high > 0


@pytest.mark.parametrize(("mean", "std"), [EVEN, UNEVEN])
def test_borders_are_off_by_half_a_pixel_at_most(mean: list[float], std: list[float]) -> None:
    wanted = run(conv(True, True), x=normalized(mean, std))[0]
    graph = conv(True, True)
    fold_pixels(graph, "x", mean, std, 1)
    found = run(graph, x=PIXELS)[0]
    np.testing.assert_allclose(found[:, :, 1:-1, 1:-1], wanted[:, :, 1:-1, 1:-1], atol=2e-5)
    limit = 0.5 / min(std) * np.abs(random(4, 3, 3, 3)).sum(axis=(1, 2, 3)).max()
    assert np.abs(found - wanted).max() <= limit


def test_other_readers_get_the_rest_by_an_add() -> None:
    text = "g (float[N,8,8,3] x) => (float[N,3,8,8] y) { y = Transpose<perm=[0,3,1,2]>(x) }"
    graph = model(text)
    fold_pixels(graph, "x", *UNEVEN, 3)
    assert ops(graph) == ["DequantizeLinear", "Add", "Transpose"]
    found = run(graph, x=PIXELS.transpose(0, 2, 3, 1))[0]
    np.testing.assert_allclose(found, normalized(*UNEVEN), atol=2e-5)
    exact = model(text)
    fold_pixels(exact, "x", [128.0] * 3, [64.0] * 3, 3)
    assert ops(exact) == ["DequantizeLinear", "Transpose"]
    np.testing.assert_array_equal(
        run(exact, x=PIXELS.transpose(0, 2, 3, 1))[0], normalized([128.0] * 3, [64.0] * 3)
    )
