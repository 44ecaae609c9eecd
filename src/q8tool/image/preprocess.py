"""Preprocess: an RGB photo and a Spec become the input tensor.

photo --resized--> pixels, a quarter of the tensor's bytes --normalized--> tensor
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from q8tool.image.spec import Spec

__all__ = ["normalized", "resized", "to_tensor"]

# The share of the short side that the centre crop keeps: 224 of 256, as everybody evaluates.
CROP = 0.875


def to_tensor(photo: Image.Image, spec: Spec) -> NDArray[np.float32]:
    """float32 (1, C, H, W) or (1, H, W, C) by spec.layout: (pixel - mean) / std.

    photo: RGB. Bilinear with antialiasing. One-channel specs get the photo's brightness.
    """
    return normalized(resized(photo, spec), spec)


def resized(photo: Image.Image, spec: Spec) -> NDArray[np.uint8]:
    """The pixels of an RGB photo that the spec's size and resize rule leave, (H, W, 3)."""
    return np.array(_resized(photo, spec))


def normalized(pixels: NDArray[np.uint8], spec: Spec) -> NDArray[np.float32]:
    """What to_tensor makes of resized pixels."""
    values: NDArray[Any] = pixels
    if len(spec.mean) == 1:
        values = values.astype(np.float32) @ np.asarray([[0.299], [0.587], [0.114]], np.float32)
    elif spec.channels == "BGR":
        values = values[..., ::-1]
    shape: tuple[int, ...] = (-1,)
    if spec.layout == "NCHW":
        values, shape = values.transpose(2, 0, 1), (-1, 1, 1)
    # Bytes move to their places four times as fast as floats.
    tensor = np.ascontiguousarray(values[None]).astype(np.float32)
    tensor -= np.asarray(spec.mean, np.float32).reshape(shape)
    tensor /= np.asarray(spec.std, np.float32).reshape(shape)
    return tensor


def _resized(photo: Image.Image, spec: Spec) -> Image.Image:
    height, width = spec.size
    bilinear = Image.Resampling.BILINEAR
    if spec.resize == "stretch":
        return photo.resize((width, height), bilinear)
    # The part of the photo that ends up inside, cut and resized in one step.
    factor = CROP * min(photo.width / width, photo.height / height)
    cut_width, cut_height = width * factor, height * factor
    left, top = (photo.width - cut_width) / 2, (photo.height - cut_height) / 2
    box = (left, top, left + cut_width, top + cut_height)
    return photo.resize((width, height), bilinear, box=box)
