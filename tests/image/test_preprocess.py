"""Photo and spec to tensor: values, layouts, channel order, what stretch and crop keep."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from q8tool.image.preprocess import to_tensor
from q8tool.image.spec import PRESETS, Spec

PIXELS = np.array(
    [
        [[0, 10, 20], [30, 40, 50]],
        [[60, 70, 80], [90, 100, 110]],
        [[120, 130, 140], [253, 254, 255]],
    ],
    np.uint8,
)
PHOTO = Image.fromarray(PIXELS)
# As many pixels as the photo has, so that nothing is resampled.
RAW = Spec((3, 2), *PRESETS["raw"])


def test_raw_pixels_in_both_layouts() -> None:
    nchw = to_tensor(PHOTO, RAW)
    assert nchw.dtype == np.float32
    assert nchw.flags.c_contiguous
    np.testing.assert_array_equal(nchw, PIXELS.transpose(2, 0, 1)[None])
    nhwc = to_tensor(PHOTO, replace(RAW, layout="NHWC"))
    np.testing.assert_array_equal(nhwc, PIXELS[None])


def test_bgr_turns_the_channels_and_means_are_in_their_order() -> None:
    spec = replace(RAW, channels="BGR", mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0))
    got = to_tensor(PHOTO, spec)
    np.testing.assert_array_equal(got[0, :, 0, 1], [(50 - 1) / 1, (40 - 2) / 2, (30 - 3) / 4])


# Pixel (253, 254, 255) by the formula of each preset, in float64.
@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("mobilenet", (125.5 / 127.5, 126.5 / 127.5, 1.0)),
        ("imagenet", ((253 - 123.675) / 58.395, (254 - 116.28) / 57.12, (255 - 103.53) / 57.375)),
        ("unit", (253 / 255, 254 / 255, 1.0)),
        ("raw", (253.0, 254.0, 255.0)),
    ],
)
def test_presets(preset: str, expected: tuple[float, ...]) -> None:
    got = to_tensor(PHOTO, Spec((3, 2), *PRESETS[preset]))
    np.testing.assert_allclose(got[0, :, 2, 1], expected, rtol=1e-6)


def test_one_channel_is_brightness() -> None:
    got = to_tensor(PHOTO, Spec((3, 2), (0.0,), (1.0,)))
    assert got.shape == (1, 1, 3, 2)
    # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.
    np.testing.assert_allclose(got[0, 0, 0], [0 + 5.87 + 2.28, 8.97 + 23.48 + 5.7], rtol=1e-6)
    assert to_tensor(PHOTO, Spec((3, 2), (0.0,), (1.0,), "NHWC")).shape == (1, 3, 2, 1)


def test_stretch_is_pillows_bilinear_over_the_whole_photo(rng: np.random.Generator) -> None:
    photo = Image.fromarray(rng.integers(0, 256, (50, 81, 3), np.uint8))
    got = to_tensor(photo, Spec((20, 30), *PRESETS["raw"], layout="NHWC"))
    expected = np.asarray(photo.resize((30, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(got[0], expected)


def ramp(width: int, height: int) -> Image.Image:
    """Red counts columns, green rows."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))


@pytest.mark.parametrize(("width", "height"), [(256, 128), (128, 256), (200, 200), (160, 120)])
@pytest.mark.parametrize("size", [(56, 56), (28, 42), (112, 112)])
def test_crop_takes_the_middle_and_keeps_shapes(
    width: int, height: int, size: tuple[int, int]
) -> None:
    spec = Spec(size, *PRESETS["raw"], layout="NHWC", resize="crop")
    got = to_tensor(ramp(width, height), spec)[0]
    # Source pixels per result pixel, the same both ways: one side keeps 0.875 of the photo's.
    step = 0.875 * min(height / size[0], width / size[1])

    def along(length: int, count: int) -> Any:
        """Places in the photo of the centres of `count` result pixels around its middle."""
        return length / 2 + (np.arange(count) + 0.5 - count / 2) * step - 0.5

    columns, rows = got[size[0] // 2, :, 0], got[:, size[1] // 2, 1]
    np.testing.assert_allclose(columns[2:-2], along(width, size[1])[2:-2], atol=0.75)
    np.testing.assert_allclose(rows[2:-2], along(height, size[0])[2:-2], atol=0.75)


def test_crop_is_resizing_the_short_side_and_then_cutting(rng: np.random.Generator) -> None:
    coarse = Image.fromarray(rng.integers(0, 256, (10, 20, 3), np.uint8))
    photo = coarse.resize((600, 300), Image.Resampling.BICUBIC)
    spec = Spec((224, 224), *PRESETS["raw"], layout="NHWC", resize="crop")
    short = photo.resize((512, 256), Image.Resampling.BILINEAR)
    expected = np.asarray(short.crop((144, 16, 368, 240)), np.float32)
    assert np.abs(to_tensor(photo, spec)[0] - expected).max() <= 1.0


@pytest.mark.parametrize("resize", ["stretch", "crop"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_photos_of_any_shape(resize: str, shape: tuple[int, int]) -> None:
    photo = Image.new("RGB", shape, (7, 8, 9))
    spec = Spec.from_dict(Spec((5, 6), *PRESETS["raw"]).to_dict() | {"resize": resize})
    got = to_tensor(photo, spec)
    assert got.shape == (1, 3, 5, 6)
    assert [np.unique(channel).tolist() for channel in got[0]] == [[7.0], [8.0], [9.0]]
