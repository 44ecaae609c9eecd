"""Specs: their JSON form, their ranges, and notes in models that make no sense."""

from typing import Any

import pytest

from q8tool.errors import InputError
from q8tool.image.spec import PRESETS, Spec

SPEC = Spec((240, 320), (104.0, 117.0, 123.0), (1.0, 2.0, 4.0), "NHWC", "BGR", "crop")


def test_json_and_back() -> None:
    assert SPEC.to_dict() == {
        "size": [240, 320], "mean": [104.0, 117.0, 123.0], "std": [1.0, 2.0, 4.0],
        "layout": "NHWC", "channels": "BGR", "resize": "crop",
    }  # fmt: skip
    assert Spec.from_dict(SPEC.to_dict()) == SPEC


def test_what_is_not_said_is_usual() -> None:
    spec = Spec.from_dict({"size": [8, 8], "mean": [0], "std": [255]})
    assert (spec.layout, spec.channels, spec.resize) == ("NCHW", "RGB", "stretch")


@pytest.mark.parametrize(
    ("preset", "low", "high"),
    [("mobilenet", -1.0, 1.0), ("unit", 0.0, 1.0), ("raw", 0.0, 255.0),
     ("imagenet", -123.675 / 58.395, (255 - 103.53) / 57.375)],
)  # fmt: skip
def test_range_of_presets(preset: str, low: float, high: float) -> None:
    assert Spec((1, 1), *PRESETS[preset]).range == pytest.approx((low, high))


def test_range_with_a_negative_divisor() -> None:
    assert Spec((1, 1), (0.0,), (-255.0,)).range == (-1.0, 0.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", None), ("size", [224]), ("size", "big"), ("size", [0, 224]), ("size", [-1, 2]),
        ("mean", "a"), ("mean", [1.0, 2.0]), ("mean", None), ("std", [0.0, 1.0, 1.0]),
        ("std", [1.0]), ("layout", "NCWH"), ("channels", "RBG"), ("resize", 7),
    ],
)  # fmt: skip
def test_notes_that_make_no_sense(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=r"metadata q8tool\.preprocess: "):
        Spec.from_dict(SPEC.to_dict() | {key: value})


def test_a_note_without_size() -> None:
    with pytest.raises(InputError, match="size"):
        Spec.from_dict({"mean": [0], "std": [1]})
