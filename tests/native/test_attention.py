"""Attention of heads, of codes and of floats, against numpy in double precision."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.errors import NativeError
from q8tool.native import Plan
from tests.native.one_step import ISAS, Array, run_one

RNG = np.random.default_rng(11)
SIZES = st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 40)] * 2, *[st.integers(1, 70)] * 2)
CODE = st.integers(0, 255)


def split_rows(rows: int, heads: int, length: int) -> tuple[int, int, int, int]:
    """Offset and strides of [batch, row, head, element], where rows hold all heads."""
    return 0, rows * heads * length, length, heads * length


def exact(q: Array, k: Array, v: Array, mask: Array, scale: float, p_scale: float) -> Array:
    """[batch, row, head, element] in double; the softmax rounded to codes if p_scale is not 0."""
    scores = np.einsum("bmhd,bnhd->bhmn", q.astype(float), k.astype(float)) * scale
    scores = scores + mask[:, None, None, :]
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    if p_scale:
        p = np.clip(np.rint(p / p_scale), 0, 255) * p_scale
    result: Array = np.einsum("bhmn,bnhv->bmhv", p, v.astype(float))
    return result


def run(
    arrays: Sequence[Array], sizes: Sequence[int], dtype: type, isa: str, threads: int = 1, **n: Any
) -> Array:
    batches, heads, rows, columns, depth, value_depth = sizes
    places = {
        "q": split_rows(rows, heads, depth),
        "k": split_rows(columns, heads, depth),
        "v": split_rows(columns, heads, value_depth),
        "y": split_rows(rows, heads, value_depth),
        "mask": (0, columns, 0, 0),
    }

    def add(plan: Plan, q: int, k: int, v: int, mask: int, y: int) -> None:
        plan.attention(q, k, v, y, mask, sizes=sizes, places=places, **n)

    shape = (batches, rows, heads, value_depth)
    return run_one(add, arrays, dtype, shape, isa=isa, threads=threads)


@given(SIZES, st.sampled_from(ISAS))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_floats(sizes: tuple[int, ...], isa: str) -> None:
    batches, heads, rows, columns, depth, value_depth = sizes
    q, k, v = (
        RNG.standard_normal(shape).astype(np.float32)
        for shape in (
            (batches, rows, heads, depth),
            (batches, columns, heads, depth),
            (batches, columns, heads, value_depth),
        )
    )
    mask = RNG.standard_normal((batches, columns)).astype(np.float32)
    got = run([q, k, v, mask], sizes, np.float32, isa, scale=0.3)
    np.testing.assert_allclose(got, exact(q, k, v, mask, 0.3, 0), rtol=0, atol=2e-5)


@given(SIZES, CODE, CODE, CODE, st.booleans(), st.sampled_from(ISAS))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_codes(
    sizes: tuple[int, ...], q_zero: int, k_zero: int, v_zero: int, gives_codes: bool, isa: str
) -> None:
    batches, heads, rows, columns, depth, value_depth = sizes
    q, k, v = (
        RNG.integers(0, 256, shape).astype(np.uint8)
        for shape in (
            (batches, rows, heads, depth),
            (batches, columns, heads, depth),
            (batches, columns, heads, value_depth),
        )
    )
    mask = (RNG.standard_normal((batches, columns)) * 2).astype(np.float32)
    scale = 4.0 / (128 * 128 * np.sqrt(depth))
    numbers = {
        "scale": scale, "q_zero_point": q_zero, "k_zero_point": k_zero, "v_zero_point": v_zero,
        "p_scale": 1 / 255, "multiplier": 1 / 255 / (2.37 if gives_codes else 1.0),
        "y_zero_point": 128,
    }  # fmt: skip
    dtype = np.uint8 if gives_codes else np.float32
    got = run([q, k, v, mask], sizes, dtype, isa, **numbers).astype(float)
    centred = [a.astype(float) - zero for a, zero in ((q, q_zero), (k, k_zero), (v, v_zero))]
    want = exact(centred[0], centred[1], centred[2], mask, scale, 1 / 255)
    if gives_codes:
        want = np.clip(np.rint(want / 2.37) + 128, 0, 255)
    # A probability on the edge between two codes may fall to either side.
    step = np.abs(centred[2]).max() / 255
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1 + step if gives_codes else 2 * step)
    if got.size > 200:
        assert np.mean(np.abs(got - want) > 1e-3) < 0.05


@pytest.mark.parametrize("isa", ISAS)
def test_the_same_bytes_on_every_thread_count(isa: str) -> None:
    sizes = (1, 2, 300, 70, 64, 64)
    q, k, v = (RNG.integers(0, 256, (1, n, 2, 64)).astype(np.uint8) for n in (300, 70, 70))
    mask = np.zeros((1, 70), np.float32)
    numbers: dict[str, Any] = {
        "scale": 1e-4,
        "v_zero_point": 100,
        "p_scale": 1 / 255,
        "multiplier": 1 / 255,
    }
    results = [
        run([q, k, v, mask], sizes, np.uint8, isa, threads, **numbers) for threads in (1, 2, 3)
    ]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_a_row_of_nothing_but_masked_columns_is_the_low_end() -> None:
    sizes = (1, 1, 2, 5, 4, 4)
    codes = RNG.integers(0, 256, (1, 5, 1, 4)).astype(np.uint8)
    mask = np.full((1, 5), -np.inf, np.float32)
    numbers: dict[str, Any] = {"scale": 1e-3, "p_scale": 1 / 255, "multiplier": 1.0}
    for isa in ISAS:
        got = run([codes[:, :2], codes, codes, mask], sizes, np.float32, isa, **numbers)
        assert not got.any()


@pytest.mark.parametrize("p_zero", [0, 3])
def test_rows_that_see_nothing_are_zero_if_asked_for(p_zero: int) -> None:
    sizes = (2, 1, 2, 5, 4, 4)
    codes = RNG.integers(0, 256, (2, 5, 1, 4)).astype(np.uint8)
    mask = np.full((2, 5), -np.inf, np.float32)
    mask[1, 3] = 0.5  # the only column that the second batch sees
    numbers: dict[str, Any] = {
        "scale": 1e-3, "p_scale": 1 / 252, "p_zero_point": p_zero, "multiplier": 1 / 252,
        "v_zero_point": 7, "zero_hidden": True,
    }  # fmt: skip
    for isa in ISAS:
        got = run([codes[:, :2], codes, codes, mask], sizes, np.float32, isa, **numbers)
        assert not got[0].any()
        seen = np.broadcast_to(codes[1, 3] - np.float32(7), (2, 1, 4))
        np.testing.assert_allclose(got[1], seen, atol=1e-4)
        floats = codes.astype(np.float32)
        feeds = [floats[:, :2], floats, floats, mask]
        got = run(feeds, sizes, np.float32, isa, scale=1e-3, zero_hidden=True)
        assert not got[0].any()
        np.testing.assert_allclose(got[1], np.broadcast_to(floats[1, 3], (2, 1, 4)), atol=1e-4)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("empty", {"sizes": (1, 0, 4, 4, 8, 8)}),
        ("outside", {"sizes": (1, 2, 5, 4, 8, 8)}),
        ("outside", {"q": (-1, 64, 8, 16)}),
        ("outside", {"k": (2**62, 64, 8, 16)}),
        ("outside", {"v": (0, 2**62, 2**62, 16)}),
        ("overlap", {"v": (0, 64, 8, 7)}),
        ("overlap", {"y": (0, 64, 0, 16)}),
        ("zero point", {"q_zero_point": 256}),
        ("scale", {"p_scale": 0.0}),
        ("scale", {"p_scale": float("nan")}),
        ("limits", {"y_low": 7, "y_high": 6}),
        ("type", {"mask": "q"}),
    ],
)
def test_hostile_arguments(text: str, changed: dict[str, Any]) -> None:
    places = {name: changed.pop(name, (0, 64, 8, 16)) for name in ("q", "k", "v", "y")}
    numbers: dict[str, Any] = {"sizes": (1, 2, 4, 4, 8, 8), "scale": 1.0, "p_scale": 0.1}
    numbers.update(changed)
    with Plan() as plan:
        ids = [plan.tensor(np.uint8, (64,), None) for _ in range(4)]
        mask = ids[0] if numbers.pop("mask", None) else None
        with pytest.raises(NativeError, match=text):
            plan.attention(ids[0], ids[1], ids[2], ids[3], mask, places=places, **numbers)
