"""Steps that compare and choose elements, against numpy with its broadcasting."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from q8tool.errors import NativeError
from q8tool.native import Plan
from tests.native.one_step import Array, run_one

INTEGERS = [np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
TYPES = [*INTEGERS, np.dtype(np.float32), np.dtype(np.float64)]
COMPARISONS = {"equal": np.equal, "less": np.less, "less_equal": np.less_equal}


def small(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int) -> Array:
    """Few different numbers, NaN among floats."""
    low = 0 if dtype.kind == "u" else -2
    found = np.random.default_rng(seed).integers(low, 3, shape).astype(dtype)
    return np.where(found == 2, np.asarray(np.nan, dtype), found) if dtype.kind == "f" else found


def shapes(count: int) -> st.SearchStrategy[hnp.BroadcastableShapes]:
    return hnp.mutually_broadcastable_shapes(num_shapes=count, min_side=1, max_side=9, max_dims=5)


@given(shapes(2), st.sampled_from(TYPES), st.sampled_from([*COMPARISONS]), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_compare(found: hnp.BroadcastableShapes, dtype: Any, op: str, threads: int) -> None:
    a, b = (small(dtype, shape, seed) for seed, shape in enumerate(found.input_shapes))
    got = run_one(
        lambda p, a, b, y: p.compare(op, a, b, y), [a, b], np.uint8, found.result_shape,
        threads=threads,
    )  # fmt: skip
    np.testing.assert_array_equal(got, COMPARISONS[op](a, b))


@given(shapes(3), st.sampled_from([*TYPES, np.dtype(np.float16)]), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_where(found: hnp.BroadcastableShapes, dtype: Any, threads: int) -> None:
    c_shape, a_shape, b_shape = found.input_shapes
    c = small(np.dtype(np.uint8), c_shape, 0)
    a, b = small(dtype, a_shape, 1), small(dtype, b_shape, 2)
    got = run_one(
        lambda p, c, a, b, y: p.where(c, a, b, y), [c, a, b], dtype, found.result_shape,
        threads=threads,
    )  # fmt: skip
    np.testing.assert_array_equal(got, np.where(c, a, b))


def test_long_rows_on_several_threads(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(300, 700)).astype(np.float32), np.float32(0.25)
    less = run_one(
        lambda p, a, b, y: p.compare("less", a, b, y), [a, np.asarray(b)], np.uint8, a.shape,
        threads=3,
    )  # fmt: skip
    np.testing.assert_array_equal(less, a < b)
    chosen = run_one(
        lambda p, c, a, b, y: p.where(c, a, b, y), [less, a, np.asarray(b)], np.float32, a.shape,
        threads=3,
    )  # fmt: skip
    np.testing.assert_array_equal(chosen, np.minimum(a, b))


@pytest.mark.parametrize("op", ["mod", "rest", "and", "or", "xor"])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_operations(op: str, dtype: np.dtype[Any]) -> None:
    """Rests by Python's whole numbers; by 0 they are 0."""
    info, generator = np.iinfo(dtype), np.random.default_rng(0)
    a = generator.integers(info.min, info.max, 500, dtype, endpoint=True)
    b = generator.integers(max(info.min, -9), 9, 500, dtype, endpoint=True)
    a[:4] = [info.min, info.max, info.min, 0]
    b[:4] = [info.max, info.max, info.max if info.min == 0 else -1, 0]
    if op == "mod":
        want = [int(p) % int(q) if q else 0 for p, q in zip(a, b, strict=True)]
    elif op == "rest":
        signs = [-1 if p < 0 else 1 for p in a]
        pairs = zip(a, b, signs, strict=True)
        want = [sign * (abs(int(p)) % abs(int(q))) if q else 0 for p, q, sign in pairs]
    else:
        want = list(getattr(np, f"bitwise_{op}")(a, b))
    got = run_one(lambda p, a, b, y: p.arithmetic(op, a, b, y), [a, b], dtype, a.shape)
    np.testing.assert_array_equal(got, np.asarray(want, dtype))


REFUSED: list[tuple[str, list[Any], Callable[..., object]]] = [
    ("mod not of f64", [np.float64, np.float64], lambda p, x, y: p.arithmetic("mod", x, x, y)),
    ("not of f16", [np.float16, np.uint8], lambda p, x, y: p.compare("equal", x, x, y)),
    ("where: tensor 0 has type", [np.uint8, np.int64], lambda p, c, x: p.where(c, c, c, x)),
]


@pytest.mark.parametrize(("text", "types", "add"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_is_refused(text: str, types: list[Any], add: Callable[..., object]) -> None:
    with Plan() as plan:
        ids = [plan.tensor(dtype, [3], None) for dtype in types]
        with pytest.raises(NativeError, match=text):
            add(plan, *ids)


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    with Plan() as plan:
        condition, x = plan.tensor(np.uint8, [2], None), plan.tensor(np.float32, [3], None)
        with pytest.raises(NativeError, match="do not broadcast"):
            plan.where(condition, x, x, plan.tensor(np.float32, [3], None))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("is_exclusive", [False, True])
@pytest.mark.parametrize("is_reverse", [False, True])
def test_running_sums(dtype: type, is_exclusive: bool, is_reverse: bool) -> None:
    x: Array = (np.random.default_rng(5).standard_normal((3, 7, 5)) * 100).astype(dtype)
    turned = x[:, ::-1] if is_reverse else x
    want: Array = np.cumsum(turned, axis=1, dtype=dtype)
    if is_exclusive:
        want = np.concatenate([np.zeros_like(want[:, :1]), want[:, :-1]], axis=1)
    want = want[:, ::-1] if is_reverse else want

    def add(plan: Plan, x: int, y: int) -> None:
        plan.running_sum(
            x, y, outer=3, axis=7, inner=5, is_exclusive=is_exclusive, is_reverse=is_reverse
        )

    for threads in (1, 3):
        got = run_one(add, [x], dtype, x.shape, threads=threads)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("text", "sizes"), [("do not fit", (3, 7, 4)), ("do not fit", (2**40, 2**40, 5))]
)
def test_running_sums_that_are_refused(text: str, sizes: tuple[int, int, int]) -> None:
    def add(plan: Plan, x: int, y: int) -> None:
        outer, axis, inner = sizes
        plan.running_sum(
            x, y, outer=outer, axis=axis, inner=inner, is_exclusive=False, is_reverse=False
        )

    x = np.zeros((3, 7, 5), np.float32)
    with pytest.raises(NativeError, match=text):
        run_one(add, [x], np.float32, x.shape)


@pytest.mark.parametrize(
    ("grid", "y", "padding"),
    [
        ((1, 2, 2, 3), (1, 3, 2, 2), "zeros"),
        ((2, 2, 2, 2), (1, 3, 2, 2), "border"),
        ((1, 2, 2, 2), (1, 3, 2, 3), "zeros"),
        ((1, 2, 2, 2), (1, 2, 2, 2), "zeros"),
        ((1, 2, 2, 2), (1, 3, 2, 2), "corners"),
    ],
)
def test_samples_that_are_refused(grid: tuple[int, ...], y: tuple[int, ...], padding: str) -> None:
    def add(plan: Plan, x: int, grid: int, y: int) -> None:
        plan.grid_sample(x, grid, y, is_nearest=False, padding=padding, is_aligned=False)

    arrays = [np.zeros((1, 3, 4, 5), np.float32), np.zeros(grid, np.float32)]
    with pytest.raises(NativeError, match=r"shapes do not fit|has no Q8_PAD"):
        run_one(add, arrays, np.float32, y)
