"""simulate_rounding: float operators only, and the answers of the eight-bit model."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from q8tool.numerics.qparams import from_range, weight_params
from q8tool.numerics.rounding import dequantize, quantize, quantize_balanced
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.known_ranges import known_ranges
from q8tool.passes.simulate_rounding import simulate_rounding
from tests.graphs import Array, model, ops, random, run

ROUNDING = ["Div", "Round", "Clip", "Mul"]
TEXT = "g (float[1,4,6,6] x) => (float[1,4,4,4] y) { a = Conv(x, w, b) y = Relu(a) }"
W, B = random(4, 4, 3, 3), random(4)


def simulated(before: ir.Model, given: dict[str, tuple[float, float]], weights: bool) -> ir.Model:
    after = before.clone()
    ranges = known_ranges(after, given)
    choice = choose_precision(after, ranges)
    assert len(simulate_rounding(after, choice, ranges, True, weights)) == len(choice.units)
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    return after


def rounded(x: Array, low: float, high: float) -> Array:
    params = from_range(low, high)
    return dequantize(quantize(x, params), params)


def test_round_rounds_what_operators_deliver() -> None:
    before = model(TEXT, 13, w=W, b=B)
    after = simulated(before, {"x": (-3.0, 3.0), "y": (0.0, 5.0)}, weights=False)
    assert ops(after) == ["Conv", "Relu", *ROUNDING]
    assert [value.name for value in after.graph.outputs] == ["y"]
    x = random(1, 4, 6, 6)
    np.testing.assert_allclose(run(after, x=x)[0], rounded(run(before, x=x)[0], 0, 5), atol=1e-5)


def test_simulate_rounds_inputs_and_weights() -> None:
    before = model(TEXT, 13, w=W, b=B)
    after = simulated(before, {"x": (-3.0, 3.0)}, weights=True)
    assert ops(after) == [*ROUNDING, "Conv", "Relu"]
    params = weight_params(W, 0)
    oracle = model(TEXT, 13, w=dequantize(quantize_balanced(W, params, 0), params), b=B)
    x = random(1, 4, 6, 6)
    expected = run(oracle, x=rounded(x, -3, 3))[0]
    np.testing.assert_allclose(run(after, x=x)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", [True, False])
def test_without_ranges_they_are_taken_at_run_time(weights: bool) -> None:
    before = model(TEXT, 13, w=W, b=B)
    after = simulated(before, {}, weights)
    assert "DynamicQuantizeLinear" in ops(after)
    assert "ConvInteger" not in ops(after)
    x = random(1, 4, 6, 6)
    wanted = run(before, x=x)[0]
    assert 0 < np.abs(run(after, x=x)[0] - wanted).max() < 0.05 * wanted.max()


@pytest.mark.parametrize("factors", ["alpha=2.0, beta=0.5", "alpha=0.0", "transB=1"])
def test_factors_of_gemm_count_once(factors: str) -> None:
    text = f"g (float[3,8] x) => (float[3,8] y) {{ y = Gemm<{factors}>(x, w, b) }}"
    before = model(text, 13, w=random(8, 8), b=random(8))
    after = simulated(before, {"x": (-3.0, 3.0)}, weights=True)
    x = random(3, 8)
    np.testing.assert_allclose(run(after, x=x)[0], run(before, x=x)[0], atol=0.2)


def test_a_value_that_two_operators_read_is_rounded_once() -> None:
    body = "a = Conv(x, w) b = Conv(x, w) c = Add(a, b) y = Conv(c, w)"
    text = f"g (float[1,4,9,9] x) => (float[i,j,k,l] y) {{ {body} }}"
    given = {"x": (-3.0, 3.0), "a": (-9.0, 9.0), "b": (-9.0, 9.0), "c": (-18.0, 18.0)}
    after = simulated(model(text, 13, w=W), given, weights=True)
    assert ops(after).count("Round") == 4
