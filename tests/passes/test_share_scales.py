"""share_scales: which sums share a scale, that no code of theirs is rounded, and what it saves."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.numerics.qparams import from_range
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.insert_conversions import insert_conversions
from q8tool.passes.share_scales import share_scales
from tests.graphs import f32, model, random, run

Ranges = dict[str, tuple[float, float]]
W = random(4, 4, 1, 1)


def residual(blocks: int = 2, behind: str = "") -> ir.Model:
    """x -> Conv -> c0; then c(n+1) = c(n) + Conv(c(n)); a last Conv that wants codes."""
    lines = ["c0 = Conv(x, w)"]
    for n in range(blocks):
        result = f"s{n}" if behind else f"c{n + 1}"
        lines += [f"b{n} = Conv(c{n}, w)", f"{result} = Add(c{n}, b{n})"]
        lines += [f"c{n + 1} = {behind}({result})"] if behind else []
    lines.append(f"y = Conv(c{blocks}, w)")
    text = "\n".join(lines)
    return model(f"m (float[1,4,5,5] x) => (float[1,4,5,5] y) {{ {text} }}", w=W)


def scale(ranges: Ranges, name: str) -> float:
    return float(from_range(*ranges[name]).scale)


def test_a_chain_of_sums_is_one_group() -> None:
    ranges: Ranges = {
        "x": (-1.0, 1.0), "c0": (-3.0, 2.0), "b0": (-2.5, 2.5), "c1": (-3.0, 3.0),
        "b1": (-2.0, 3.0), "c2": (-3.1, 3.0),
    }  # fmt: skip
    shared, changes = share_scales(residual(), ranges)
    widest = scale(ranges, "c2")
    assert {scale(shared, name) for name in ("c0", "b0", "c1", "b1", "c2")} == {widest}
    assert shared["x"] == ranges["x"]
    assert {change.node for change in changes} >= {"c0", "b0", "c1", "b1"}
    for name, (low, high) in ranges.items():
        params = from_range(*shared[name])
        step = float(params.scale)
        assert params.range()[0] <= low + step / 2
        assert params.range()[1] >= high - step / 2


def test_what_costs_more_than_a_rounding_stays() -> None:
    ranges: Ranges = {"x": (-1.0, 1.0), "c0": (-1.0, 1.0), "b0": (-1.0, 1.0), "c1": (-2.0, 2.0)}
    # 2 x 2^2 would take the place of 1 + 1 + 2^2.
    assert share_scales(residual(1), ranges) == (ranges, [])


def test_what_is_read_again_counts_more() -> None:
    """b0 is computed from c0: c0's rounding comes twice, and b0 is twice as large."""
    ranges: Ranges = {"x": (-1.0, 1.0), "c0": (-1.0, 1.0), "b0": (-2.0, 2.0), "c1": (-2.1, 2.1)}
    # Alone 2.1^2 - 1 + 2.1^2 - 2^2 = 3.82 would buy 2.1^2 = 4.41; c0 counts 1 + 2^2 times.
    assert share_scales(residual(1), ranges) == (ranges, [])
    apart = model(
        "m (float[1,4,5,5] x, float[1,4,5,5] z) => (float[1,4,5,5] y) "
        "{ c0 = Conv(x, w) b0 = Conv(z, w) c1 = Add(c0, b0) y = Conv(c1, w) }", w=W,
    )  # fmt: skip
    shared, _ = share_scales(apart, {**ranges, "z": (-1.0, 1.0)})
    assert scale(shared, "c0") == scale(shared, "b0") == scale(ranges, "c1")


def _halves(scales: dict[str, float]) -> Ranges:
    return {name: (-127.5 * scale, 127.5 * scale) for name, scale in scales.items()}


def test_one_grid_may_cost_a_little() -> None:
    """Of c0's rounding comes 1 + (.366 / c0)^2 times: the sum's own does not pay for it."""
    ranges = _halves({"x": 0.01, "c0": 0.30, "b0": 0.366, "c1": 0.385})
    # 2.49 x .30^2 + .366^2 + .385^2 = .506 becomes 3.49 x .385^2 = .517: 2 % more.
    shared, _ = share_scales(residual(1), ranges)
    assert scale(shared, "c0") == scale(shared, "b0") == scale(ranges, "c1")
    # 4.34 x .20^2 + .282 = .456 would become 5.34 x .385^2 = .79.
    dear = {**ranges, **_halves({"c0": 0.20})}
    assert share_scales(residual(1), dear) == (dear, [])


