"""Distort: a photo as it might have been taken as well: mirrored, closer, elsewhere, brighter."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["Distortion", "distort"]


@dataclass(frozen=True)
class Distortion:
    """How far a copy of a photo may be from it; the four of 2016, percentages.

    mirror      left and right exchanged in every other copy, the first included
    crop        sides of the part that is cut out, at most so much shorter; where, is random
    scale       sides of the part at most so much shorter again
    brightness  values multiplied by at most so much more or less
    """

    mirror: bool = False
    crop: int = 0
    scale: int = 0
    brightness: int = 0

    @property
    def is_none(self) -> bool:
        """Whether copies would equal the photo."""
        return not (self.mirror or self.crop or self.scale or self.brightness)

    def copy_name(self, number: int, seed: int) -> str:
        """What tells one distorted copy of a photo from the others; "" is the photo itself."""
        flags = f"mirror={int(self.mirror)} crop={self.crop} scale={self.scale}"
        return f"{flags} brightness={self.brightness} seed={seed} copy={number}"


def distort(photo: Image.Image, how: Distortion, number: int, seed: Sequence[int]) -> Image.Image:
    """Copy `number` (from 0) of an RGB photo; the same seed gives the same copy.

    Source: add_input_distortions of TensorFlow's retrain.py, 2016; the crop keeps its shape.
    """
    rng = np.random.default_rng([*seed, number])
    share = 1.0 / ((1.0 + how.crop / 100.0) * rng.uniform(1.0, 1.0 + how.scale / 100.0))
    width, height = photo.width * share, photo.height * share
    left = rng.uniform(0.0, photo.width - width)
    top = rng.uniform(0.0, photo.height - height)
    factor = rng.uniform(1.0 - how.brightness / 100.0, 1.0 + how.brightness / 100.0)
    if share < 1.0:
        box = (left, top, left + width, top + height)
        photo = photo.resize(photo.size, Image.Resampling.BILINEAR, box=box)
    if how.brightness:
        photo = photo.point(lambda value: value * factor)
    if how.mirror and number % 2 == 0:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return photo
