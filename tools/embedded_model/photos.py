"""Pictures to learn from: photos and drawings, their split, and how they become numbers.

The split is by a hash of "class/file name": 20 % test (nothing is trained or chosen on it), 8 %
validation, the rest training. A photo is preprocessed as a user of the file would: whole picture
to size x size with Pillow's bilinear filter ("stretch"), RGB, (pixel - 127.5) / 127.5.
"""

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "LABELS",
    "MEAN",
    "STD",
    "Array",
    "Item",
    "hash_unit",
    "load_drawings",
    "load_photos",
    "normalize",
    "stretch",
]

Array = NDArray[Any]

LABELS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
MEAN = STD = 127.5
PAINTER = Path(__file__).resolve().parents[2] / "src/q8tool/image/draw.py"
DRAWING_SIZE = 227
FIRST_TRAINING_SEED = 1000  # drawings with smaller seeds are for the demo and for tests


@dataclass(frozen=True)
class Item:
    """One picture: its name ("class/file" or "drawn/class/seed"), class number and pixels."""

    key: str
    label: int
    image: Image.Image


def load_photos(folder: Path) -> dict[str, list[Item]]:
    """Decode all photos of `folder`/class/*, grouped by part: training, validation, test.

    Raises OSError if a class has no folder or a file is not a photo.
    """
    parts: dict[str, list[Item]] = {"training": [], "validation": [], "test": []}
    for label, name in enumerate(LABELS):
        for path in sorted((folder / name).iterdir()):
            key = f"{name}/{path.name}"
            with Image.open(path) as image:
                parts[_part_of(key)].append(Item(key, label, image.convert("RGB")))
    return parts


def load_drawings(count: int) -> list[Item]:
    """Draw `count` pictures of each class with the package's own painter.

    The painter is loaded from its file: the package may not be installed beside torch.
    """
    spec = importlib.util.spec_from_file_location("draw", PAINTER)
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    sys.modules["draw"] = draw  # where its dataclasses look themselves up
    spec.loader.exec_module(draw)
    return [
        Item(f"drawn/{name}/{seed}", label, draw.draw_flower(name, seed, DRAWING_SIZE))
        for label, name in enumerate(LABELS)
        for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + count)
    ]


def stretch(image: Image.Image, size: int) -> Array:
    """The whole picture at size x size, uint8 HWC: what inference does before normalizing."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def normalize(pixels: Array) -> Array:
    """uint8 NHWC to the float32 NCHW, -1 to 1, that teacher and student take."""
    return np.ascontiguousarray((pixels.astype(np.float32) - MEAN).transpose(0, 3, 1, 2) / STD)


def hash_unit(text: str) -> float:
    """A number in [0, 1) that depends on nothing but the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _part_of(key: str) -> str:
    """Which part of the data a photo belongs to: "test", "validation" or "training"."""
    position = hash_unit(key)
    if position < 0.20:
        return "test"
    return "validation" if position < 0.28 else "training"
