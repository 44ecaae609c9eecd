"""Softmax, layer normalization, reductions and argmax, against numpy in double precision."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.native.one_step import ISAS, Array, round_to_code, run_one, run_step

RNG = np.random.default_rng(4)


def normal(shape: Any) -> Array:
    array: Array = RNG.normal(size=shape).astype(np.float32)
    return array


# ---- softmax and layer normalization ----


@given(hnp.array_shapes(max_dims=4, max_side=40), st.sampled_from(ISAS), st.booleans())
@settings(max_examples=40, deadline=None)
def test_softmax(shape: Any, isa: str, is_log: bool) -> None:
    x = normal(shape) * 5
    shifted = x.astype(np.float64) - x.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    want = shifted - log_sum if is_log else np.exp(shifted - log_sum)
    got = run_one(
        lambda p, x, y: p.softmax_f32(x, y, log_softmax=is_log), [x], np.float32, shape, isa=isa
    )
    np.testing.assert_allclose(got, want, rtol=3e-6, atol=1e-6 if is_log else 1e-7)


@given(hnp.array_shapes(max_dims=3, max_side=70), st.sampled_from(ISAS), st.booleans())
@settings(max_examples=40, deadline=None)
def test_layer_norm(shape: Any, isa: str, has_bias: bool) -> None:
    x = normal(shape) * 3 + 1
    scale, bias = normal(shape[-1:]), normal(shape[-1:])
    mean = x.astype(np.float64).mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    want = (x - mean) / np.sqrt(variance + 1e-2) * scale + (bias if has_bias else 0)

    def add(plan: Any, x: int, scale: int, bias: int, y: int) -> None:
        plan.layer_norm_f32(x, scale, bias if has_bias else None, y, epsilon=1e-2)

    got = run_one(add, [x, scale, bias], np.float32, shape, isa=isa)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5)


@given(hnp.array_shapes(max_dims=3, max_side=70), st.sampled_from(ISAS), st.booleans())
@settings(max_examples=30, deadline=None)
def test_layer_norm_to_codes(shape: Any, isa: str, wants_floats: bool) -> None:
    x, scale = normal(shape) * 3 + 1, normal(shape[-1:])

    def floats(plan: Any, x: int, scale: int, y: int) -> None:
        plan.layer_norm_f32(x, scale, None, y, epsilon=1e-2)

    def add(plan: Any, x: int, scale: int, y: int, codes: int, found: int) -> None:
        numbers = {"epsilon": 1e-2, "code_scale": 0.031, "code_zero_point": 117}
        plan.fill(found, np.float32(0))
        plan.layer_norm_f32(x, scale, None, y if wants_floats else None, codes, **numbers)
        if wants_floats:
            plan.find_range(y, found)

    want = run_one(floats, [x, scale], np.float32, shape, isa=isa)
    outputs = [(np.float32, shape), (np.uint8, shape), (np.float32, (2,))]
    y, codes, found = run_step(add, [x, scale], outputs, isa=isa)
    np.testing.assert_array_equal(codes, round_to_code(want / np.float32(0.031), 117))
    if wants_floats:
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(found, [max(-want.min(), 0), max(want.max(), 0)])


def test_unary_finds_its_range() -> None:
    x = normal((5000,))

    def add(plan: Any, x: int, y: int, found: int) -> None:
        plan.fill(found, np.float32(0))
        plan.unary_f32("tanh", x, y)
        plan.find_range(y, found)

    for isa in ISAS:
        for threads in (1, 3):
            outputs = [(np.float32, x.shape), (np.float32, (2,))]
            y, found = run_step(add, [x], outputs, isa=isa, threads=threads)
            np.testing.assert_array_equal(found, [-y.min(), y.max()])


@pytest.mark.parametrize("isa", ISAS)
def test_rows_are_the_same_on_every_thread_count(isa: str) -> None:
    x, scale, bias = normal((300, 197)), normal(197), normal(197)
    results = [
        (
            run_one(
                lambda p, x, y: p.softmax_f32(x, y),
                [x],
                np.float32,
                x.shape,
                isa=isa,
                threads=threads,
            ).tobytes(),
            run_one(
                lambda p, *ids: p.layer_norm_f32(*ids, epsilon=1e-5),
                [x, scale, bias],
                np.float32,
                x.shape,
                isa=isa,
                threads=threads,
            ).tobytes(),
        )
        for threads in (1, 2, 3)
    ]
    assert set(results) == {results[0]}


# ---- reductions ----


REDUCTIONS: dict[str, Any] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "sum_square": lambda x, axis: np.sum(x**2, axis=axis),
}


def reduce_f32(op: str, x: Array, isa: str | None = None, threads: int = 1) -> Array:
    outer, axis, inner = x.shape
    return run_one(
        lambda p, x, y: p.reduce_f32(op, x, y, outer=outer, axis=axis, inner=inner),
        [x],
        np.float32,
        [outer, inner],
        isa=isa,
        threads=threads,
    )


@given(
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=30),
    st.sampled_from(sorted(REDUCTIONS)),
    st.sampled_from(ISAS),
)
@settings(max_examples=80, deadline=None)
def test_reduce(shape: Any, op: str, isa: str) -> None:
    x = normal(shape)
    want = REDUCTIONS[op](x.astype(np.float64), axis=1)
    np.testing.assert_allclose(reduce_f32(op, x, isa), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5000, 1), (300, 300, 1), (3, 49, 3000), (5, 7, 1025)])
@pytest.mark.parametrize("op", sorted(REDUCTIONS))
def test_reduce_of_large_tensors(shape: Any, op: str) -> None:
    x = normal(shape)
    want = REDUCTIONS[op](x.astype(np.float64), axis=1)
    for isa in ISAS:
        once = reduce_f32(op, x, isa)
        np.testing.assert_allclose(once, want, rtol=1e-4, atol=1e-3)
        for threads in (2, 3):
            assert once.tobytes() == reduce_f32(op, x, isa, threads).tobytes()


# ---- argmax ----


@given(
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=30),
    st.sampled_from([np.uint8, np.float32]),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_argmax(shape: Any, dtype: Any, is_last: bool) -> None:
    outer, axis, inner = shape
    x = RNG.integers(0, 6, shape).astype(dtype)
    want = axis - 1 - x[:, ::-1].argmax(axis=1) if is_last else x.argmax(axis=1)
    got = run_one(
        lambda p, x, y: p.argmax(x, y, outer=outer, axis=axis, inner=inner, last_index=is_last),
        [x],
        np.int64,
        [outer, inner],
    )
    np.testing.assert_array_equal(got, want)


def test_argmax_of_a_segmentation() -> None:
    x = RNG.integers(0, 256, (129 * 129, 21, 1)).astype(np.uint8)
    for threads in (1, 2, 3):
        got = run_one(
            lambda p, x, y: p.argmax(x, y, outer=129 * 129, axis=21, inner=1),
            [x],
            np.int64,
            [129 * 129, 1],
            threads=threads,
        )
        np.testing.assert_array_equal(got, x.argmax(axis=1))
