"""Photos from disk: every format and mode, turned upright, found in folders."""

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from q8tool.errors import InputError
from q8tool.image.load import find_photos, load_photo

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(folder: Path, name: str, pixels: Any, mode: str, **options: Any) -> Path:
    """A file of these pixels, given as rows of values of this mode."""
    kind = np.uint16 if mode == "I;16" else np.uint8
    array = np.array(pixels, kind)
    image = Image.new(mode, (array.shape[1], array.shape[0]))
    image.putdata([tuple(v) if isinstance(v, list) else v for row in array.tolist() for v in row])
    if mode == "P":
        image.putpalette([*RED, *GREEN, *BLUE])
    image.save(folder / name, **options)
    return folder / name


def loaded(path: Path) -> list[list[tuple[int, ...]]]:
    image = load_photo(path)
    assert image.mode == "RGB"
    return [[tuple(v) for v in row] for row in np.asarray(image).tolist()]


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.bmp", {}), ("a.webp", {"lossless": True}), ("a.tif", {}),
     ("A.PNG", {}), ("really_a_png.jpg", {"format": "PNG"})],
)  # fmt: skip
def test_colours_without_loss(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    pixels = [[RED, (1, 2, 3)], [(254, 128, 127), BLUE]]
    assert loaded(save(tmp_path, name, pixels, "RGB", **options)) == pixels


@pytest.mark.parametrize(
    ("mode", "name", "pixels", "expected", "options"),
    [
        ("L", "a.png", [[0, 77, 255]], [[(0, 0, 0), (77, 77, 77), WHITE]], {}),
        ("1", "a.png", [[0, 255]], [[(0, 0, 0), WHITE]], {}),
        ("P", "a.png", [[0, 1, 2]], [[RED, GREEN, BLUE]], {}),
        ("P", "a.gif", [[0, 1, 2]], [[RED, GREEN, BLUE]], {}),
        # Transparent parts are white: a colour of the palette, of a gray or a colour picture.
        ("P", "a.png", [[0, 1, 2]], [[RED, WHITE, BLUE]], {"transparency": 1}),
        ("P", "a.gif", [[0, 1, 2]], [[RED, WHITE, BLUE]], {"transparency": 1}),
        ("L", "a.png", [[3, 4]], [[(3, 3, 3), WHITE]], {"transparency": 4}),
        ("RGB", "a.png", [[RED, GREEN]], [[RED, WHITE]], {"transparency": GREEN}),
        # Half of a colour and half of white: 200 * 0.6 + 255 * 0.4 = 222, 0 * 0.6 + 102 = 102.
        ("RGBA", "a.png", [[(200, 0, 0, 153)]], [[(222, 102, 102)]], {}),
        ("RGBA", "a.png", [[(9, 9, 9, 0), (9, 8, 7, 255)]], [[WHITE, (9, 8, 7)]], {}),
        ("RGBA", "a.webp", [[(9, 9, 9, 0), (9, 8, 7, 255)]], [[WHITE, (9, 8, 7)]],
         {"lossless": True, "exact": True}),
        ("LA", "a.png", [[(100, 0), (100, 255), (0, 51)]],
         [[WHITE, (100, 100, 100), (204, 204, 204)]], {}),
        # Sixteen bits: 65535 / 257 = 255, 32896 / 257 = 128, and rounded: 385 / 257 = 1.498 is 1,
        # 386 / 257 = 1.502 is 2.
        ("I;16", "a.png", [[0, 257, 32896, 65535, 385, 386]],
         [[(v, v, v) for v in (0, 1, 128, 255, 1, 2)]], {}),
        ("I;16", "a.tif", [[0, 32896]], [[(0, 0, 0), (128, 128, 128)]], {}),
        # Ink takes light away: full cyan leaves green and blue, black ink nothing.
        ("CMYK", "a.tif", [[(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), (0, 255, 255, 0)]],
         [[WHITE, (0, 255, 255), (0, 0, 0), RED]], {}),
    ],
)  # fmt: skip
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, name: str, pixels: Any, expected: Any, options: dict[str, Any]
) -> None:
    got = loaded(save(tmp_path, name, pixels, mode, **options))
    np.testing.assert_allclose(got, expected, atol=1 if mode in ("RGBA", "LA") else 0)


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [("RGB", (200, 100, 50), (200, 100, 50)), ("L", 90, (90, 90, 90)),
     ("CMYK", (55, 155, 205, 0), (200, 100, 50)), ("YCbCr", (76, 85, 255), (254, 0, 0))],
)  # fmt: skip
def test_jpeg_of_one_colour(tmp_path: Path, mode: str, pixel: Any, expected: Any) -> None:
    image = Image.new(mode, (16, 16), pixel)
    image.save(tmp_path / "a.jpg", quality=100)
    got = np.asarray(load_photo(tmp_path / "a.jpg"))
    assert got.shape == (16, 16, 3)
    assert np.abs(got.astype(int) - expected).max() <= 2


