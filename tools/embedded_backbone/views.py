"""Views: augmented copies of every picture with the teacher's three answers, cached on disk."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from PIL import Image

from embedded_backbone.pictures import Picture
from embedded_model.inference import open_session
from embedded_model.log import say
from embedded_model.photos import Array, hash_unit, normalize, stretch
from embedded_model.teacher import MAP_CHANNELS, MAP_SIZE, TEACHER_SIZE, load_teacher

__all__ = ["Views", "make_views"]

SMALLEST = 1e-7  # probabilities below it are not told apart


@dataclass(frozen=True)
class Views:
    """Augmented copies of the pictures, and what the teacher says of each."""

    pixels: Array  # uint8 (views, size, size, 3)
    features: Array  # float16 (views, teacher width), pooled
    maps: Array  # float16 (views, MAP_CHANNELS, 7, 7), before pooling, main components
    scores: Array  # float16 (views, teacher's classes), logarithms of probabilities
    labels: Array  # int64 (views,), NO_CLASS where it is no flower


def make_views(pictures: list[Picture], size: int, teacher: Path, cache: Path) -> Views:
    """Views of every picture (the first is the plain one) with the teacher's answers.

    size         height and width of the student's pictures
    teacher      its ONNX file, opened only if the cache does not have the answers
    cache        folder; a file there is named after the pictures, the counts and `size`
    """
    path = cache / f"backbone-{_digest(pictures, size)}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        arrays = _compute_views(pictures, size, teacher)
        part = path.with_suffix(".part.npz")
        np.savez(part, allow_pickle=False, **arrays)
        part.replace(path)
    labels = [np.full(count, item.label, np.int64) for item, count in pictures]
    with np.load(path) as stored:
        return Views(labels=np.concatenate(labels), **stored)


def _digest(pictures: list[Picture], size: int) -> str:
    """What the views depend on, short."""
    digest = hashlib.sha256(str(size).encode())
    for item, count in pictures:
        digest.update(f"{item.key} {count}".encode() + item.image.tobytes())
    return digest.hexdigest()[:16]


def _compute_views(pictures: list[Picture], size: int, path: Path) -> dict[str, Array]:
    """The uncached work of make_views: pixels for the student, the rest from the teacher."""
    count = sum(views for _, views in pictures)
    arrays: dict[str, Array] = {
        "pixels": np.empty((count, size, size, 3), np.uint8),
        "maps": np.empty((count, MAP_CHANNELS, MAP_SIZE, MAP_SIZE), np.float16),
    }
    features, scores = [], []
    teacher = load_teacher(path, [item for item, _ in pictures])
    session = _open_with_map(path)
    started, done = time.time(), 0
    for number, (item, views) in enumerate(pictures):
        drawn = _draw_views(item.key, item.image, views)
        mine = slice(done, done + views)
        seen, probabilities = _run(session, drawn)
        components = (np.moveaxis(seen, 1, 3) - teacher.mean) @ teacher.basis
        arrays["maps"][mine] = np.moveaxis(components, 3, 1)
        arrays["pixels"][mine] = np.stack(
            # The student gets the plain picture resized once, as at inference.
            [stretch(view, size) for view in [item.image, *drawn[1:]]]
        )
        features.append(seen.mean((2, 3)).astype(np.float16))
        scores.append(np.log(np.maximum(probabilities, SMALLEST)).astype(np.float16))
        done += views
        if number % 200 == 0:
            say(f"{done} of {count} views, {time.time() - started:.0f} s")
    return {**arrays, "features": np.concatenate(features), "scores": np.concatenate(scores)}


def _open_with_map(path: Path) -> ort.InferenceSession:
    """The whole network; its outputs are the map before global pooling and the probabilities."""
    model = onnx.load(path)
    pool = next(n for n in model.graph.node if n.op_type == "GlobalAveragePool")
    before = helper.make_tensor_value_info(pool.input[0], TensorProto.FLOAT, None)
    model.graph.output.insert(0, before)
    return open_session(model.SerializeToString())


def _run(session: ort.InferenceSession, pictures: list[Image.Image]) -> tuple[Array, Array]:
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    seen, probabilities = session.run(None, {session.get_inputs()[0].name: normalize(pixels)})
    return seen, probabilities


def _draw_views(key: str, image: Image.Image, count: int) -> list[Image.Image]:
    """The plain picture and `count` - 1 random views of it, all in the teacher's size."""
    rng = np.random.default_rng(int(hash_unit("backbone view " + key) * 2**53))
    whole = image.resize((TEACHER_SIZE, TEACHER_SIZE), Image.Resampling.BILINEAR)
    return [whole] + [_draw_view(image, rng) for _ in range(count - 1)]


def _draw_view(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random part of the picture, a third of the time rotated, sides of 3:4 to 4:3."""
    if rng.random() < 0.33:
        fill = tuple(int(v) for v in np.asarray(image).mean((0, 1)))
        angle = float(rng.uniform(-30, 30))
        image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=fill)
    width, height = image.size
    area, aspect = rng.uniform(0.2, 1.0), np.exp(rng.uniform(-0.3, 0.3))
    side = np.sqrt(area * width * height)
    w, h = min(width, side * np.sqrt(aspect)), min(height, side / np.sqrt(aspect))
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    box = (left, top, left + w, top + h)
    return image.resize((TEACHER_SIZE, TEACHER_SIZE), Image.Resampling.BILINEAR, box=box)
