"""Samples: photos or arrays, one set of inputs at a time, for calibration and comparison.

Of the samples, every fifth (at most 20) is held back: calibration does not see it, and the
comparison of float and eight-bit answers runs on it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.collect import Sample
from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import InputError
from q8tool.image.load import find_photos, load_photo
from q8tool.image.preprocess import resized
from q8tool.image.spec import Spec
from q8tool.pipelines.preprocessing import (
    PICTURES,
    ChosenSpec,
    SpecOptions,
    choose_spec,
    image_input,
    pixel_feeds,
)
from q8tool.pipelines.shared_session import SharedSession

__all__ = [
    "ArraySamples",
    "PhotoSamples",
    "Samples",
    "compared_name",
    "held_back",
    "load_arrays",
    "open_photos",
]

HELD_BACK_EVERY = 5
HELD_BACK_MOST = 20
# Bytes of pixels: 200 photos of 224 x 224. What is beyond is decoded again.
MOST_KEPT = 32 << 20

Pixels = NDArray[np.uint8]


def held_back(count: int) -> tuple[list[int], list[int]]:
    """Indices to calibrate with, and those held back. Below five samples all serve both."""
    back = list(range(0, count, HELD_BACK_EVERY))[:HELD_BACK_MOST]
    if count < HELD_BACK_EVERY:
        return list(range(count)), list(range(count))
    kept = set(back)
    return [index for index in range(count) if index not in kept], back


def compared_name(count: int) -> str:
    """What the samples are called that answers are compared on, of so many in all."""
    return "held-back samples" if count >= HELD_BACK_EVERY else "samples, none held back"


@dataclass
class PhotoSamples:
    """Photos for one input, decoded when they are asked for; then their pixels are kept.

    skipped  (file, reason) of those that failed
    """

    paths: Sequence[Path]
    info: TensorInfo
    spec: Spec
    skipped: list[tuple[str, str]] = field(default_factory=list)
    _kept: dict[int, Pixels] = field(default_factory=dict, init=False, repr=False)
    _bytes: int = field(default=0, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.paths)

    def at(self, indices: Sequence[int]) -> Iterator[Sample]:
        """The photos of these indices; those that cannot be decoded are noted and left out."""
        for index in indices:
            pixels = self._pixels(index)
            if pixels is not None:
                feeds = pixel_feeds(pixels, self.info, self.spec)
                yield Sample(str(self.paths[index]), feeds)

    def _pixels(self, index: int) -> Pixels | None:
        if index in self._kept:
            return self._kept[index]
        path = self.paths[index]
        try:
            pixels = resized(load_photo(path), self.spec)
        except InputError as error:
            note = (str(path), error.message.removeprefix(f"{path}: "))
            if note not in self.skipped:
                self.skipped.append(note)
            return None
        if self._bytes + pixels.nbytes <= MOST_KEPT:
            self._kept[index] = pixels
            self._bytes += pixels.nbytes
        return pixels

    def refuse_unreadable(self) -> None:
        """Raises InputError if not a single photo can be decoded."""
        if next(self.at(range(len(self))), None) is None:
            file, reason = self.skipped[0]
            raise InputError("none of the photos can be read", f"{file}: {reason}")


@dataclass
class ArraySamples:
    """Rows of arrays, one per input."""

    arrays: Mapping[str, NDArray[Any]]
    source: str

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def at(self, indices: Sequence[int]) -> Iterator[Sample]:
        """The rows of these indices."""
        for index in indices:
            feeds = {name: array[index] for name, array in self.arrays.items()}
            yield Sample(f"{self.source}[{index}]", feeds)


Samples = PhotoSamples | ArraySamples


def open_photos(
    model: ir.Model | SharedSession,
    inputs: Sequence[TensorInfo],
    images: Sequence[Path],
    options: SpecOptions,
    known: ChosenSpec | None = None,
) -> tuple[PhotoSamples, ChosenSpec]:
    """The photos of files, folders and patterns, and how they become the model's only input.

    known  None: by flags, metadata, or tried out
    Raises InputError if there is none that can be read, or the model does not take one picture.
    """
    paths = find_photos(images)
    info = image_input(inputs, types=PICTURES)
    chosen = known or choose_spec(model, info, options, paths)
    samples = PhotoSamples(paths, info, chosen.spec)
    samples.refuse_unreadable()
    return samples, chosen


def load_arrays(path: Path, inputs: Sequence[TensorInfo]) -> ArraySamples:
    """Reads an .npz with one array per input, or an .npy: (samples, *shape of the input).

    The first dimension of the input may be left out: (samples, channels, ...). Where it is a batch
    of n, every n rows are a sample. A single array serves a single input whatever its name. Raises
    InputError, naming the input, for what is missing or does not fit.
    """
    try:
        found = _arrays_of(path)
    except MemoryError:
        raise
    except Exception as error:  # zip, zlib and numpy each raise their own
        missing = isinstance(error, FileNotFoundError)
        reason = "no such file" if missing else "not an .npz or .npy file of plain arrays"
        raise InputError(f"{path}: {reason}") from error
    if len(found) == 1 and len(inputs) == 1:
        found = {inputs[0].name: next(iter(found.values()))}
    arrays = {info.name: _rows(path, info, found) for info in inputs}
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise InputError(f"{path}: numbers of samples differ or are 0: {counts}")
    return ArraySamples(arrays, str(path))


def _arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as stream:
        content = np.load(stream, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {path.stem: content}
        found = {name: content[name] for name in content.files}
    # What else is in the archive comes as bytes.
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}


def _rows(path: Path, info: TensorInfo, found: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if info.name not in found:
        raise InputError(
            f"{path}: no array for input '{info.name}'", f"it holds {', '.join(sorted(found))}"
        )
    array, shape = found[info.name], info.shape or ()
    batch = shape[0] if shape and isinstance(shape[0], int) else 1
    if array.ndim == len(shape) and shape and 1 <= batch <= max(1, len(array)):
        # What is left of the last batch is not looked at.
        whole = len(array) // batch
        array = array[: whole * batch].reshape(whole, batch, *array.shape[1:])
    fits = array.ndim == len(shape) + 1 and all(
        not isinstance(dim, int) or dim == size
        for dim, size in zip(shape, array.shape[1:], strict=False)
    )
    if not fits:
        raise InputError(
            f"{path}: array '{info.name}' of shape {array.shape} does not hold samples of shape "
            f"{shape}",
            _layout_hint(array.shape[1:], shape),
        )
    return array.astype(info.dtype, copy=False)


def _layout_hint(found: Sequence[int], wanted: Sequence[int | str | None]) -> str:
    """What to do with pictures whose channels are first where the model wants them last."""
    if len(wanted) != 4 or len(found) not in (3, 4):
        return ""
    height, channels = found[-3], found[-1]
    few = (1, 3, 4)
    if channels == wanted[1] != height and channels in few:
        return "its channels are last, the model takes them first: np.moveaxis(array, -1, -3)"
    if height == wanted[3] != channels and height in few:
        return "its channels are first, the model takes them last: np.moveaxis(array, -3, -1)"
    return ""
