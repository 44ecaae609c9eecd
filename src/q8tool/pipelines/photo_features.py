"""Photo features: a backbone in float and in eight bits, and what each sees in photos."""

import json
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool import __version__
from q8tool.engine.session import Session
from q8tool.image.distort import Distortion
from q8tool.image.load import Image
from q8tool.model import io
from q8tool.model.files import temporary_folder
from q8tool.native.cpu import core_count
from q8tool.pipelines import quantize
from q8tool.pipelines.backbone import Backbone, content_key, serialized
from q8tool.pipelines.preprocessing import first_of_batch, photo_feeds
from q8tool.pipelines.progress import Progress
from q8tool.train.cache import FeatureCache
from q8tool.train.features import Extractor, Wanted

__all__ = ["CALIBRATION_PHOTOS", "Computed", "eight_bit_form", "extractor_of"]

CALIBRATION_PHOTOS = 100


@dataclass(frozen=True)
class Computed:
    """A backbone in the form that computes features.

    content  its bytes
    """

    model: ir.Model
    content: bytes


def eight_bit_form(
    backbone: Backbone,
    training: Sequence[tuple[Wanted, int]],
    judging: frozenset[str],
    cache: FeatureCache,
    threads: int | None,
    progress: Progress,
) -> Computed:
    """The backbone in eight bits, its ranges measured on some of the training photos.

    training  photos with their class
    judging   digests of photos that it must not have seen
    An earlier one is taken from the cache where half of its photos still belong to the training, so
    that a new photo does not make all features stale.
    """
    content = serialized(backbone.model)
    base = f"{__version__} {content_key(content, backbone.spec)}"
    chosen = _spread(training)
    wanted = json.dumps(sorted(item.digest for item in chosen))
    here = {item.digest for item, _ in training}
    usable = {}
    for made_from, found in cache.backbones(base):
        photos = set(json.loads(made_from))
        if made_from == wanted or (len(photos & here) * 2 >= len(photos) and not photos & judging):
            usable[made_from] = found
    kept = usable.get(wanted) or next(iter(usable.values()), None)
    if kept is None:
        kept = _quantized(backbone.model, [item.path for item in chosen], threads, progress)
        cache.store_backbone(base, wanted, kept)
    return Computed(_parsed(kept), kept)


def extractor_of(
    backbone: Backbone, computed: Computed, distortion: Distortion, seed: int, threads: int | None
) -> Extractor:
    """What turns photos into features of this form of the backbone."""
    count = threads or core_count()
    return Extractor(
        model=content_key(computed.content, backbone.spec),
        least=backbone.spec.size,
        compute=_on_sessions(backbone, computed.model),
        distortion=distortion,
        seed=seed,
        threads=count,
    )


def _spread(training: Sequence[tuple[Wanted, int]]) -> list[Wanted]:
    """Photos to measure ranges with: the same number of each class, picked by their contents."""
    ranks: dict[int, int] = {}
    order = []
    for item, label in sorted(training, key=lambda entry: entry[0].digest):
        ranks[label] = ranks.get(label, -1) + 1
        order.append((ranks[label], item.digest, item))
    return [item for _, _, item in sorted(order, key=lambda row: row[:2])[:CALIBRATION_PHOTOS]]


def _quantized(
    model: ir.Model, photos: Sequence[Path], threads: int | None, progress: Progress
) -> bytes:
    """What quantize writes, with the photos to measure ranges."""
    with temporary_folder() as folder:
        source, target = folder / "backbone.onnx", folder / "eight-bit.onnx"
        io.save(model, source, force=True)
        # Whether it is faster here and now must not decide what is written.
        options = quantize.Options(
            source, target, images=photos, threads=threads, allow_slower=True
        )
        quantize.run(options, progress)
        return target.read_bytes()


def _parsed(content: bytes) -> ir.Model:
    import onnx

    return io.from_proto(onnx.load_model_from_string(content))


def _on_sessions(backbone: Backbone, model: ir.Model) -> Callable[[Image], NDArray[np.float32]]:
    """A function that several threads may call: each call has a session of its own."""
    free: queue.SimpleQueue[Session] = queue.SimpleQueue()

    def taken() -> Session:
        try:
            return free.get_nowait()
        except queue.Empty:
            return Session(model, threads=1)

    def compute(photo: Image) -> NDArray[np.float32]:
        feeds = photo_feeds(photo, backbone.input, backbone.spec)
        session = taken()
        try:
            answer: NDArray[Any] = next(iter(session.run(feeds).values()))
        finally:
            free.put(session)
        features = first_of_batch(answer, backbone.input)
        return np.array(features, np.float32).reshape(-1)

    return compute
