"""Photos from disk: found by name, folder or pattern; decoded as people see them.

A photo is turned as its EXIF note says, and becomes RGB whatever it was: grayscale, CMYK, palette,
sixteen bits; transparent parts become white. Of an animation the first picture counts.
"""

import functools
import glob
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import PIL.Image
from PIL import ImageOps, UnidentifiedImageError
from PIL.Image import Image

from q8tool.errors import InputError

__all__ = ["Image", "decode_photo", "find_photos", "load_photo", "readable_suffixes"]

# From so many pixels on a photo must have a byte for so many of them. A JPEG of one colour has.
_LARGE, _MOST_PER_BYTE = 1 << 25, 200
_ORIENTATION = 0x0112  # of EXIF
SUFFIXES = frozenset({".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def find_photos(sources: Sequence[Path | str]) -> list[Path]:
    """Photo files named by sources: files as they are, folders with all below, glob patterns.

    Hidden files of a folder are left out: systems keep previews under names such as ._photo.jpg.
    Sorted within each source, without repetition. Raises InputError if a source does not exist, or
    a folder or pattern has no photo.
    """
    found: dict[Path, None] = {}
    for source in sources:
        found.update(dict.fromkeys(_of_source(Path(source))))
    return list(found)


def _of_source(source: Path) -> list[Path]:
    if source.is_dir():
        photos = sorted(_inside(source))
        if not photos:
            raise InputError(
                f"{source}: no photo in this folder", f"looked for {', '.join(sorted(SUFFIXES))}"
            )
        return photos
    if source.exists():
        return [source]
    # pathlib cannot expand a pattern that begins with an absolute path.
    matches = sorted(Path(name) for name in glob.glob(str(source), recursive=True))  # noqa: PTH207
    if not matches:
        raise InputError(f"{source}: no such file, folder or pattern")
    photos = [path for path in matches if path.is_file()]
    photos += [path for folder in matches if folder.is_dir() for path in sorted(_inside(folder))]
    if not photos:
        raise InputError(f"{source}: no photo in the folders of this pattern")
    return photos


def _inside(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """The endings, such as ".jpg", of all formats that this Pillow reads."""
    PIL.Image.init()
    known = PIL.Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in PIL.Image.OPEN)


def load_photo(path: Path) -> Image:
    """The photo as an RGB image, upright. Raises InputError, naming the file, if it is not one."""
    try:
        content = path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be decoded: {reason}") from error
    with content:
        return _decoded(content, str(path), None)


def decode_photo(content: bytes, name: str, least: tuple[int, int] | None = None) -> Image:
    """The photo in these bytes as an RGB image, upright.

    name     of the file, for messages
    least    height and width that are enough: a JPEG of more than twice that is decoded at a half,
             a quarter or an eighth of its size, which takes a fraction of the time

    Raises InputError if they are no photo.
    """
    return _decoded(io.BytesIO(content), name, least)


def _decoded(content: IO[bytes], name: str, least: tuple[int, int] | None) -> Image:
    try:
        with warnings.catch_warnings():
            # About broken notes inside the file, and about large photos, which are welcome.
            warnings.simplefilter("ignore")
            with PIL.Image.open(content) as image:
                _refuse_bomb(image, content, name)
                if least is not None:
                    # Twice as much as is needed, so that what is left is resized with all care.
                    side = 2 * max(least)
                    image.draft("RGB", (side, side))
                image.load()
                return _as_rgb(_upright(image))
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not a photo") from error
    except PIL.Image.DecompressionBombError as error:
        raise InputError(f"{name}: too many pixels") from error
    except Exception as error:  # broken files make decoders fail in every way there is
        reason = (error.strerror if isinstance(error, OSError) else "") or error
        raise InputError(f"{name}: cannot be decoded: {reason}") from error


def _refuse_bomb(image: Image, content: IO[bytes], name: str) -> None:
    """Refuses a few bytes that decode to gigabytes; a JPEG has one for 170 pixels at the least."""
    pixels = image.width * image.height
    place = content.tell()
    size = content.seek(0, io.SEEK_END)
    content.seek(place)
    if pixels > _LARGE and pixels > _MOST_PER_BYTE * size:
        raise InputError(f"{name}: {pixels:,} pixels in {size:,} bytes: this is no photo")


def _upright(image: Image) -> Image:
    try:
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image  # not a copy of it, which large photos have no memory for
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken note says nothing about which way is up; the picture is there
        return image


def _as_rgb(image: Image) -> Image:
    if image.mode.startswith("I"):
        # Pillow clips sixteen bits to eight; scaling keeps the picture: 65535 becomes 255.
        image = image.convert("I").point(lambda value: value / 257 + 0.5).convert("L")
        image.info.pop("transparency", None)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")
