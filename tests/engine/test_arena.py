"""Buffers that live at the same time never share a byte, and the arena is no larger than needed."""

import time

from hypothesis import given
from hypothesis import strategies as st

from q8tool.engine.arena import ALIGNMENT, Lifetime, place

LIFETIMES = st.lists(
    st.builds(
        lambda size, first, length: Lifetime(size, first, first + length),
        st.integers(0, 5000),
        st.integers(0, 20),
        st.integers(0, 8),
    ),
    max_size=40,
)


def padded(size: int) -> int:
    return max(-(-size // ALIGNMENT), 1) * ALIGNMENT


@given(LIFETIMES)
def test_live_buffers_never_overlap(lifetimes: list[Lifetime]) -> None:
    offsets, size = place(lifetimes)
    for index, (one, start) in enumerate(zip(lifetimes, offsets, strict=True)):
        assert start % ALIGNMENT == 0
        assert 0 <= start <= size - padded(one.bytes)
        for other, begin in zip(lifetimes[:index], offsets, strict=False):
            if one.first <= other.last and other.first <= one.last:
                assert start + one.bytes <= begin or begin + other.bytes <= start


@given(LIFETIMES)
def test_the_arena_holds_at_most_all_and_at_least_the_busiest_step(
    lifetimes: list[Lifetime],
) -> None:
    size = place(lifetimes)[1]
    assert size <= sum(padded(one.bytes) for one in lifetimes)
    for step in range(30):
        assert size >= sum(padded(x.bytes) for x in lifetimes if x.first <= step <= x.last)


def test_a_chain_needs_two_buffers() -> None:
    chain = [Lifetime(640, step, step + 1) for step in range(10)]
    assert place(chain)[1] == 2 * 640


def test_the_smallest_gap_is_taken() -> None:
    wide, low, middle = Lifetime(640, 0, 0), Lifetime(320, 0, 1), Lifetime(256, 0, 0)
    late = Lifetime(192, 1, 1)
    offsets, size = place([wide, low, middle, late])
    assert offsets == [0, 640, 960, 0]
    assert size == 640 + 320 + 256


def test_ten_thousand_buffers_take_no_time() -> None:
    """Plans of large graphs: the buffers of a chain, and one that lives all along."""
    count = 10_000
    chain = [Lifetime(128, step, step + 1) for step in range(count)]
    started = time.perf_counter()
    size = place([*chain, Lifetime(64, 0, count)])[1]
    assert time.perf_counter() - started < 5
    assert size == 2 * 128 + 64
