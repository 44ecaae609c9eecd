"""Sanity: samples that cannot be what the model was trained on, said with their names.

    a sample of one value, samples that are all the same     looked at while they stream by
    pixels 0..255 for a model that says -1..1                by what the model says it takes
    pixels 0..255 where nothing says so, BGR instead of RGB  by asking the model: it is clearly
                                                             surer of what it was trained on; no
                                                             classifier: scale_evidence.py
NaN and infinity stop the calibration (calibrate/collect.py), as does a shape that does not fit
(pipelines/samples.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.collect import Sample, SampleStream
from q8tool.engine.tensor_info import TensorInfo
from q8tool.image.spec import PRESETS
from q8tool.pipelines.preprocessing import CLEARLY, ChosenSpec, class_probabilities, layout_of
from q8tool.pipelines.scale_evidence import suits_scale
from q8tool.pipelines.shared_session import SharedSession, is_large, session_of

__all__ = ["Doubts", "doubts_about_pixels"]

ASKED_ABOUT_COLOURS = 64
ASKED_AT_ONCE = 8
# Floats that reach so far and are never negative are most likely pixels.
LEAST_PIXEL = 50.0
MOST_PIXEL = 255.0
# How far beyond the stated range, as a share of its width, values may reach.
TOLERANCE = 0.1
# A difference of entropies counts from so many standard errors of its mean on, and from so much.
STANDARD_ERRORS = 2.5
LEAST_GAIN = 0.1
# Names in one warning.
NAMED = 3

Probabilities = NDArray[np.float64]
Ask = Callable[[Sequence[NDArray[Any]]], Probabilities | None]


class Doubts:
    """Looks at samples as they pass, and says in the end what was strange about them.

    limits  input name -> the range that the model says it takes
    """

    def __init__(self, limits: Mapping[str, tuple[float, float]]) -> None:
        self._limits = limits
        self._constant: dict[str, list[str]] = {}
        self._beyond: dict[str, list[str]] = {}
        self._first: Sample | None = None
        self._differ = False
        self._count = 0

    def passing(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        """The samples themselves."""
        for sample in samples:
            self._count += 1
            for name, array in sample.feeds.items():
                self._look(sample.name, name, array)
            self._first = self._first or sample
            self._differ = self._differ or not _is_same(sample, self._first)
            yield sample

    def found(self) -> list[str]:
        """One line per doubt."""
        lines = [
            f"{_listed(names)}: input '{name}' has the same value everywhere"
            for name, names in self._constant.items()
        ]
        lines += [
            f"{_listed(names)}: input '{name}' reaches beyond {low:g}..{high:g}, which the model "
            "says it takes"
            for name, names in self._beyond.items()
            for low, high in [self._limits[name]]
        ]
        if self._count > 1 and not self._differ:
            lines.append(f"all {self._count} samples are the same")
        return lines

    def _look(self, sample: str, name: str, array: NDArray[Any]) -> None:
        if array.dtype.kind != "f" or array.size < 2:
            return
        low, high = float(array.min()), float(array.max())
        if low == high:
            self._constant.setdefault(name, []).append(sample)
        if name in self._limits:
            least, most = self._limits[name]
            slack = TOLERANCE * (most - least)
            if low < least - slack or high > most + slack:
                self._beyond.setdefault(name, []).append(sample)


def _is_same(sample: Sample, other: Sample) -> bool:
    return all(np.array_equal(array, other.feeds[name]) for name, array in sample.feeds.items())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def doubts_about_pixels(
    model: ir.Model | SharedSession,
    info: TensorInfo,
    samples: SampleStream,
    spec: ChosenSpec | None,
) -> list[str]:
    """Asks the float model whether its only input, a picture, should be fed in another way.

    spec  how photos became the samples; None for arrays. What the model's metadata says is not
    doubted, and of what was tried out already only the order of colours. A model that is run in
    parts is not asked: it takes long.
    """
    layout = layout_of(info)
    if layout is None or info.dtype != np.float32 or (spec and spec.source == "metadata"):
        return []
    if is_large(model):
        return []
    stream = (sample.feeds[info.name] for sample in islice(samples(), ASKED_ABOUT_COLOURS))
    asked = list(islice(stream, ASKED_AT_ONCE))
    if not asked:
        return []
    session = session_of(model)

    def answers(inputs: Sequence[NDArray[Any]]) -> Probabilities | None:
        return class_probabilities(session, [{info.name: array} for array in inputs])

    axis = 1 if layout == "NCHW" else 3
    lines, usual = [], answers(asked)
    if spec is None or spec.source == "flags":
        lines += _doubts_about_scale(model, info, asked, usual, answers, axis, spec)
    if not lines and len(asked) == ASKED_AT_ONCE and asked[0].shape[axis] == 3:
        lines += _doubts_about_colours(info, (asked, usual), stream, answers, axis)
    return lines


def _doubts_about_colours(
    info: TensorInfo,
    first: tuple[Sequence[NDArray[Any]], Probabilities | None],
    others: Iterator[NDArray[Any]],
    answers: Ask,
    axis: int,
) -> list[str]:
    """A few samples at a time, until they leave no room for a doubt; the first with the answers."""
    found: list[tuple[Probabilities, Probabilities]] = []
    some, usual = first
    while some:
        turned = None if usual is None else answers([np.flip(array, axis) for array in some])
        if usual is None or turned is None:
            return []
        found.append((usual, turned))
        gain = np.concatenate([_entropies(one) - _entropies(other) for one, other in found])
        error = STANDARD_ERRORS * float(gain.std(ddof=1)) / np.sqrt(len(gain))
        if gain.mean() + error < LEAST_GAIN:
            return []
        some = list(islice(others, ASKED_AT_ONCE))
        usual = answers(some) if some else None
    if not gain.mean() > max(LEAST_GAIN, error):
        return []
    before, after = (np.concatenate(rows).max(axis=1).mean() for rows in zip(*found, strict=True))
    return [
        f"input '{info.name}': the model is surer with red and blue exchanged ({after:.2f} instead "
        f"of {before:.2f} on average): it may want BGR"
    ]


def _entropies(probabilities: Probabilities) -> NDArray[np.float64]:
    """Of each row, in nats: how unsure the answer is."""
    logarithms = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return np.asarray(-(probabilities * logarithms).sum(axis=1))


def _doubts_about_scale(
    model: ir.Model | SharedSession,
    info: TensorInfo,
    asked: Sequence[NDArray[Any]],
    usual: Probabilities | None,
    answers: Ask,
    axis: int,
    spec: ChosenSpec | None,
) -> list[str]:
    """usual: the answers to what is asked."""
    pixels = asked if spec is None else [_pixels(array, spec, axis) for array in asked]
    low, high = min(float(a.min()) for a in pixels), max(float(a.max()) for a in pixels)
    if low < 0 or not LEAST_PIXEL < high <= MOST_PIXEL + 0.5:
        return []
    if usual is None:
        graph_model = model.model if isinstance(model, SharedSession) else model
        if spec is not None or suits_scale(graph_model, [{info.name: array} for array in asked]):
            return []
        raw = f"input '{info.name}' holds what looks like pixels 0..255"
        return [f"{raw}; most models take -1..1 or 0..1"]
    now = float(usual.max(axis=1).mean())
    scores = {}
    for preset, (mean, std) in PRESETS.items():
        if spec is None or not (_is(spec.spec.mean, mean) and _is(spec.spec.std, std)):
            tried = [_normalised(array, mean, std, axis) for array in pixels]
            scores[preset] = _sureness(tried, answers, CLEARLY * now)
    best = max(scores, key=lambda name: scores[name])
    if scores[best] <= CLEARLY * now:
        return []
    fed = "pixels 0..255" if spec is None else "these photos"
    return [
        f"input '{info.name}': of {fed} as --preset {best} makes them the model is surer "
        f"({scores[best]:.2f} instead of {now:.2f} on average): the preprocessing may be wrong"
    ]


def _is(values: Sequence[float], preset: Sequence[float]) -> bool:
    """A model of one channel has one value."""
    return tuple(values) == tuple(preset)[: len(values)]


def _sureness(inputs: Sequence[NDArray[Any]], answers: Ask, bar: float) -> float:
    """Mean of the highest probability, 0 for no classifier, and where it cannot pass the bar."""
    total, asked, half = 0.0, 0, (len(inputs) + 1) // 2
    for some in (part for part in (inputs[:half], inputs[half:]) if part):
        if (total + len(inputs) - asked) / len(inputs) <= bar:
            return 0.0
        found = answers(some)
        if found is None:
            return 0.0
        total += float(found.max(axis=1).sum())
        asked += len(some)
    return total / len(inputs)


def _pixels(array: NDArray[Any], spec: ChosenSpec, axis: int) -> NDArray[Any]:
    """The input back as pixels 0..255."""
    mean, std = _per_channel(array, spec.spec.mean, axis), _per_channel(array, spec.spec.std, axis)
    return np.asarray(np.clip(np.rint(array * std + mean), 0, 255), np.float32)


def _normalised(
    pixels: NDArray[Any], mean: tuple[float, ...], std: tuple[float, ...], axis: int
) -> NDArray[Any]:
    centre, scale = _per_channel(pixels, mean, axis), _per_channel(pixels, std, axis)
    return np.asarray((pixels - centre) / scale, np.float32)


def _per_channel(like: NDArray[Any], values: Sequence[float], axis: int) -> NDArray[np.float32]:
    """The values, as many as there are channels, shaped to go along the channels' axis."""
    shape = [1] * like.ndim
    shape[axis] = -1
    return np.asarray(values[: like.shape[axis]], np.float32).reshape(shape)
