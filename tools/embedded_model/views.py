"""Views: augmented copies of every picture with the teacher's answers, cached on disk."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from embedded_model.log import say
from embedded_model.photos import Array, Item, hash_unit, stretch
from embedded_model.teacher import MAP_CHANNELS, MAP_SIZE, TEACHER_SIZE, load_teacher

__all__ = ["FOLDS", "Views", "make_views"]

FOLDS = 5


@dataclass(frozen=True)
class Views:
    """Augmented copies of the items, `per_item` in a row for each, and the teacher's features."""

    pixels: Array  # uint8 (items * per_item, size, size, 3)
    features: Array  # float16 (items * per_item, teacher width), pooled
    maps: Array  # float16 (items * per_item, MAP_CHANNELS, 7, 7), before pooling, main components
    labels: Array  # int64 (items * per_item,)
    folds: Array  # int64, the same for all views of an item
    per_item: int


def make_views(items: list[Item], per_item: int, size: int, teacher: Path, cache: Path) -> Views:
    """Views of every item (the first is the plain picture) with the teacher's features.

    size         height and width of the student's pictures
    teacher      its ONNX file, opened only if the cache does not have the answers
    cache        folder; a file there is named after the pictures, `per_item` and `size`
    """
    path = cache / f"maps-{_digest(items, per_item, size)}.npz"
    if path.exists():
        stored = np.load(path)
        pixels, features, maps = stored["pixels"], stored["features"], stored["maps"]
    else:
        pixels, features, maps = _compute_views(items, per_item, size, teacher)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, pixels=pixels, features=features, maps=maps)
    labels = np.repeat(np.array([item.label for item in items], np.int64), per_item)
    folds = np.array([int(hash_unit("fold " + item.key) * FOLDS) for item in items])
    return Views(pixels, features, maps, labels, np.repeat(folds, per_item), per_item)


def _digest(items: list[Item], per_item: int, size: int) -> str:
    """What the views depend on, short."""
    digest = hashlib.sha256(f"{per_item} {size}".encode())
    for item in items:
        digest.update(item.key.encode() + item.image.tobytes())
    return digest.hexdigest()[:16]


def _compute_views(
    items: list[Item], per_item: int, size: int, path: Path
) -> tuple[Array, Array, Array]:
    """The uncached work of make_views: pixels for the student, the rest from the teacher."""
    count = len(items) * per_item
    pixels = np.empty((count, size, size, 3), np.uint8)
    maps = np.empty((count, MAP_CHANNELS, MAP_SIZE, MAP_SIZE), np.float16)
    features = []
    teacher = load_teacher(path, items)
    started = time.time()
    for i, item in enumerate(items):
        views = _draw_views(item, per_item)
        mine = slice(i * per_item, (i + 1) * per_item)
        pooled, maps[mine] = teacher.answer(views)
        features.append(pooled)
        # The student gets the plain picture resized once, as at inference.
        pixels[mine] = np.stack([stretch(view, size) for view in [item.image, *views[1:]]])
        if i % 200 == 0:
            say(f"views of {i} of {len(items)} pictures, {time.time() - started:.0f} s")
    return pixels, np.concatenate(features), maps


def _draw_views(item: Item, count: int) -> list[Image.Image]:
    """The plain picture and `count` - 1 random views of it, all in the teacher's size."""
    rng = np.random.default_rng(int(hash_unit("view " + item.key) * 2**53))
    whole = item.image.resize((TEACHER_SIZE, TEACHER_SIZE), Image.Resampling.BILINEAR)
    return [whole] + [_draw_view(item.image, rng) for _ in range(count - 1)]


def _draw_view(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random part of the picture, half of the time rotated, with its own shape kept."""
    if rng.random() < 0.5:
        fill = tuple(int(v) for v in np.asarray(image).mean((0, 1)))
        angle = float(rng.uniform(-25, 25))
        image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=fill)
    width, height = image.size
    area, aspect = rng.uniform(0.3, 1.0), np.exp(rng.uniform(-0.3, 0.3))
    w, h = min(1.0, np.sqrt(area * aspect)) * width, min(1.0, np.sqrt(area / aspect)) * height
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    box = (left, top, left + w, top + h)
    return image.resize((TEACHER_SIZE, TEACHER_SIZE), Image.Resampling.BILINEAR, box=box)
