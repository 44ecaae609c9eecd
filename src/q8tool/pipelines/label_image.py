"""label-image: photos in, the most probable labels out, on our own engine.

photos -> load -> preprocess (flags, metadata, or tried out) -> run -> softmax if logits
-> top k -> labels
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from q8tool.errors import InputError
from q8tool.image.load import Image, find_photos, load_photo
from q8tool.image.spec import Spec
from q8tool.numerics.compare import top_k
from q8tool.pipelines.classifier import Classifier, Scores
from q8tool.pipelines.label_names import read_labels
from q8tool.pipelines.preprocessing import ChosenSpec, SpecOptions, choose_spec, stated_spec
from q8tool.pipelines.progress import Progress, silent

__all__ = ["Answer", "Label", "Options", "Report", "run"]


@dataclass(frozen=True)
class Options:
    """What label-image is asked to do.

    photos       files, folders, patterns
    labels       a text file with one label per line; None: those of the model
    compare      a second model to run on the same photos, usually the float one
    expect       words of the label that must come first for every photo
    input_layer, output_layer   names, where the model has several
    """

    photos: Sequence[Path]
    graph: Path
    labels: Path | None = None
    top: int = 5
    preprocessing: SpecOptions = field(default_factory=SpecOptions)
    input_layer: str = ""
    output_layer: str = ""
    compare: Path | None = None
    expect: str | None = None
    threads: int | None = None
    isa: str | None = None


@dataclass(frozen=True)
class Label:
    """One row of an answer: index in the model's output, its name, probability 0..1.

    other  the probability that the compared model gives the same label, None without one
    """

    index: int
    name: str
    probability: float
    other: float | None = None


@dataclass(frozen=True)
class Answer:
    """What the model says of one photo, best first.

    compared      the other model's labels, best first; empty without one
    agrees        whether both put the same label first; True without a second model
    milliseconds  of one run, without reading the photo
    """

    photo: str
    labels: list[Label]
    compared: list[Label]
    agrees: bool
    milliseconds: float

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values; what has to do with comparing only where there is any."""
        result: dict[str, Any] = {"photo": self.photo, "labels": _rows(self.labels)}
        if self.compared:
            result |= {"compared": _rows(self.compared), "agrees": self.agrees}
        return {**result, "milliseconds": round(self.milliseconds, 3)}


@dataclass(frozen=True)
class Report:
    """The answers, in the order of the photos, and how they were made.

    failed    (file, reason) of photos that could not be read
    missed    photos whose first label is not the expected one, each with what came first
    warnings  what may be wrong with the labels
    softmax   whether the model gave logits and softmax was applied
    """

    answers: list[Answer]
    failed: list[tuple[str, str]]
    missed: list[tuple[str, str]]
    warnings: list[str]
    softmax: bool
    preprocessing: ChosenSpec

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        chosen = self.preprocessing
        return {
            "photos": [answer.to_json() for answer in self.answers],
            "failed": [{"photo": file, "reason": reason} for file, reason in self.failed],
            "missed": [{"photo": file, "first": first} for file, first in self.missed],
            "warnings": self.warnings,
            "softmax_applied": self.softmax,
            "preprocessing": {**chosen.spec.to_dict(), "from": chosen.source},
        }

    @property
    def agreement(self) -> float:
        """The share of photos for which both models put the same label first."""
        return float(np.mean([answer.agrees for answer in self.answers]))


def run(options: Options, progress: Progress = silent) -> Report:
    """Label photos.

    Raises InputError if a model does not take pictures or no photo could be read, UsageError for
    names that do not exist.
    """
    paths = find_photos(options.photos)
    labels = read_labels(options.labels) if options.labels else None
    classifier = _opened(options.graph, labels, options)
    chosen = choose_spec(classifier.session, classifier.input, options.preprocessing, paths)
    ask = _asking(classifier, chosen.spec, options)
    answers, failed = [], []
    for done, path in enumerate(paths, 1):
        try:
            photo = load_photo(path)
        except InputError as error:
            failed.append((str(path), error.message.removeprefix(f"{path}: ")))
        else:
            answers.append(ask(path, photo))
        if len(paths) > 1:
            progress("labelling", done, len(paths))
    if not answers:
        raise _none_read(failed)
    warnings = [classifier.warning] if classifier.warning else []
    missed = _missed(answers, options.expect)
    return Report(answers, failed, missed, warnings, classifier.applied_softmax, chosen)


def _opened(path: Path, labels: Sequence[str] | None, options: Options) -> Classifier:
    return Classifier(
        path, labels, input_layer=options.input_layer, output_layer=options.output_layer,
        threads=options.threads, isa=options.isa,
    )  # fmt: skip


def _asking(
    classifier: Classifier, spec: Spec, options: Options
) -> Callable[[Path, Image], Answer]:
    """A function that has the model, and the compared one if there is one, label a photo."""
    if options.compare is None:
        return lambda path, photo: _answer(path, classifier.scores(photo, spec), None, options.top)
    other = _opened(options.compare, None, options)
    other.labels = other.labels if options.labels is None and other.labels else classifier.labels
    other_spec = _spec_like(spec, other, options.preprocessing)

    def ask(path: Path, photo: Image) -> Answer:
        scores = classifier.scores(photo, spec)
        return _answer(path, scores, other.scores(photo, other_spec), options.top)

    return ask


def _spec_like(spec: Spec, other: Classifier, flags: SpecOptions) -> Spec:
    """What the other model says of its input, and `spec` where it says nothing."""
    own, source = stated_spec(other.session, other.input, flags)
    if source is not None or len(own.mean) != len(spec.mean):
        return own
    return replace(own, mean=spec.mean, std=spec.std, channels=spec.channels, resize=spec.resize)


def _answer(path: Path, scores: Scores, other: Scores | None, top: int) -> Answer:
    labels, compared = _best(scores, top, other), _best(other, top) if other else []
    agrees = other is None or _same_class(labels[0], compared[0], scores.names == other.names)
    return Answer(str(path), labels, compared, agrees, scores.milliseconds)


def _same_class(one: Label, other: Label, have_same_names: bool) -> bool:
    """By index where both models have the same classes: two of ImageNet's are called crane."""
    return one.index == other.index if have_same_names else one.name == other.name


def _best(scores: Scores, top: int, other: Scores | None = None) -> list[Label]:
    rows = []
    for index in top_k(scores.values, top).tolist():
        name = scores.names[index]
        probability = float(scores.values[index])
        rows.append(Label(index, name, probability, other.of(name, index) if other else None))
    return rows


def _rows(labels: Sequence[Label]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in vars(label).items() if value is not None} for label in labels
    ]


def _none_read(failed: Sequence[tuple[str, str]]) -> InputError:
    path, reason = failed[0]
    if len(failed) == 1:
        return InputError(f"{path}: {reason}")
    return InputError(
        f"none of the {len(failed)} photos could be read; the first, {path}: {reason}"
    )


def _missed(answers: Sequence[Answer], expected: str | None) -> list[tuple[str, str]]:
    """Photos whose first label lacks the expected words; whole ones count: no rose in primrose."""
    if expected is None:
        return []
    words = re.compile(rf"(?<!\w){re.escape(expected)}(?!\w)", re.IGNORECASE)
    firsts = [(answer.photo, answer.labels[0].name) for answer in answers]
    return [(photo, first) for photo, first in firsts if not words.search(first)]
