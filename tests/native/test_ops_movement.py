"""Copy, fill and gather, against numpy's own strides and indexing."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from q8tool.errors import NativeError
from tests.native.one_step import Array, run_one

RNG = np.random.default_rng(3)
DTYPES: list[Any] = [np.uint8, np.float32, np.int64]


def random_array(shape: Any, dtype: Any) -> Array:
    array: Array = RNG.integers(0, 256, shape).astype(dtype)
    return array


def copy(x: Array, y_shape: Any, threads: int = 1, **arguments: Any) -> Array:
    return run_one(
        lambda p, x, y: p.copy(x, y, **arguments), [x], x.dtype, y_shape, threads=threads
    )


def row_major(shape: Any) -> list[int]:
    return [int(np.prod(shape[d + 1 :])) for d in range(len(shape))]


def transposed(x: Array, order: Any, threads: int = 1, **arguments: Any) -> Array:
    shape = [x.shape[d] for d in order]
    strides = row_major(x.shape)
    return copy(
        x,
        shape,
        threads,
        dims=shape,
        x_strides=[strides[d] for d in order],
        y_strides=row_major(shape),
        **arguments,
    )


# ---- transposition ----


@given(hnp.array_shapes(min_dims=1, max_dims=6, max_side=7), st.sampled_from(DTYPES), st.data())
@settings(max_examples=150, deadline=None)
def test_transpose(shape: Any, dtype: Any, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    x = random_array(shape, dtype)
    np.testing.assert_array_equal(transposed(x, order), x.transpose(order))


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.sampled_from(DTYPES), st.data()
)
@settings(max_examples=100, deadline=None)
def test_transpose_of_planes(h: int, w: int, n: int, dtype: Any, data: st.DataObject) -> None:
    order = data.draw(st.sampled_from([(0, 2, 1), (2, 1, 0), (1, 0, 2)]))
    x = random_array((n, h, w), dtype)
    np.testing.assert_array_equal(transposed(x, order), x.transpose(order))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 3, 224, 224), (2, 67, 45, 31), (1, 1000, 1, 130)])
def test_channels_first_and_last(shape: Any, dtype: Any) -> None:
    x = random_array(shape, dtype)
    for threads in (1, 2, 3):
        last = transposed(x, (0, 2, 3, 1), threads)
        np.testing.assert_array_equal(last, x.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(transposed(last, (0, 3, 1, 2), threads), x)


def test_transpose_through_a_table() -> None:
    table = RNG.permutation(256).astype(np.uint8)
    x = random_array((2, 19, 33), np.uint8)
    for order in itertools.permutations(range(3)):
        got = transposed(x, order, table=table)
        np.testing.assert_array_equal(got, table[x.transpose(order)])


# ---- boxes ----


@st.composite
def slices(draw: st.DrawFn) -> tuple[tuple[int, ...], list[slice]]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=5, max_side=9))
    taken = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        step = draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
        room = start // -step if step < 0 else (size - 1 - start) // step
        stop = start + step * (draw(st.integers(0, room)) + 1)
        taken.append(slice(start, stop if stop >= 0 else None, step))
    return shape, taken


@given(slices(), st.sampled_from(DTYPES), st.booleans())
@settings(max_examples=200, deadline=None)
def test_slice_and_its_inverse(case: Any, dtype: Any, with_table: bool) -> None:
    shape, taken = case
    table = RNG.permutation(256).astype(np.uint8) if with_table and dtype == np.uint8 else None
    x = random_array(shape, dtype)
    want = x[tuple(taken)]
    strides = row_major(shape)
    offset = sum(s.start * stride for s, stride in zip(taken, strides, strict=True))
    steps = [s.step * stride for s, stride in zip(taken, strides, strict=True)]
    dims, flat = want.shape, row_major(want.shape)
    got = copy(x, dims, dims=dims, x_strides=steps, x_offset=offset, y_strides=flat, table=table)
    np.testing.assert_array_equal(got, want if table is None else table[want])

    back = np.full(shape, 0x55, dtype)
    back[tuple(taken)] = want
    got = copy(want, shape, dims=dims, x_strides=flat, y_offset=offset, y_strides=steps)
    np.testing.assert_array_equal(got, back)


@given(hnp.array_shapes(max_dims=5, max_side=6), st.sampled_from(DTYPES), st.data())
@settings(max_examples=80, deadline=None)
def test_expand(shape: Any, dtype: Any, data: st.DataObject) -> None:
    kept = [data.draw(st.booleans()) for _ in shape]
    source = tuple(d if keep else 1 for d, keep in zip(shape, kept, strict=True))
    x = random_array(source, dtype)
    strides = [s if keep else 0 for s, keep in zip(row_major(source), kept, strict=True)]
    got = copy(x, shape, dims=shape, x_strides=strides, y_strides=row_major(shape))
    np.testing.assert_array_equal(got, np.broadcast_to(x, shape))


def test_concatenation_of_large_pieces() -> None:
    pieces = [random_array((40, 50, c), np.uint8) for c in (24, 100, 3)]
    want = np.concatenate(pieces, axis=2)

    def add(plan: Any, first: int, second: int, third: int, y: int) -> None:
        at = 0
        for tensor, piece in zip((first, second, third), pieces, strict=True):
            rows, channels = piece.size // piece.shape[2], piece.shape[2]
            plan.copy(
                tensor,
                y,
                dims=[rows, channels],
                x_strides=[channels, 1],
                y_strides=[want.shape[2], 1],
                y_offset=at,
            )
            at += channels

    for threads in (1, 2, 3):
        got = run_one(add, pieces, np.uint8, want.shape, threads=threads)
        np.testing.assert_array_equal(got, want)


def test_scalars_and_empty_tensors() -> None:
    x = np.array([4.5], np.float32)
    assert copy(x, [], dims=[], x_strides=[], y_strides=[]) == np.float32(4.5)
    empty = np.zeros((0, 3), np.float32)
    got = copy(empty, [3, 0], dims=[3, 0], x_strides=[1, 3], y_strides=[0, 1])
    assert got.shape == (3, 0)


BAD_COPIES: list[dict[str, Any]] = [
    {"dims": [5], "x_strides": [1], "y_strides": [1]},
    {"dims": [4], "x_strides": [1], "y_strides": [1], "x_offset": 1},
    {"dims": [4], "x_strides": [1], "y_strides": [1], "y_offset": -1},
    {"dims": [4], "x_strides": [-1], "y_strides": [1]},
    {"dims": [2], "x_strides": [1], "y_strides": [2**62]},
    {"dims": [3], "x_strides": [2**62], "y_strides": [1]},
    {"dims": [3], "x_strides": [-(2**63)], "y_strides": [1]},
    {"dims": [-1], "x_strides": [1], "y_strides": [1]},
    {"dims": [2**40, 2**40], "x_strides": [0, 0], "y_strides": [0, 0]},
    {"dims": [2], "x_strides": [1], "y_strides": [0]},
    {"dims": [2, 2], "x_strides": [1, 1], "y_strides": [1, 1]},
    {"dims": [1] * 9, "x_strides": [0] * 9, "y_strides": [0] * 9},
    {"dims": [1], "x_strides": [1], "y_strides": [1], "x_offset": 2**63 - 1},
]


@pytest.mark.parametrize("arguments", BAD_COPIES)
def test_copies_outside_a_tensor_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(NativeError):
        copy(np.zeros(4, np.float32), [4], **arguments)


def test_a_copy_onto_itself_is_refused() -> None:
    with pytest.raises(NativeError, match=r"overlap|in place"):
        run_one(
            lambda p, y: p.copy(y, y, dims=[2], x_strides=[1], y_strides=[1], x_offset=2),
            [],
            np.uint8,
            [4],
        )


# ---- fill and gather ----


@pytest.mark.parametrize("value", [np.uint8(200), np.float32(-1.5), np.int64(-(2**40))])
@pytest.mark.parametrize("count", [0, 1, 100, 70000])
def test_fill(value: Any, count: int) -> None:
    for threads in (1, 3):
        got = run_one(lambda p, y: p.fill(y, value), [], value.dtype, [count], threads=threads)
        np.testing.assert_array_equal(got, np.full(count, value))


@given(hnp.array_shapes(min_dims=3, max_dims=3, max_side=9), st.sampled_from(DTYPES), st.data())
@settings(max_examples=60, deadline=None)
def test_gather(shape: Any, dtype: Any, data: st.DataObject) -> None:
    outer, axis, inner = shape
    indices = data.draw(st.lists(st.integers(-axis, axis - 1), max_size=12))
    x = random_array(shape, dtype)
    got = run_one(
        lambda p, x, y: p.gather(x, y, outer=outer, axis=axis, inner=inner, indices=indices),
        [x],
        dtype,
        [outer, len(indices), inner],
    )
    np.testing.assert_array_equal(got, x.take(indices, axis=1) if indices else got)


def test_gather_of_many_rows() -> None:
    x = random_array((3, 50, 200), np.float32)
    indices = RNG.integers(-50, 50, 400)
    for threads in (1, 2, 3):
        got = run_one(
            lambda p, x, y: p.gather(x, y, outer=3, axis=50, inner=200, indices=indices),
            [x],
            np.float32,
            [3, 400, 200],
            threads=threads,
        )
        np.testing.assert_array_equal(got, x[:, indices])


@pytest.mark.parametrize("index", [-4, 3, 2**40])
def test_gather_outside_the_axis_is_refused(index: int) -> None:
    with pytest.raises(NativeError, match="index"):
        run_one(
            lambda p, x, y: p.gather(x, y, outer=1, axis=3, inner=1, indices=[index]),
            [np.zeros(3, np.uint8)],
            np.uint8,
            [1],
        )
