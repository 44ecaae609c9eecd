"""Features: what the backbone sees in each photo, from the cache or computed on all cores.

    photo file --read--> bytes --cache?--> decode -> distort -> preprocess -> backbone -> cache

Worker threads do everything but the cache: decoders and the engine let other threads run. The
engine uses one thread per photo, so each photo's features are the same bytes however many cores
there are.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from q8tool.errors import InputError
from q8tool.image.distort import Distortion, distort
from q8tool.image.load import Image, decode_photo
from q8tool.train.cache import FeatureCache
from q8tool.train.contents import digest

__all__ = ["Extraction", "Extractor", "Wanted", "extract"]

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Wanted:
    """One row of features: a photo by its bytes, and which distorted copy of it (None: itself)."""

    path: Path
    digest: str
    copy: int | None = None


@dataclass(frozen=True)
class Extractor:
    """How features are computed.

    model    what tells this backbone with its preprocessing from others in the cache
    least    height and width that photos are needed in
    compute  an upright RGB photo to its features, float32 (D,); from several threads at once
    """

    model: str
    least: tuple[int, int]
    compute: Callable[[Image], Features]
    distortion: Distortion = field(default_factory=Distortion)
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Extraction:
    """What came out.

    rows      in the order of the wanted, None for a photo that cannot be used
    failures  (index among the wanted, reason)
    computed  rows that were not in the cache
    """

    rows: list[Features | None]
    failures: list[tuple[int, str]]
    computed: int


def extract(
    extractor: Extractor,
    wanted: Sequence[Wanted],
    cache: FeatureCache,
    seen: Callable[[int], None] = lambda done: None,
) -> Extraction:
    """The features of all wanted. Each is stored as soon as it is there; seen(done) counts them.

    A photo whose bytes are no longer those of its digest, or that cannot be decoded, is a failure.
    """
    rows: list[Features | None] = [None] * len(wanted)
    failures: list[tuple[int, str]] = []
    computed = done = 0
    with ThreadPoolExecutor(extractor.threads) as pool:
        for index, found in _in_any_order(extractor, wanted, cache, pool, rows):
            if isinstance(found, str):
                failures.append((index, found))
            else:
                name = _copy_name(extractor, wanted[index])
                cache.store_features(extractor.model, wanted[index].digest, name, found)
                rows[index] = found
                computed += 1
            done += 1
            seen(done)
    return Extraction(rows, sorted(failures), computed)


def _in_any_order(
    extractor: Extractor,
    wanted: Sequence[Wanted],
    cache: FeatureCache,
    pool: ThreadPoolExecutor,
    rows: list[Features | None],
) -> Iterator[tuple[int, Features | str]]:
    """(index, features or why not) of what the cache lacks; what it has goes into rows.

    Photos are handed out one by one, so that what another run has stored meanwhile is not computed.
    """
    running: dict[Future[Features | str], int] = {}
    try:
        for index, item in enumerate(wanted):
            rows[index] = cache.features(extractor.model, item.digest, _copy_name(extractor, item))
            if rows[index] is not None:
                continue
            running[pool.submit(_computed, extractor, item)] = index
            if len(running) > extractor.threads:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    finally:
        for future in running:
            future.cancel()


def _finished(
    running: dict[Future[Features | str], int],
) -> Iterator[tuple[int, Features | str]]:
    """At least one that is ready, taken out of those that run."""
    ready, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in sorted(ready, key=lambda future: running[future]):
        yield running.pop(future), future.result()


def _computed(extractor: Extractor, item: Wanted) -> Features | str:
    """The features, or in a few words why there are none."""
    try:
        content = item.path.read_bytes()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    if digest(content) != item.digest:
        return "changed while it was being read"
    try:
        photo = decode_photo(content, str(item.path), extractor.least)
    except InputError as error:
        return error.message.removeprefix(f"{item.path}: ")
    if item.copy is not None:
        seed = [extractor.seed, int(item.digest[:16], 16)]
        photo = distort(photo, extractor.distortion, item.copy, seed)
    features = extractor.compute(photo)
    if not np.isfinite(features).all():
        return "the backbone's answer is not finite"
    return features


def _copy_name(extractor: Extractor, item: Wanted) -> str:
    if item.copy is None:
        return ""
    return extractor.distortion.copy_name(item.copy, extractor.seed)