def test_the_scale_is_that_of_the_least_error() -> None:
    """Clipping that costs nothing leaves the smallest scale; that which costs a lot, the widest."""
    ranges = _halves({"x": 0.01, "c0": 0.3, "b0": 0.3, "c1": 0.3})

    def rounding(low: float, high: float) -> float:
        return ((high - low) / 255) ** 2 / 12

    def clipping(low: float, high: float) -> float:
        return rounding(low, high) + max(0.0, 0.3 * 255 - (high - low)) ** 2

    shared, _ = share_scales(residual(1), ranges, (), dict.fromkeys(("c0", "b0", "c1"), rounding))
    assert scale(shared, "c1") == pytest.approx(0.15)
    shared, _ = share_scales(residual(1), ranges, (), dict.fromkeys(("c0", "b0", "c1"), clipping))
    assert scale(shared, "c1") == pytest.approx(0.3)


def test_a_relu_behind_the_sum_keeps_its_zero_point() -> None:
    ranges: Ranges = {"x": (-1.0, 1.0), "c0": (-4.0, 4.0), "b0": (-4.0, 3.0), "c1": (0.0, 7.0)}
    shared, _ = share_scales(residual(1, "Relu"), ranges)
    assert shared["c1"][0] == 0.0
    assert scale(shared, "c1") == scale(shared, "b0") == scale(ranges, "c0")


@pytest.mark.parametrize("changed", [{"c1": (0.0, 6.0)}, {"c0": (0.0, 0.0)}])
def test_ends_that_say_something_stay(changed: Ranges) -> None:
    """A Relu6 whose codes went on beyond 6 would need a clamp; an empty range has no steps."""
    ranges: Ranges = {"x": (-1.0, 1.0), "c0": (-4.0, 4.0), "b0": (-4.0, 3.0), "c1": (0.0, 7.0)}
    text = (
        "c0 = Conv(x, w) b0 = Conv(c0, w) s = Add(c0, b0) c1 = Clip(s, zero, six) y = Conv(c1, w)"
    )
    clipped = model(
        f"m (float[1,4,5,5] x) => (float[1,4,5,5] y) {{ {text} }}",
        w=W, zero=f32(0), six=f32(6),
    )  # fmt: skip
    given = {**ranges, **changed}
    assert share_scales(clipped, given) == (given, [])


def test_a_sum_that_stays_float_shares_nothing() -> None:
    ranges: Ranges = {"x": (-1.0, 1.0), "c0": (-5.0, 5.0), "b0": (-4.0, 4.0), "c1": (-5.0, 5.0)}
    before = residual(1)
    add = next(node for node in before.graph if node.op_type == "Add")
    add.name = "sum"
    assert share_scales(before, ranges)[1]
    assert share_scales(before, ranges, {"sum"}) == (ranges, [])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["", "Relu"]))
def test_no_sum_is_rounded(seed: int, behind: str) -> None:
    """In onnxruntime the codes of c1 are those of c0 and b0, added as integers."""
    rng = np.random.default_rng(seed)
    ends = rng.uniform(1.0, 8.0, 2)
    ranges: Ranges = {
        "x": (-1.0, 1.0), "c0": (-ends[0], ends[1]), "b0": (-ends[1], ends[0]),
        "c1": (0.0 if behind else -ends[0], ends[1]),
    }  # fmt: skip
    before = residual(1, behind)
    shared, changes = share_scales(before, ranges)
    if not changes:
        return
    choice = choose_precision(before, shared)
    insert_conversions(before, choice, shared)
    graph = before.graph
    quantized = {
        node.inputs[0].name or "": node.outputs[0]
        for node in graph
        if node.op_type == "QuantizeLinear" and node.inputs[0] is not None
    }
    total = next(node for node in graph if node.op_type == "Add").outputs[0].name or ""
    codes = [quantized[name] for name in ("c0", "b0", "c1" if behind else total)]
    graph.outputs.extend(codes)
    _, c0, b0, c1 = run(before, x=rng.uniform(-1, 1, (1, 4, 5, 5)).astype(np.float32))
    zeros = [int(from_range(*shared[name]).zero_point) for name in ("c0", "b0", "c1")]
    real = (c0.astype(int) - zeros[0]) + (b0.astype(int) - zeros[1])
    np.testing.assert_array_equal(c1, np.clip(real + zeros[2], zeros[2] if behind else 0, 255))
