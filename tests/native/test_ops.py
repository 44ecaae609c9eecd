"""Steps that work element by element, against the formulas of the standard and onnxruntime."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx.helper as oh
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto

from q8tool.native import Plan
from tests.native.one_step import ISAS, Array, round_to_code, run_one, run_step

RNG = np.random.default_rng(1)

finite = st.floats(-(2.0**127), 2.0**127, width=32)
moderate = st.floats(-1000, 1000, width=32)
codes = st.integers(0, 255)


def onnxruntime_run(node: Any, feeds: dict[str, Array], outputs: Sequence[tuple[str, int]]) -> Any:
    """What onnxruntime computes for one node."""
    ort = pytest.importorskip("onnxruntime")
    types = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8}
    graph = oh.make_graph(
        [node],
        "one",
        [oh.make_tensor_value_info(k, types[v.dtype], v.shape) for k, v in feeds.items()],
        [oh.make_tensor_value_info(name, kind, None) for name, kind in outputs],
    )
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 13)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


# ---- quantize and dequantize ----


def test_quantize_rounds_half_to_even_before_the_zero_point() -> None:
    x = np.array([-0.75, -0.25, 0.25, 0.75, 1.25, 1e30, -1e30, np.inf, -np.inf, np.nan], np.float32)
    got = run_one(lambda p, x, y: p.quantize(x, y, scale=0.5, zero_point=3), [x], np.uint8, [10])
    assert got.tolist() == [1, 3, 3, 5, 5, 255, 0, 255, 0, 0]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.1, 1e-3, 3.7e-5, 1e-38, 1e-44, 1.4e-45, 1e36])
def test_quantize_equals_onnxruntime(isa: str, scale: float) -> None:
    factor = np.float32(scale)
    ties = (np.arange(-300, 300) + np.float32(0.5)).astype(np.float32) * factor
    spread = RNG.uniform(-300, 300, 2000).astype(np.float32) * factor
    extremes = np.array([0.0, -0.0, 1e-45, -1e-45, 1e38, -1e38, 3.4e38, -3.4e38], np.float32)
    x = np.concatenate([ties, np.nextafter(ties, np.float32(0)), spread, extremes])
    for zero_point in (0, 1, 127, 128, 255):
        node = oh.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
        feeds = {"x": x, "s": np.array(factor), "z": np.array(zero_point, np.uint8)}
        (want,) = onnxruntime_run(node, feeds, [("y", TensorProto.UINT8)])
        got = run_one(
            lambda p, x, y, z=zero_point: p.quantize(x, y, scale=float(factor), zero_point=z),
            [x],
            np.uint8,
            x.shape,
            isa=isa,
        )
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("isa", ISAS)
def test_dequantize_is_one_product(isa: str) -> None:
    x = np.arange(256, dtype=np.uint8)
    for scale, zero_point in ((0.1, 0), (1e-44, 255), (3e38, 128), (0.0, 7)):
        with np.errstate(over="ignore"):
            want = (x.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        got = run_one(
            lambda p, x, y, s=scale, z=zero_point: p.dequantize(x, y, scale=s, zero_point=z),
            [x],
            np.float32,
            [256],
            isa=isa,
        )
        np.testing.assert_array_equal(got, want)


# ---- dynamic quantize ----


def dynamic_quantize(x: Array, isa: str | None = None, threads: int = 1) -> list[Array]:
    return run_step(
        lambda p, *ids: p.dynamic_quantize(*ids),
        [x],
        [(np.uint8, x.shape), (np.float32, []), (np.uint8, [])],
        isa=isa,
        threads=threads,
    )


def assert_dynamic_equals_onnxruntime(x: Array, isa: str | None = None) -> None:
    node = oh.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    kinds = [("y", TensorProto.UINT8), ("s", TensorProto.FLOAT), ("z", TensorProto.UINT8)]
    want = onnxruntime_run(node, {"x": x}, kinds)
    for expected, got in zip(want, dynamic_quantize(x, isa), strict=True):
        assert expected.tobytes() == got.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["sum", "pool"])
def test_a_step_finds_the_range_of_what_it_writes(kind: str, isa: str) -> None:
    x = np.random.default_rng(3).normal(size=(1, 40, 50, 37)).astype("f")
    x[0, 7, 8, 9] = np.nan

    def add(p: Plan, x: int, y: int, y_range: int) -> None:
        if kind == "pool":
            p.pool("max", x, y, kernel=(1, 1))
        else:
            p.binary_f32("add", x, x, y)
        p.find_range(y, y_range)

    for threads in (1, 3):
        results = [np.zeros_like(x), np.zeros(2, np.float32)]
        with Plan(isa) as plan:
            add(plan, *(plan.tensor(np.float32, array.shape, None) for array in [x, *results]))
            plan.finish(0)
            plan.run([x, *results], threads=threads)
        y, found = results
        np.testing.assert_array_equal(found, [-np.nanmin(y), np.nanmax(y)])


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 70), elements=st.one_of(finite, moderate)))
def test_dynamic_quantize_equals_onnxruntime(x: Array) -> None:
    assert_dynamic_equals_onnxruntime(x)


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 0.0],
        [-0.0],
        [5.0],
        [-5.0, -2.0],
        [1e-44, 0.0],
        [1e-45, -1e-45],
        [-1e-45],
        [3.4e38, -3.4e38],
        [1e-38, 3e38],
        [-1.0, 254.0, 0.5, 1.5, 2.5],
        [-0.5, 254.5, 0.0, 1.0, 3.5],
    ],
)
@pytest.mark.parametrize("isa", ISAS)
def test_dynamic_quantize_of_extremes_equals_onnxruntime(isa: str, values: list[float]) -> None:
    assert_dynamic_equals_onnxruntime(np.array(values, np.float32), isa)


@pytest.mark.parametrize("isa", ISAS)
def test_dynamic_quantize_of_many_parts(isa: str) -> None:
    x = RNG.normal(size=(3, 70001)).astype(np.float32)
    x[2, 50000] = -31.0
    x[0, 3] = 64.0
    assert_dynamic_equals_onnxruntime(x, isa)
    once = dynamic_quantize(x, isa)
    for threads in (2, 3):
        for a, b in zip(once, dynamic_quantize(x, isa, threads), strict=True):
            assert a.tobytes() == b.tobytes()


# ---- tables and casts ----


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, max_side=9)))
@settings(max_examples=20, deadline=None)
def test_table(x: Array) -> None:
    table = RNG.permutation(256).astype(np.uint8)
    got = run_one(lambda p, x, y: p.table(x, y, table), [x], np.uint8, x.shape)
    np.testing.assert_array_equal(got, table[x])


@pytest.mark.parametrize("source", [np.uint8, np.int32, np.int64, np.float32])
@pytest.mark.parametrize("target", [np.uint8, np.int32, np.int64, np.float32])
def test_cast_of_values_that_both_types_hold(source: Any, target: Any) -> None:
    values = [0, 1, 2, 127, 128, 255]
    if np.uint8 not in (source, target):
        values += [-1, -255, 1 << 20, -(1 << 23)]
    x = np.array(values, source)
    got = run_one(lambda p, x, y: p.cast(x, y), [x], target, x.shape)
    np.testing.assert_array_equal(got, x.astype(target))


def test_cast_of_floats_drops_the_fraction_and_saturates() -> None:
    x = np.array([1.9, -1.9, 3e9, -3e9, np.nan, np.inf, -np.inf], np.float32)
    got = run_one(lambda p, x, y: p.cast(x, y), [x], np.int32, x.shape)
    top, bottom = 2**31 - 1, -(2**31)
    assert got.tolist() == [1, -1, top, bottom, 0, top, bottom]
    got = run_one(lambda p, x, y: p.cast(x, y), [x], np.int64, x.shape)
    top, bottom = 2**63 - 1, -(2**63)
    assert got.tolist() == [1, -1, 3_000_000_000, -3_000_000_000, 0, top, bottom]


# ---- binary ----


@st.composite
def broadcast_pairs(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=5, max_side=6))
    first, second = shapes.input_shapes
    return tuple(first), tuple(second), tuple(shapes.result_shape)


def binary_by_formula(op: str, a: Array, b: Array, numbers: dict[str, Any]) -> Array:
    left = a.astype(np.int32) - numbers["a_zero_point"]
    right = b.astype(np.int32) - numbers["b_zero_point"]
    am, bm = np.float32(numbers["a_multiplier"]), np.float32(numbers["b_multiplier"])
    if op == "mul":
        value = (left * right).astype(np.float32) * am
    elif op == "add":
        value = left.astype(np.float32) * am + right.astype(np.float32) * bm
    else:
        value = left.astype(np.float32) * am - right.astype(np.float32) * bm
    return round_to_code(
        np.asarray(value, np.float32),
        numbers["y_zero_point"],
        numbers["y_low"],
        numbers["y_high"],
    )


binary_numbers = st.fixed_dictionaries(
    {
        "a_zero_point": codes,
        "b_zero_point": codes,
        "y_zero_point": codes,
        "a_multiplier": st.floats(2**-12, 4, width=32),
        "b_multiplier": st.floats(2**-12, 4, width=32),
        "y_low": st.integers(0, 100),
        "y_high": st.integers(100, 255),
    }
)


@given(broadcast_pairs(), st.sampled_from(["add", "sub", "mul"]), binary_numbers, st.data())
@settings(max_examples=150, deadline=None)
def test_binary_broadcasts_like_numpy(
    shapes: Any, op: str, numbers: dict[str, Any], data: st.DataObject
) -> None:
    a, b = (RNG.integers(0, 256, shape).astype(np.uint8) for shape in shapes[:2])
    isa = data.draw(st.sampled_from(ISAS))
    got = run_one(
        lambda p, a, b, y: p.binary(op, a, b, y, **numbers), [a, b], np.uint8, shapes[2], isa=isa
    )
    np.testing.assert_array_equal(got, binary_by_formula(op, a, b, numbers))


LONG_SHAPES = [
    ([2, 50, 50, 24], [24]),
    ([24], [2, 50, 50, 24]),
    ([50, 2000], [50, 1]),
    ([50, 1], [1, 2000]),
    ([40000, 3], [1, 3]),
    ([3, 40000], [3, 1]),
    ([9000, 1, 5], [1, 2, 5]),
    ([100000], []),
    ([], [100000]),
    ([7, 5000], [5000]),
    ([2, 1, 3, 1, 5, 1, 7, 100], [1, 3, 1, 2, 1, 4, 1, 1]),
]


@pytest.mark.parametrize(("a_shape", "b_shape"), LONG_SHAPES)
@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_binary_of_long_tensors(op: str, a_shape: list[int], b_shape: list[int]) -> None:
    a = RNG.integers(0, 256, a_shape).astype(np.uint8)
    b = RNG.integers(0, 256, b_shape).astype(np.uint8)
    numbers = {
        "a_zero_point": 120,
        "b_zero_point": 3,
        "y_zero_point": 17,
        "a_multiplier": 0.011 if op == "mul" else 0.7,
        "b_multiplier": 0.45,
        "y_low": 2,
        "y_high": 251,
    }
    want = binary_by_formula(op, a, b, numbers)
    for isa in ISAS:
        for threads in (1, 2, 3):
            got = run_one(
                lambda p, a, b, y: p.binary(op, a, b, y, **numbers),
                [a, b],
                np.uint8,
                want.shape,
                isa=isa,
                threads=threads,
            )
            np.testing.assert_array_equal(got, want)


FLOAT_FUNCTIONS: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
}


@given(broadcast_pairs(), st.sampled_from(sorted(FLOAT_FUNCTIONS)), st.sampled_from(ISAS))
@settings(max_examples=100, deadline=None)
def test_binary_f32_is_exact(shapes: Any, op: str, isa: str) -> None:
    a, b = (RNG.normal(size=shape).astype(np.float32) for shape in shapes[:2])
    got = run_one(
        lambda p, a, b, y: p.binary_f32(op, a, b, y), [a, b], np.float32, shapes[2], isa=isa
    )
    np.testing.assert_array_equal(got, FLOAT_FUNCTIONS[op](a, b))


@pytest.mark.parametrize(("a_shape", "b_shape"), LONG_SHAPES)
def test_binary_f32_of_long_tensors(a_shape: list[int], b_shape: list[int]) -> None:
    a = RNG.normal(size=a_shape).astype(np.float32)
    b = RNG.normal(size=b_shape).astype(np.float32)
    for threads in (1, 3):
        got = run_one(
            lambda p, a, b, y: p.binary_f32("sub", a, b, y),
            [a, b],
            np.float32,
            np.broadcast_shapes(a_shape, b_shape),
            threads=threads,
        )
        np.testing.assert_array_equal(got, a - b)


def test_binary_f32_power() -> None:
    a = RNG.uniform(0.1, 9, 1000).astype(np.float32)
    b = RNG.uniform(-3, 3, 1000).astype(np.float32)
    got = run_one(lambda p, a, b, y: p.binary_f32("pow", a, b, y), [a, b], np.float32, [1000])
    np.testing.assert_allclose(got, a.astype(np.float64) ** b, rtol=1e-5)


# ---- unary ----


@pytest.mark.parametrize("isa", ISAS)
def test_unary_f32_takes_its_arguments(isa: str) -> None:
    x = np.linspace(-8, 8, 50001, dtype=np.float32)
    formulas: dict[str, Any] = {
        "clamp": np.clip(x, -1.5, 2.5),
        "sigmoid": 1 / (1 + np.exp(-x.astype(np.float64))),
        "leaky_relu": np.where(x < 0, x * np.float32(-1.5), x),
        "affine": x.astype(np.float64) * -1.5 + 2.5,
        "round": np.rint(x),
    }
    for op, want in formulas.items():
        for threads in (1, 3):
            got = run_one(
                lambda p, x, y, op=op: p.unary_f32(op, x, y, alpha=-1.5, beta=2.5),
                [x],
                np.float32,
                x.shape,
                isa=isa,
                threads=threads,
            )
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
