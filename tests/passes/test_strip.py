"""Cancel, merge, sink and share: what goes, what stays and why; answers to the bit or the code."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.model.shapes import infer_shapes
from q8tool.passes.cancel_conversions import cancel_conversions, share_dequantize, why_kept
from q8tool.passes.merge_conversions import merge_conversions
from q8tool.passes.pairs import pairs
from q8tool.passes.sink_dequantize import sink_dequantize
from q8tool.passes.strip import strip
from tests.graphs import Array, assert_same, f32, i8, i64, model, ops, random, run, u8

# The parameters s, z; others t, y; a code input c and a float input x.
PARAMS = {"s": f32(0.05), "z": u8(7), "s2": f32(0.06), "z2": u8(9)}
Q, DQ = "QuantizeLinear", "DequantizeLinear"


def graph_of(
    body: str, inputs: str = "uint8[1,4,6,6] c", output: str = "uint8[i,j,k,l] q",
    opset: int = 13, **weights: Array,
) -> ir.Model:  # fmt: skip
    used = {**PARAMS, **weights}
    found = model(f"g ({inputs}) => ({output}) {{ {body} }}", opset, **used)
    infer_shapes(found)
    return found


def codes(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(np.uint8)


def stripped(before: ir.Model) -> tuple[ir.Model, list[str]]:
    after = before.clone()
    changes = strip(after)
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    assert strip(after) == []
    return after, [change.pass_name for change in changes]


PAIR = f"r = {DQ}(c, s, z) p = {Q}(r, s, z) q = Identity(p)"


def test_an_equal_pair_goes() -> None:
    before = graph_of(PAIR)
    after, passes = stripped(before)
    assert passes == ["cancel_conversions"]
    assert ops(after) == ["Identity"]
    assert_same(before, after, c=np.resize(np.arange(256), (1, 4, 6, 64)).astype(np.uint8)[..., :6])


@given(st.floats(2.0**-126, 2.0**119, width=32), st.integers(0, 255))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_all_256_codes_survive_in_onnxruntime_too(scale: float, zero_point: int) -> None:
    before = graph_of(PAIR, "uint8[256] c", "uint8[n] q", s=f32(scale), z=u8(zero_point))
    _, passes = stripped(before)
    assert passes == ["cancel_conversions"]
    every = np.arange(256).astype(np.uint8)
    np.testing.assert_array_equal(run(before, c=every)[0], every)


def test_float_readers_and_outputs_keep_their_values() -> None:
    body = f"r = {DQ}(c, s, z) q = {Q}(r, s, z) q2 = Identity(q) y = Neg(r)"
    before = graph_of(body, output="uint8[i,j,k,l] q2, float[i,j,k,l] y, float[i,j,k,l] r")
    after, _ = stripped(before)
    assert sorted(ops(after)) == [DQ, "Identity", "Neg"]
    assert_same(before, after, c=codes(1, 4, 6, 6))


@pytest.mark.parametrize(
    ("body", "weights", "reason"),
    [
        (f"r = {DQ}(c, s, z) p = {Q}(r, s2, z) q = Identity(p)", {}, "points differ"),
        (f"r = {DQ}(c, s, z) p = {Q}(r, s, z2) q = Identity(p)", {}, "points differ"),
        (f"r = {DQ}(c, s, z) q = {Q}(r, s, z)", {}, "an output of the model"),
        (f"r = {DQ}(c, s, z) p = {Q}(r, s, z) q = Identity(p)", {"s": f32(1e-41)}, "too small"),
        (
            f"n = Abs(s) r = {DQ}(c, n, z) p = {Q}(r, n, z) q = Identity(p)", {},
            "not constant",
        ),
        (
            f"r = {DQ}(c, s, z) p = {Q}(r, s, i) k = Cast<to=2>(p) q = Identity(k)", {"i": i8(7)},
            "converts uint8 to int8",
        ),
    ],
)  # fmt: skip
def test_pairs_that_stay(body: str, weights: dict[str, Any], reason: str) -> None:
    before = graph_of(body, **weights)
    after, passes = stripped(before)
    assert passes == []
    assert ops(after) == ops(before)
    (pair,) = pairs(after.graph)
    assert reason in why_kept(pair)


def test_per_channel_pairs() -> None:
    weights: dict[str, Any] = {"s": f32([0.1, 0.2, 0.3, 0.4]), "z": u8([1, 2, 3, 4])}
    same = f"r = {DQ}<axis=1>(c, s, z) p = {Q}<axis=1>(r, s, z) q = Identity(p)"
    after, _ = stripped(graph_of(same, **weights))
    assert ops(after) == ["Identity"]
    other = same.replace(f"{Q}<axis=1>", f"{Q}<axis=0>").replace("uint8[1", "uint8[4")
    after, passes = stripped(graph_of(other, "uint8[4,4,6,6] c", **weights))
    assert passes == []


def test_without_a_zero_point_it_is_zero() -> None:
    body = f"r = {DQ}(c, s) p = {Q}(r, s) q = Identity(p)"
    after, _ = stripped(graph_of(body))
    assert ops(after) == ["Identity"]
    body = f"r = {DQ}(c, s, zero) p = {Q}(r, s) q = Identity(p)"
    after, _ = stripped(graph_of(body, zero=u8(0)))
    assert ops(after) == ["Identity"]


def test_pairs_inside_subgraphs() -> None:
    body = f"""k = Cast<to=9>(s) y = If(k)<
        then_branch = t () => (uint8[1,4,6,6] q1) {{
            r = {DQ}(c, s, z) p = {Q}(r, s, z) q1 = Identity(p) }},
        else_branch = e () => (uint8[1,4,6,6] q2) {{ q2 = Identity(c) }}>"""
    before = graph_of(body, output="uint8[i,j,k,l] y")
    after, passes = stripped(before)
    assert passes == ["cancel_conversions"]
    assert_same(before, after, c=codes(1, 4, 6, 6))


WIDE = f"a = {Q}(x, s, z) r = {DQ}(a, s, z) p = {Q}(r, s2, z2) q = Identity(p)"


@given(st.integers(0, 2**31))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_merged_roundings_differ_by_one_code_at_most(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = f32(np.exp(rng.uniform(-5, 2)))
    # The second range lies within the first.
    second = f32(first * rng.uniform(0.6, 0.99))
    zero, zero2 = rng.integers(100, 150), 0
    zero2 = int(np.clip(np.rint(zero * float(first) / float(second) * 0.9), 0, 255))
    weights: dict[str, Any] = {"s": first, "z": u8(zero), "s2": second, "z2": u8(zero2)}
    before = graph_of(WIDE, "float[1,4,6,6] x", **weights)
    after, passes = stripped(before)
    x = (rng.standard_normal((1, 4, 6, 6)) * float(first) * 90).astype(np.float32)
    apart = np.abs(run(before, x=x)[0].astype(int) - run(after, x=x)[0].astype(int))
    assert apart.max() <= (1 if passes else 0)
    if passes:
        assert passes == ["merge_conversions"]
        assert ops(after) == [Q, "Identity"]


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        (WIDE, {"s2": f32(0.5)}),  # the first range is narrower: it clamps
        (WIDE.replace("q = Identity(p)", "w = Identity(a) q = Add(p, w)"), {}),  # codes read
        (WIDE.replace("q = Identity(p)", "w = Neg(r) q = Identity(p)"), {}),  # real values read
        (WIDE.replace(f"{DQ}(a, s, z)", f"{DQ}(a, s2, z)"), {}),  # other parameters on the way
    ],
)
def test_what_is_not_merged(body: str, weights: dict[str, Any]) -> None:
    output = "uint8[i,j,k,l] q" + (", float[i,j,k,l] w" if "w = Neg" in body else "")
    before = graph_of(body, "float[1,4,6,6] x", output, 14, **weights)
    after = before.clone()
    assert merge_conversions(after) == []
    assert ops(after) == ops(before)


MOVES = {
    "Transpose": "m = Transpose<perm=[0,2,3,1]>(r)",
    "Reshape": "m = Reshape(r, shape)",
    "Flatten": "f = Flatten(r) m = Reshape(f, shape)",
    "Squeeze": "f = Squeeze(r, zero) m = Unsqueeze(f, zero)",
    "Slice": "m = Slice(r, zero, two, zero)",
    "Gather": "m = Gather<axis=1>(r, two)",
    "Pad": "m = Pad(r, pads)",
    "Pad by its edge": 'm = Pad<mode="edge">(r, pads)',
    "Pad with zero": "m = Pad(r, pads, none)",
    "MaxPool": "m = MaxPool<kernel_shape=[2,2], pads=[1,1,0,0]>(r)",
    "Expand": "m = Expand(r, shape2)",
    "Tile": "m = Tile(r, ones)",
    "DepthToSpace": "m = DepthToSpace<blocksize=2>(r)",
    "SpaceToDepth": "m = SpaceToDepth<blocksize=2>(r)",
    "Identity": "m = Identity(r)",
    "Concat": f"r2 = {DQ}(c, s, z) m = Concat<axis=1>(r, r2)",
    "two": "k = Transpose<perm=[0,2,3,1]>(r) m = Reshape(k, shape)",
}
SHAPES: dict[str, Any] = {
    "shape": i64([1, 36, 2, 2]), "shape2": i64([3, 4, 6, 6]), "zero": i64([0]), "two": i64([2]),
    "ones": i64([1, 2, 1, 1]), "pads": i64([0, 0, 1, 1, 0, 0, 1, 1]), "none": f32(0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_data_movement_works_on_codes(name: str) -> None:
    body = f"r = {DQ}(c, s, z) {MOVES[name]} p = {Q}(m, s, z) q = Identity(p)"
    before = graph_of(body, **SHAPES)
    after, passes = stripped(before)
    assert "sink_dequantize" in passes
    assert Q not in ops(after)
    assert DQ not in ops(after)
    assert_same(before, after, c=codes(1, 4, 6, 6))


@pytest.mark.parametrize("name", MOVES)
def test_float_readers_of_what_was_moved_see_no_change(name: str) -> None:
    body = f"r = {DQ}(c, s, z) {MOVES[name]} p = {Q}(m, s, z) q = Identity(p) n = Neg(m)"
    outputs = "uint8[i,j,k,l] q, float[i,j,k,l] n, float[i,j,k,l] m"
    before = graph_of(body, output=outputs, **SHAPES)
    after, _ = stripped(before)
    assert Q not in ops(after)
    assert [value.name for value in after.graph.outputs] == ["q", "n", "m"]
    assert_same(before, after, c=codes(1, 4, 6, 6))


def test_a_split_is_moved_with_all_its_outputs() -> None:
    body = f"""r = {DQ}(c, s, z) a, b = Split<axis=1>(r, halves)
        p = {Q}(a, s, z) q = Identity(p) n = Neg(b)"""
    outputs = "uint8[i,j,k,l] q, float[i,j,k,l] n"
    before = graph_of(body, output=outputs, halves=i64([2, 2]))
    after, _ = stripped(before)
    assert ops(after).count(DQ) == 1
    assert_same(before, after, c=codes(1, 4, 6, 6))


def test_an_output_that_nobody_reads_is_codes_as_well() -> None:
    body = f"""r = {DQ}(c, s, z) a, b = Split<axis=1>(r, halves)
        p = {Q}(b, s, z) q = Identity(p)"""
    before = graph_of(body, halves=i64([2, 2]))
    after, _ = stripped(before)
    assert sorted(ops(after)) == ["Identity", "Split"]
    assert_same(before, after, c=codes(1, 4, 6, 6))


@pytest.mark.parametrize(
    "move",
    [
        "m = Pad(r, pads, six)",
        "m, i = MaxPool<kernel_shape=[2,2]>(r) n = Neg(i)",
        "m = AveragePool<kernel_shape=[2,2]>(r)",
        f"r2 = {DQ}(c, s2, z) m = Concat<axis=1>(r, r2)",
        "m = Concat<axis=1>(r, x)",
        "m = Relu(r)",
    ],
)
def test_what_does_not_sink(move: str) -> None:
    body = f"r = {DQ}(c, s, z) {move} p = {Q}(m, s, z) q = Identity(p)"
    output = "uint8[i,j,k,l] q" + (", int64[i,j,k,l] n" if "n = Neg" in move else "")
    before = graph_of(
        body, "uint8[1,4,6,6] c, float[1,4,6,6] x", output, six=f32(6), pads=SHAPES["pads"]
    )
    after, passes = stripped(before)
    assert passes == []
    assert ops(after) == ops(before)


def test_a_dequantize_sinks_only_where_something_cancels() -> None:
    body = f"r = {DQ}(c, s, z) m = Transpose<perm=[0,2,3,1]>(r) q = Relu(m)"
    before = graph_of(body, output="float[i,j,k,l] q")
    assert sink_dequantize(before) == []
    body = f"r = {DQ}(c, s, z) m = Transpose<perm=[0,2,3,1]>(r) q = {Q}(m, s2, z)"
    assert sink_dequantize(graph_of(body)) == []


def test_old_versions_of_movement_that_take_no_codes_stay() -> None:
    """MaxPool reads eight-bit codes since opset 12, Pad since 13."""
    body = f"""r = {DQ}(c, s, z) m = MaxPool<kernel_shape=[2,2]>(r) p = {Q}(m, s, z)
        q = Identity(p)"""
    after, passes = stripped(graph_of(body, opset=11))
    assert passes == []
    after, passes = stripped(graph_of(body, opset=12))
    assert Q not in ops(after)


def test_copies_of_one_dequantize_are_shared() -> None:
    body = f"r = {DQ}(c, s, z) t = {DQ}(c, s, z) u = {DQ}(c, s2, z) a = Add(r, t) y = Add(a, u)"
    before = graph_of(body, output="float[i,j,k,l] y")
    after = before.clone()
    assert len(share_dequantize(after)) == 1
    assert ops(after) == [DQ, DQ, "Add", "Add"]
    assert_same(before, after, c=codes(1, 4, 6, 6))


def test_constant_weights_are_never_folded_back() -> None:
    body = f"r = {DQ}(c, s, z) v = {DQ}(w, s, z8) y = Conv(r, v)"
    before = graph_of(body, output="float[i,j,k,l] y", w=i8(np.ones((2, 4, 1, 1))), z8=i8(0))
    after, passes = stripped(before)
    assert passes == []
    assert ops(after) == [DQ, DQ, "Conv"]


def test_names_that_the_graph_has_already() -> None:
    body = f"""m_dq = {DQ}(c, s, z) m_codes = Relu(x) m = Transpose<perm=[0,2,3,1]>(m_dq)
        p = {Q}(m, s, z) q = Identity(p) n = Add(m_codes, m_codes) k = Neg(m)"""
    outputs = "uint8[i,j,k,l] q, float[i,j,k,l] n, float[i,j,k,l] k"
    before = graph_of(body, "uint8[1,4,6,6] c, float[1,4,6,6] x", outputs)
    after, _ = stripped(before)
    assert_same(before, after, c=codes(1, 4, 6, 6), x=random(1, 4, 6, 6))


def test_cancel_alone_reports_each_pair() -> None:
    changes = cancel_conversions(graph_of(PAIR))
    assert [change.what for change in changes] == ["equal parameters, all codes agree"]
    assert "->" in changes[0].node


def test_a_long_chain_of_movements() -> None:
    """No recursion, and no walk down the rest of the chain for every node of it."""
    moves = " ".join(f"m{i + 1} = Transpose<perm=[0,1,3,2]>(m{i})" for i in range(2000))
    before = graph_of(f"m0 = {DQ}(c, s, z) {moves} q = {Q}(m2000, s, z)")
    sink_dequantize(before)
    assert ops(before) == ["Transpose"] * 2000 + [DQ, Q]
