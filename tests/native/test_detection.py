"""Non-maximum suppression in C against the rule written out, box by box."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from q8tool.errors import NativeError
from q8tool.native import kept_boxes

Array = NDArray[Any]


def corners(box: Array, is_centered: bool) -> Array:
    if is_centered:
        x, y, w, h = box
        half_w, half_h = w / np.float32(2), h / np.float32(2)
        return np.array([y - half_h, x - half_w, y + half_h, x + half_w], np.float32)
    first, second = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    return np.concatenate([first, second])


def share(a: Array, b: Array) -> np.float32:
    """Intersection over union of two boxes given as corners."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod(np.maximum(high - low, np.float32(0)))
    union = np.prod(b[2:] - b[:2]) + np.prod(a[2:] - a[:2]) - common
    return np.float32(common / union) if union > 0 else np.float32(0)


def expected(
    boxes: Array, scores: Array, limit: int, overlap: float, lowest: float, is_centered: bool
) -> list[int]:
    kept: list[int] = []
    for number in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        here = corners(boxes[number], is_centered)
        others = [corners(boxes[other], is_centered) for other in kept]
        apart = all(share(other, here) <= np.float32(overlap) for other in others)
        if scores[number] > lowest and apart and len(kept) < limit:
            kept.append(number)
    return kept


@given(
    st.integers(0, 70).flatmap(
        lambda n: st.tuples(
            hnp.arrays(np.float32, (n, 4), elements=st.integers(0, 12).map(float)),
            hnp.arrays(np.float32, n, elements=st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5, 3.0])),
        )
    ),
    st.integers(0, 80),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, -0.5]),
    st.sampled_from([-np.inf, 0.0, 0.25]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_keeps_what_the_rule_keeps(
    given_boxes: tuple[Array, Array], limit: int, overlap: float, lowest: float, centered: bool
) -> None:
    boxes, scores = given_boxes
    got = kept_boxes(boxes, scores, limit, overlap, lowest, is_centered=centered)
    assert got.tolist() == expected(boxes, scores, limit, overlap, lowest, centered)


def test_nothing_and_what_is_no_number() -> None:
    boxes = np.array([[0, 0, 1, 1], [np.nan, 0, 1, 1], [0, 0, np.inf, np.inf]], np.float32)
    scores = np.array([1.0, np.nan, np.inf], np.float32)
    got = kept_boxes(boxes, scores, 5, 0.5, -np.inf, is_centered=False)
    assert got.tolist() == [2, 0]
    assert kept_boxes(boxes[:0], scores[:0], 5, 0.5, 0.0, is_centered=False).size == 0


def test_many_boxes_take_more_than_one_call() -> None:
    """30,000 that all stay are 450 million comparisons, more than one call makes."""
    places = np.arange(30_000, dtype=np.float32)
    boxes = np.stack([places, places, places + 0.5, places + 0.5], axis=1)
    got = kept_boxes(boxes, -places, 1 << 40, 0.5, -np.inf, is_centered=False)
    np.testing.assert_array_equal(got, np.arange(30_000))


def test_shapes_are_checked() -> None:
    with pytest.raises(NativeError, match="boxes has shape"):
        kept_boxes(np.zeros((2, 4)), np.zeros(3), 1, 0.5, 0.0, is_centered=False)
