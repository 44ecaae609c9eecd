"""Photos from disk: found by name, folder or pattern; decoded as people see them.

A photo is turned as its EXIF note says, and becomes RGB whatever it was: grayscale, CMYK, palette,
sixteen bits; transparent parts become white. Of an animation the first picture counts.
"""

import glob
from collections.abc import Sequence
from pathlib import Path

import PIL.Image
from PIL import ImageOps, UnidentifiedImageError
from PIL.Image import Image

from q8tool.errors import InputError

__all__ = ["Image", "find_photos", "load_photo"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def find_photos(sources: Sequence[Path | str]) -> list[Path]:
    """Photo files named by sources: files as they are, folders with all below, glob patterns.

    Sorted within each source, without repetition. Raises InputError if a source does not exist, or
    a folder or pattern has no photo.
    """
    found: dict[Path, None] = {}
    for source in sources:
        found.update(dict.fromkeys(_of_source(Path(source))))
    return list(found)


def _of_source(source: Path) -> list[Path]:
    if source.is_dir():
        inside = (path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
        photos = sorted(path for path in inside if path.is_file())
        if not photos:
            raise InputError(
                f"{source}: no photo in this folder", f"looked for {', '.join(sorted(SUFFIXES))}"
            )
        return photos
    if source.exists():
        return [source]
    # pathlib cannot expand a pattern that begins with an absolute path.
    photos = sorted(Path(name) for name in glob.glob(str(source), recursive=True))  # noqa: PTH207
    if not photos:
        raise InputError(f"{source}: no such file, folder or pattern")
    return [path for path in photos if path.is_file()]


def load_photo(path: Path) -> Image:
    """The photo as an RGB image, upright. Raises InputError, naming the file, if it is not one."""
    try:
        with PIL.Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return _as_rgb(upright)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (UnidentifiedImageError, PIL.Image.DecompressionBombError) as error:
        reason = "too many pixels" if "exceeds limit" in str(error) else "not a photo"
        raise InputError(f"{path}: {reason}") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise InputError(f"{path}: cannot be decoded: {error}") from error


def _as_rgb(image: Image) -> Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow clips sixteen bits to eight; scaling keeps the picture.
        image = image.point(lambda value: value / 257).convert("L")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image)
    return image.convert("RGB")
