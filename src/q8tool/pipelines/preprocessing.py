"""Preprocessing without thought: from flags, from the model's metadata, or tried out.

Where neither flags nor metadata say how photos become the input, the usual ways are tried on a few
photos, and the one whose float answers say most about the photos, being confident and not alike, is
taken. Which one, and why, stands in the report, and quantize stores it in the file.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.engine.side_by_side import run_each
from q8tool.engine.tensor_info import TensorInfo
from q8tool.errors import InputError, UsageError
from q8tool.image.load import Image, load_photo
from q8tool.image.preprocess import normalized, resized
from q8tool.image.spec import PRESETS, Resize, Spec
from q8tool.model import metadata
from q8tool.pipelines.scores import probabilities
from q8tool.pipelines.shared_session import SharedSession, is_large, session_of

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "PICTURES",
    "ChosenSpec",
    "SpecOptions",
    "choose_spec",
    "class_probabilities",
    "first_of_batch",
    "image_input",
    "layout_of",
    "photo_feeds",
    "pixel_feeds",
    "stated_spec",
]

# What exporters leave open is 224 x 224 more often than anything else.
DEFAULT_SIDE = 224
TRIED_PHOTOS = 12
# Fewer photos say nothing about which way is right.
FEWEST_PHOTOS = 4
# Another way must be better by this factor before the usual one is left.
CLEARLY = 1.25
# Nats; below, all answers are alike.
LEAST_SAID = 1e-3

# "input type": of bytes, which are pixels.
Stated = Literal["flags", "metadata", "input type"]
Source = Literal[Stated, "ranges file", "tried out", "assumed"]
FLOATS = (np.dtype(np.float32),)
PICTURES = (*FLOATS, np.dtype(np.uint8))
"""Types of inputs that photos can be fed to: numbers, or the pixels themselves."""


@dataclass(frozen=True)
class SpecOptions:
    """What flags say; None and "" where they say nothing.

    size is (height, width), height and width are one side alone; mean and std have one value for
    all channels or one each.
    """

    preset: str = ""
    size: tuple[int, int] | None = None
    height: int | None = None
    width: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: Resize | None = None


@dataclass(frozen=True)
class ChosenSpec:
    """A spec and where it comes from."""

    spec: Spec
    source: Source
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.source}{': ' if self.detail else ''}{self.detail}"


def image_input(
    inputs: Sequence[TensorInfo],
    name: str = "",
    hint: str = "feed it arrays instead (--data FILE.npz)",
    types: Sequence[np.dtype[Any]] = FLOATS,
) -> TensorInfo:
    """The input that takes photos: the named one, or the only one that can.

    hint    what to do if there is none
    types   of elements that will do
    Raises UsageError if the name is unknown, InputError if no input looks like a picture.
    """
    if name:
        return _named_input(inputs, name, hint, types)
    pictures = [info for info in inputs if layout_of(info) and info.dtype in types]
    if len(pictures) != 1 or len(inputs) != 1:
        described = ", ".join(f"{info.name} {info.shape}" for info in inputs)
        raise InputError(
            f"the model does not take one picture: its inputs are {described}",
            hint,
        )
    return pictures[0]


def _named_input(
    inputs: Sequence[TensorInfo], name: str, hint: str, types: Sequence[np.dtype[Any]]
) -> TensorInfo:
    for info in inputs:
        if info.name != name:
            continue
        if info.dtype not in types or len(info.shape or ()) not in (0, 4):
            raise InputError(f"input '{name}', {info.dtype} {info.shape}, takes no picture", hint)
        return info
    raise UsageError(
        f"the model has no input '{name}'", f"its inputs: {', '.join(i.name for i in inputs)}"
    )


def choose_spec(
    model: "ir.Model | Session | SharedSession",
    info: TensorInfo,
    options: SpecOptions,
    photos: Sequence[Path],
) -> ChosenSpec:
    """How photos become the input `info`. Flags win over metadata value by value.

    Raises InputError if neither says it and no photo can be read to try it out.
    """
    spec, source = stated_spec(model, info, options)
    if source is None:
        return _tried(model, info, spec, photos)
    return ChosenSpec(spec, source, options.preset)


def stated_spec(
    model: metadata.Annotated, info: TensorInfo, options: SpecOptions
) -> tuple[Spec, Stated | None]:
    """What flags and metadata say, and which of them says how pixels become numbers."""
    stored = metadata.preprocess(model)
    base = Spec(_size(info), layout=layout_of(info) or "NCHW")
    if _channels(info) == 1:
        base = replace(base, mean=base.mean[:1], std=base.std[:1])
    source: Stated | None = None
    if stored is not None:
        base, source = Spec.from_dict(stored), "metadata"
    elif info.dtype == np.uint8:
        base, source = _with_flags(base, SpecOptions("raw")), "input type"
    by_flags = options.preset or options.mean is not None or options.std is not None
    spec = _with_flags(base, options)
    _check_size(info, spec)
    return spec, "flags" if by_flags else source


def photo_feeds(photo: Image, info: TensorInfo, spec: Spec) -> dict[str, NDArray[Any]]:
    """The photo as the model's input; as often as it takes photos at once."""
    return pixel_feeds(resized(photo, spec), info, spec)


