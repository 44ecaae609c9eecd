"""Drawn flowers: the same every time, of the asked size, and different where they should be."""

import numpy as np
import pytest

from q8tool.image.draw import FLOWERS, draw_flower


def pixels(kind: str, seed: int, size: int = 96) -> np.ndarray:
    return np.asarray(draw_flower(kind, seed, size)).astype(int)


def test_kinds_are_the_classes_of_the_embedded_model() -> None:
    assert FLOWERS == ("daisy", "dandelion", "rose", "sunflower", "tulip")


@pytest.mark.parametrize("kind", FLOWERS)
def test_same_kind_and_seed_give_the_same_picture(kind: str) -> None:
    assert draw_flower(kind, 7, 64).tobytes() == draw_flower(kind, 7, 64).tobytes()


@pytest.mark.parametrize("kind", FLOWERS)
def test_another_seed_gives_another_picture(kind: str) -> None:
    difference = np.abs(pixels(kind, 1) - pixels(kind, 2))
    assert difference.mean() > 2


def test_every_kind_looks_different_in_the_middle() -> None:
    middles = [pixels(kind, 1)[30:54, 36:60].mean((0, 1)) for kind in FLOWERS]
    for i, one in enumerate(middles):
        for other in middles[i + 1 :]:
            assert np.abs(one - other).max() > 10


@pytest.mark.parametrize("size", [1, 17, 320])
def test_picture_is_rgb_and_has_the_asked_size(size: int) -> None:
    image = draw_flower("rose", 3, size)
    assert image.mode == "RGB"
    assert image.size == (size, size)


def test_default_size_is_320_pixels() -> None:
    assert draw_flower("tulip", 1).size == (320, 320)


def test_sky_is_above_and_grass_below() -> None:
    picture = pixels("daisy", 4)
    red, green, blue = picture[:6].mean((0, 1))
    assert blue > green > red
    red, green, blue = picture[-6:].mean((0, 1))
    assert green > red
    assert green > blue


def test_daisy_is_white_around_yellow() -> None:
    picture = pixels("daisy", 5).reshape(-1, 3)
    white = (picture.min(1) > 225).mean()
    yellow = ((picture[:, 0] > 180) & (picture[:, 1] > 120) & (picture[:, 2] < 90)).mean()
    assert white > 0.05
    assert 0.005 < yellow < white


def test_negative_and_huge_seeds_work() -> None:
    assert draw_flower("tulip", -1, 32).tobytes() != draw_flower("tulip", 10**30, 32).tobytes()


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown flower 'orchid', known are daisy, .*tulip"):
        draw_flower("orchid", 1)


@pytest.mark.parametrize("size", [0, -5])
def test_size_must_be_positive(size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        draw_flower("daisy", 1, size)