def test_gray_of_sixteen_bits_with_the_high_byte_first(tmp_path: Path) -> None:
    data = struct.pack(">4H", 0, 257, 32896, 65535)
    Image.frombytes("I;16B", (4, 1), data).save(tmp_path / "a.tif")
    assert loaded(tmp_path / "a.tif") == [[(v, v, v) for v in (0, 1, 128, 255)]]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_colours_of_sixteen_bits(tmp_path: Path) -> None:
    # Pillow reads but does not write them: one line, no filter, big-endian.
    line = b"\0" + struct.pack(">6H", 0, 128 * 257, 65535, 255 * 256, 256, 64 * 257)
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(line)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)
    (tmp_path / "a.png").write_bytes(data)
    assert loaded(tmp_path / "a.png") == [[(0, 128, 255), (255, 1, 64)]]


def test_the_first_picture_of_an_animation(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (2, 2), RED), Image.new("RGB", (2, 2), BLUE)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert loaded(tmp_path / "a.gif") == [[RED] * 2] * 2


# The standard's eight ways to hold a camera (EXIF 2.3, tag 274), undone by numpy.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    note = Image.Exif()
    note[274] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=note, lossless=True)
    got = np.asarray(load_photo(tmp_path / f"a.{suffix}"))[..., 0]
    np.testing.assert_array_equal(got, UPRIGHT[orientation](stored))


def test_exif_orientation_of_a_jpeg(tmp_path: Path) -> None:
    # Left half black; held so that a quarter turn clockwise makes it upright: black is above.
    stored = np.repeat(np.array([[0, 255]], np.uint8), 16, axis=0).repeat(16, axis=1)
    note = Image.Exif()
    note[274] = 6
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=note)
    got = np.asarray(load_photo(tmp_path / "a.jpg"))[..., 0]
    assert got.shape == (32, 16)
    assert got[:12].max() < 50
    assert got[20:].min() > 200


@pytest.mark.parametrize("note", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
def test_a_broken_note_does_not_hide_the_picture(tmp_path: Path, note: bytes) -> None:
    Image.new("RGB", (4, 2), RED).save(tmp_path / "a.jpg", exif=note)
    assert load_photo(tmp_path / "a.jpg").size == (4, 2)


def test_large_photos_are_welcome_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, "a.png", [[RED] * 5] * 3, "RGB")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert load_photo(path).size == (5, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(InputError, match=r"a\.png: too many pixels"):
        load_photo(path)


def test_files_that_are_no_photos(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "empty.jpg").touch()
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    for name, reason in (
        ("text.jpg", "not a photo"),
        ("empty.jpg", "not a photo"),
        ("cut.jpg", "cannot be decoded: image file is truncated"),
        ("cut.png", "cannot be decoded: "),
        ("absent.jpg", "no such file"),
    ):
        with pytest.raises(InputError) as caught:
            load_photo(tmp_path / name)
        assert caught.value.message.startswith(f"{tmp_path / name}: {reason}")
    with pytest.raises(InputError, match="Is a directory"):
        load_photo(tmp_path)


def test_damaged_photos_are_read_or_refused_but_never_crash(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    for suffix in ("png", "jpg", "gif", "bmp", "webp", "tif"):
        path = tmp_path / f"a.{suffix}"
        Image.effect_noise((24, 24), 80).save(path)
        whole = bytearray(path.read_bytes())
        for _ in range(40):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 8):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            with contextlib.suppress(InputError):
                assert load_photo(path).mode == "RGB"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "notes.txt", "._b.jpg", "[1].bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "d.jpg").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["b.jpg", "a.PNG"], ["b.jpg", "a.PNG"]),
        (["."], ["[1].bmp", "a.PNG", "b.jpg", "deep/er/c.webp"]),
        (["b.jpg", ".", "b.jpg"], ["b.jpg", "[1].bmp", "a.PNG", "deep/er/c.webp"]),
        (["notes.txt"], ["notes.txt"]),
        (["?.*[gG]"], ["a.PNG", "b.jpg"]),
        (["**/*.webp"], ["deep/er/c.webp"]),
        (["de*"], ["deep/er/c.webp"]),
        (["[1].bmp"], ["[1].bmp"]),
    ],
)
def test_find_photos(
    folder: Path, sources: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert [os.fspath(path) for path in find_photos(sources)] == expected
    absolute = find_photos([folder / source for source in sources])
    assert absolute == [folder / name for name in expected]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.jpg", "absent.jpg: no such file, folder or pattern"),
        ("*.tiff", r"\*.tiff: no such file, folder or pattern"),
        ("empty", "empty: no photo in this folder"),
        ("emp*", r"emp\*: no photo in the folders of this pattern"),
    ],
)
def test_sources_without_photos(folder: Path, source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_photos([folder / source])


def test_few_bytes_of_many_pixels(tmp_path: Path) -> None:
    """48 million white pixels: a megabyte of zeros deflates to a kilobyte."""
    path = tmp_path / "bomb.png"
    Image.new("L", (8000, 6000), 255).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"48,000,000 pixels in [\d,]+ bytes"):
        load_photo(path)
