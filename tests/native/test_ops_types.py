"""Casts and arithmetic of every type against numpy's, and weighted sums along an axis."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from q8tool.errors import NativeError
from tests.native.one_step import Array, run_one

INTEGERS = [np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
HALVES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
FLOATS = [*HALVES, np.dtype(np.float32), np.dtype(np.float64)]


def integers_of(dtype: np.dtype[Any], shape: Any, seed: int = 0) -> Array:
    """All bits, with both ends."""
    generator = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    array = np.asarray(generator.integers(info.min, info.max, shape, dtype, endpoint=True))
    array.ravel()[:2] = [info.min, info.max][: array.size]
    return array


def cast(x: Array, dtype: np.dtype[Any], threads: int = 1) -> Array:
    return run_one(lambda p, x, y: p.cast(x, y), [x], dtype, x.shape, threads=threads)


# ---- casts ----


@pytest.mark.parametrize("to", [*INTEGERS, *FLOATS], ids=str)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_cast_of_integers(dtype: np.dtype[Any], to: np.dtype[Any]) -> None:
    x = integers_of(dtype, (3, 700))
    with np.errstate(over="ignore"):
        # Half floats by way of float32.
        want = x.astype(np.float32).astype(to) if to in HALVES else x.astype(to)
    np.testing.assert_array_equal(cast(x, to, threads=2), want)


@pytest.mark.parametrize("to", FLOATS, ids=str)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_cast_of_every_half_float(dtype: np.dtype[Any], to: np.dtype[Any]) -> None:
    x = np.arange(1 << 16).astype(np.uint16).view(dtype)
    with np.errstate(all="ignore"):
        want = x.astype(np.float32).astype(to)
    got = cast(x, to)
    numbers = ~np.isnan(x.astype(np.float32))
    np.testing.assert_array_equal(got[numbers].view(np.uint8), want[numbers].view(np.uint8))
    assert np.isnan(got[~numbers].astype(np.float32)).all()


@given(hnp.arrays(np.float32, 64, elements=st.floats(width=32)))
@settings(max_examples=100, deadline=None)
def test_cast_to_half_floats(x: Array) -> None:
    for dtype in HALVES:
        with np.errstate(all="ignore"):
            want = x.astype(dtype)
        np.testing.assert_array_equal(cast(x, dtype).astype(np.float32), want.astype(np.float32))


@given(hnp.arrays(np.float64, 64, elements=st.floats(-7e4, 7e4)))
@settings(max_examples=100, deadline=None)
def test_cast_of_doubles_to_half_rounds_once(x: Array) -> None:
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(cast(x, np.dtype(np.float16)), x.astype(np.float16))


def test_what_integers_cannot_hold() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.9, -2.9], np.float64)
    ends = np.iinfo(np.int64)
    want = [0, ends.max, ends.min, ends.max, ends.min, 2, -2]
    np.testing.assert_array_equal(cast(x, np.dtype(np.int64)), np.array(want, np.int64))
    large = np.array([2.0**63 + 2048, 2.0**64, 3.0], np.float64)
    want_unsigned = np.array([2**63 + 2048, 2**64 - 1, 3], np.uint64)
    np.testing.assert_array_equal(cast(large, np.dtype(np.uint64)), want_unsigned)


# ---- arithmetic ----

SHAPES = [
    ((2, 3, 5), (2, 3, 5)),
    ((40, 1, 7), (1, 30, 1)),
    ((9,), ()),
    ((1,), (5, 6)),
    ((3, 4097), (3, 4097)),
]


def arithmetic(op: str, a: Array, b: Array, threads: int = 1) -> Array:
    shape = np.broadcast_shapes(a.shape, b.shape)
    return run_one(
        lambda p, a, b, y: p.arithmetic(op, a, b, y), [a, b], a.dtype, shape, threads=threads
    )


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "min", "max"])
@pytest.mark.parametrize("dtype", [*INTEGERS, np.dtype(np.float64)], ids=str)
@pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES)
def test_arithmetic(op: str, dtype: np.dtype[Any], a_shape: Any, b_shape: Any) -> None:
    if dtype.kind == "f":
        a, b = (np.random.default_rng(s).normal(size=n) for s, n in ((0, a_shape), (1, b_shape)))
        b = np.asarray(b)
    else:
        a, b = integers_of(dtype, a_shape), integers_of(dtype, (*b_shape, 4), 1)[..., 3]
    want = expected(op, a, b)
    for threads in (1, 3):
        np.testing.assert_array_equal(arithmetic(op, a, b, threads), want)


def expected(op: str, a: Array, b: Array) -> Array:
    """numpy's own, but that quotients are cut towards 0 by Python's whole numbers."""
    if op == "div" and a.dtype.kind in "iu":
        quotients = np.vectorize(lambda p, q: 0 if q == 0 else cut(int(p), int(q)), otypes=[object])
        wide = quotients(a, b)
        bits = 8 * a.dtype.itemsize
        wrapped = np.vectorize(lambda v: v % (1 << bits), otypes=[object])(wide)
        return np.asarray(wrapped, np.dtype(f"uint{bits}")).view(a.dtype)
    names = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}
    with np.errstate(all="ignore"):
        return np.asarray(getattr(np, names.get(op, f"{op}imum"))(a, b))


def cut(p: int, q: int) -> int:
    return abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1)


def test_a_nan_stays_in_doubles() -> None:
    a, b = np.array([np.nan, 1.0, 2.0]), np.array([1.0, np.nan, 3.0])
    for op, last in (("min", 2.0), ("max", 3.0)):
        np.testing.assert_array_equal(arithmetic(op, a, b), [np.nan, np.nan, last])


@pytest.mark.parametrize("dtype", [np.float32, *HALVES], ids=str)
def test_types_without_arithmetic_are_refused(dtype: Any) -> None:
    with pytest.raises(NativeError, match="arithmetic"):
        arithmetic("add", np.zeros(3, dtype), np.zeros(3, dtype))
    with pytest.raises(NativeError, match="no operation"):
        arithmetic("pow", np.zeros(3, np.int32), np.zeros(3, np.int32))


# ---- movement ----


@pytest.mark.parametrize("dtype", [np.int16, *HALVES, np.float64], ids=str)
def test_any_type_moves(dtype: Any) -> None:
    x = integers_of(np.dtype(np.int16), (5, 33, 17)).astype(np.float32).astype(dtype)
    y = run_one(
        lambda p, x, y: p.copy(
            x, y, dims=(17, 5, 33), x_strides=(1, 561, 17), y_strides=(165, 33, 1)
        ),
        [x],
        dtype,
        (17, 5, 33),
    )
    np.testing.assert_array_equal(y.view(np.uint8), x.transpose(2, 0, 1).copy().view(np.uint8))


# ---- weighted sums along an axis ----


@given(
    st.integers(1, 5), st.integers(1, 9), st.integers(1, 5), st.integers(0, 7), st.integers(0, 4)
)
@settings(max_examples=100, deadline=None)
def test_resample(outer: int, axis: int, inner: int, count: int, taps: int) -> None:
    generator = np.random.default_rng(outer + 10 * axis + 100 * count)
    x = generator.normal(size=(outer, axis, inner)).astype(np.float32)
    indices = generator.integers(0, axis, (count, taps)).astype(np.int32)
    weights = generator.normal(size=(count, taps)).astype(np.float32)
    offset = generator.normal(size=count).astype(np.float32)
    got = run_one(
        lambda p, x, y: p.resample(
            x, y, outer=outer, axis=axis, inner=inner, indices=indices, weights=weights,
            offset=offset,
        ),
        [x], np.float32, (outer, count, inner), threads=2,
    )  # fmt: skip
    want = np.einsum("octn,ct->ocn", x[:, indices], weights) + offset[None, :, None]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("outside", {"indices": [[4]]}),
        ("outside", {"indices": [[-1]]}),
        ("sizes", {"outer": 3}),
        ("sizes", {"axis": 1 << 62}),
        ("sizes", {"indices": [[0], [1]], "weights": [[1.0], [1.0]]}),
    ],
)
def test_a_hostile_resample_is_refused(message: str, arguments: dict[str, Any]) -> None:
    sound: dict[str, Any] = {
        "outer": 2, "axis": 4, "inner": 3, "indices": [[0]], "weights": [[1.0]]
    }  # fmt: skip
    given_ = {**sound, **arguments}
    given_["indices"] = np.asarray(given_["indices"], np.int32)
    with pytest.raises(NativeError, match=message):
        run_one(
            lambda p, x, y: p.resample(x, y, **given_),
            [np.zeros((2, 4, 3), np.float32)], np.float32, (2, 1, 3),
        )  # fmt: skip
