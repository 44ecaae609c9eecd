"""Samples: a photo is decoded once, unless too many are in memory."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import InputError
from q8tool.image.load import load_photo
from q8tool.image.spec import Spec
from q8tool.pipelines import samples
from q8tool.pipelines.samples import PhotoSamples, load_arrays


@pytest.mark.parametrize(("most", "decoded"), [(1 << 20, 3), (2 * 8 * 8 * 3, 4)])
def test_photos_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, decoded: int
) -> None:
    """Three photos, looked at twice: with memory for two the third is decoded again."""
    seen: list[Path] = []

    def load(path: Path) -> Image.Image:
        seen.append(path)
        return load_photo(path)

    monkeypatch.setattr(samples, "load_photo", load)
    monkeypatch.setattr(samples, "MOST_KEPT", most)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.new("RGB", (16, 16), (i, 2 * i, 200)).save(path)
    info = TensorInfo("x", np.dtype(np.float32), (1, 3, 8, 8))
    photos = PhotoSamples(paths, info, Spec((8, 8), (0.0,) * 3, (1.0,) * 3))
    for _ in range(2):
        feeds = [sample.feeds["x"] for sample in photos.at(range(3))]
        assert [array[0, :, 0, 0].tolist() for array in feeds] == [
            [0, 0, 200], [1, 2, 200], [2, 4, 200],
        ]  # fmt: skip
    assert len(seen) == decoded


def test_what_is_no_array_in_an_archive_is_passed_over(tmp_path: Path) -> None:
    """Notes beside the arrays; a damaged header makes an array one of them."""
    path = tmp_path / "d.npz"
    np.savez(path, x=np.ones((2, 3), np.float32))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "two samples")
        archive.writestr("z.npy", b"\0NUMPY")
    info = TensorInfo("x", np.dtype(np.float32), (1, 3))
    (first, _) = load_arrays(path, [info]).at(range(2))
    np.testing.assert_array_equal(first.feeds["x"], np.ones((1, 3)))
    with pytest.raises(InputError, match="no array for input 'z'"):
        load_arrays(path, [info, info._replace(name="z")])