def pixel_feeds(pixels: NDArray[np.uint8], info: TensorInfo, spec: Spec) -> dict[str, NDArray[Any]]:
    """The same of a photo that was resized."""
    tensor = normalized(pixels, spec).repeat(_batch(info), axis=0)
    if info.dtype.kind == "u":
        tensor = np.clip(np.rint(tensor), 0, 255)
    return {info.name: tensor.astype(info.dtype, copy=False)}


def first_of_batch(answer: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """What the model says of the first photo of those it took at once."""
    return answer[0] if answer.ndim > 1 and len(answer) == _batch(info) else answer


def _with_flags(spec: Spec, options: SpecOptions) -> Spec:
    channels = len(spec.mean)
    if options.preset:
        mean, std = PRESETS[options.preset]
        spec = replace(spec, mean=mean[:channels], std=std[:channels])
    if options.mean is not None:
        spec = replace(spec, mean=_per_channel(options.mean, channels))
    if options.std is not None:
        spec = replace(spec, std=_per_channel(options.std, channels))
    height, width = options.size or spec.size
    spec = replace(spec, size=(options.height or height, options.width or width))
    return spec if options.resize is None else replace(spec, resize=options.resize)


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise UsageError(f"{len(values)} values for {channels} channels", "give one, or one each")
    return values * channels if len(values) == 1 else values


def _tried(
    model: "ir.Model | Session | SharedSession",
    info: TensorInfo,
    spec: Spec,
    photos: Sequence[Path],
) -> ChosenSpec:
    """The preset with the best score; the first, which most models want, unless clearly beaten.

    The others are not tried where they cannot clearly beat it, and none on a model that is run in
    parts, which takes long.
    """
    pictures = _readable(photos)
    usual = next(iter(PRESETS))
    if len(pictures) < FEWEST_PHOTOS or is_large(model):
        return ChosenSpec(_with_flags(spec, SpecOptions(usual)), "assumed", usual)
    session = session_of(model)
    pixels = [resized(picture, spec) for picture in pictures]
    output = session.outputs[0].name
    are_probabilities = output in session.probabilities
    # No answers say more about so many photos than which of them it is: _score is at most that.
    most = math.log(len(pixels))
    scores: dict[str, float] = {}
    for preset in PRESETS:
        if scores and CLEARLY * scores[usual] >= most:
            break
        tried = _with_flags(spec, SpecOptions(preset))
        fed = ((None, pixel_feeds(picture, info, tried)) for picture in pixels)
        answers = run_each(session, fed, lambda _, results: results[output])
        rows = [_class_scores(first_of_batch(answer, info)) for answer in answers]
        scores[preset] = _score(rows, are_probabilities)
        if not all(row.size for row in rows):
            break  # no classifier, whatever it is fed
    best = max(scores, key=lambda preset: scores[preset])
    chosen = best if scores[best] > CLEARLY * scores[usual] else usual
    source: Literal["tried out", "assumed"] = "tried out" if scores[best] else "assumed"
    return ChosenSpec(_with_flags(spec, SpecOptions(chosen)), source, chosen)


def _readable(photos: Sequence[Path]) -> list[Image]:
    """A few photos that can be decoded, spread over all: neighbours show the same thing."""
    pictures: list[Image] = []
    failures = []
    step = max(1, len(photos) // TRIED_PHOTOS)
    for path in (path for first in range(step) for path in photos[first::step]):
        if len(pictures) == TRIED_PHOTOS:
            break
        try:
            pictures.append(load_photo(path))
        except InputError as error:
            failures.append(error)
    if not pictures:
        raise failures[0] if len(failures) == 1 else InputError("none of the photos can be read")
    return pictures


def _class_scores(answer: NDArray[Any]) -> NDArray[Any]:
    """A row of scores; empty where the answer is something else: a map, boxes, class numbers."""
    is_row = answer.dtype.kind == "f" and max(answer.shape, default=0) == answer.size
    # Not an empty part of a map, which would keep all of it.
    return answer.reshape(-1) if is_row else np.empty(0, answer.dtype)


def _score(answers: Sequence[NDArray[Any]], are_probabilities: bool) -> float:
    """How much an answer says about its photo, nats; 0 for what is no classifier.

    The mutual information of photo and class, H(mean answer) - mean H(answer): large where answers
    are sure and differ, 0 where they are vague or all alike.
    """
    if any(answer.size < 2 or not np.isfinite(answer).all() for answer in answers):
        return 0.0
    rows = np.stack([probabilities(answer, are_probabilities)[0] for answer in answers])
    said = _entropy(rows.mean(axis=0)) - float(np.mean([_entropy(row) for row in rows]))
    return said if said > LEAST_SAID else 0.0


def _entropy(shares: NDArray[np.float64]) -> float:
    present = shares[shares > 0.0]
    return float(-(present * np.log(present)).sum())


def class_probabilities(
    session: Session, feeds: Sequence[dict[str, NDArray[Any]]]
) -> NDArray[np.float64] | None:
    """What the model says of each of the inputs, (inputs, classes); None for no classifier."""
    if len(session.outputs) != 1:
        return None
    output, info = session.outputs[0].name, session.inputs[0]
    are_probabilities = output in session.probabilities
    found = []
    fed = ((None, one) for one in feeds)
    for answer in run_each(session, fed, lambda _, results: results[output]):
        row = _class_scores(first_of_batch(answer, info))
        if row.size < 2 or not np.isfinite(row).all():
            return None
        found.append(probabilities(row, are_probabilities)[0])
    return np.stack(found)


def _batch(info: TensorInfo) -> int:
    size = info.shape[0] if info.shape else 1
    return size if isinstance(size, int) else 1


def layout_of(info: TensorInfo) -> Literal["NCHW", "NHWC"] | None:
    """Where the channels of a picture are; None for what is no picture."""
    shape = info.shape or ()
    if len(shape) != 4:
        return None
    if shape[1] in (1, 3):
        return "NCHW"
    return "NHWC" if shape[3] in (1, 3) else None


def _channels(info: TensorInfo) -> int:
    shape = info.shape or (None,)
    channels = shape[1] if layout_of(info) == "NCHW" else shape[-1]
    return channels if isinstance(channels, int) else 3


def _sides(info: TensorInfo) -> Sequence[int | str | None]:
    """Height and width of the input, as far as they are known."""
    shape = info.shape or (None,) * 4
    return shape[1:3] if layout_of(info) == "NHWC" else shape[2:4]


def _size(info: TensorInfo) -> tuple[int, int]:
    height, width = (side if isinstance(side, int) else DEFAULT_SIDE for side in _sides(info))
    return height, width


def _check_size(info: TensorInfo, spec: Spec) -> None:
    fixed = zip(_sides(info), spec.size, strict=False)
    if any(isinstance(side, int) and side != wanted for side, wanted in fixed):
        height, width = spec.size
        raise UsageError(
            f"photos would become {height}x{width}, input '{info.name}' takes "
            f"{'x'.join(map(str, _sides(info)))}",
            "without --size the model's own is used",
        )
