"""The teacher: what a MobileNet v1 0.75 sees in a picture, pooled and as a small map.

Only what it answers is used, never its weights.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from PIL import Image

from embedded_model.inference import open_session, run_batched
from embedded_model.photos import Array, Item, stretch

__all__ = ["MAP_CHANNELS", "MAP_SIZE", "TEACHER", "TEACHER_SIZE", "Teacher", "load_teacher"]

TEACHER = "models/mobilenet_v1_0.75_224.onnx"  # inside the data folder
TEACHER_SIZE = 224
MAP_SIZE = 7
MAP_CHANNELS = 128


@dataclass(frozen=True)
class Teacher:
    """The network up to its global pooling, and the main components of what comes out there."""

    session: ort.InferenceSession
    mean: Array  # float32 (width,)
    basis: Array  # float32 (width, MAP_CHANNELS)

    def answer(self, pictures: list[Image.Image]) -> tuple[Array, Array]:
        """Pooled features, float16 (N, width), and maps, float32 (N, MAP_CHANNELS, 7, 7).

        pictures     RGB, TEACHER_SIZE x TEACHER_SIZE each
        """
        seen = run_batched(self.session, np.stack([np.asarray(picture) for picture in pictures]))
        maps = np.moveaxis((np.moveaxis(seen, 1, 3) - self.mean) @ self.basis, 3, 1)
        return seen.mean((2, 3)).astype(np.float16), maps


def load_teacher(path: Path, items: list[Item]) -> Teacher:
    """The teacher of this file, with main components from every eighth of the pictures."""
    session = _open_without_pooling(path)
    mean, basis = _fit_components(items[::8], session)
    return Teacher(session, mean, basis)


def _open_without_pooling(path: Path) -> ort.InferenceSession:
    """The network cut just before its global pooling, on one thread."""
    model = onnx.load(path)
    pool = next(n for n in model.graph.node if n.op_type == "GlobalAveragePool")
    del model.graph.output[:]
    features = helper.make_tensor_value_info(pool.input[0], TensorProto.FLOAT, None)
    model.graph.output.append(features)
    return open_session(model.SerializeToString())


def _fit_components(items: list[Item], session: ort.InferenceSession) -> tuple[Array, Array]:
    """Mean and main components (as columns) of the map.

    Each component is scaled by the root of its deviation, all together to a mean square of one.
    """
    plain = np.stack([stretch(item.image, TEACHER_SIZE) for item in items])
    points = np.moveaxis(run_batched(session, plain), 1, 3)
    points = points.reshape(-1, points.shape[3]).astype(np.float64)
    mean = points.mean(0)
    values, vectors = np.linalg.eigh(np.cov(points.T))
    values, vectors = values[: -MAP_CHANNELS - 1 : -1], vectors[:, : -MAP_CHANNELS - 1 : -1]
    basis = vectors / values**0.25 / np.sqrt(np.sqrt(values).mean())
    return mean.astype(np.float32), basis.astype(np.float32)
