"""Folders of tiny photos that tests make."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def photo(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (24, 20)) -> Path:
    """A noisy photo of about this colour; its noise depends on its name, so no two are equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int(hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).hexdigest()[:8], 16)
    noise = np.random.default_rng(seed).normal(0, 40, (size[1], size[0], 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def colour_folders(root: Path, counts: dict[str, int]) -> Path:
    """root/red/0.png ... so many of each colour."""
    for name, count in counts.items():
        for number in range(count):
            photo(root / name / f"{number}.png", COLOURS[name])
    return root
