"""label-image: photos in, the most probable labels out, on our own engine.

photos -> load -> preprocess (flags, metadata, or tried out) -> run -> softmax if logits
-> top k -> labels
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.errors import ExpectationError, InputError, UsageError
from q8tool.image.load import find_photos, load_photo
from q8tool.image.preprocess import to_tensor
from q8tool.model import io, metadata
from q8tool.numerics.compare import top_k
from q8tool.pipelines.preprocessing import (
    ChosenSpec,
    SpecOptions,
    choose_spec,
    image_input,
    probabilities,
)
from q8tool.pipelines.progress import Progress, silent

__all__ = ["Answer", "Label", "Options", "Report", "run"]


@dataclass(frozen=True)
class Options:
    """What label-image is asked to do.

    photos       files, folders, patterns
    labels       a text file with one label per line; None: those of the model
    compare      a second model to run on the same photos, usually the float one
    expect       the label (or a part of it) that must come first for every photo
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
    """One row of an answer: index in the model's output, its name, probability 0..1."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """What the model says of one photo; compared: the other model's labels, empty without one."""

    photo: str
    labels: list[Label]
    compared: list[Label]
    milliseconds: float


@dataclass(frozen=True)
class Report:
    """The answers, in the order of the photos, and how they were made.

    failed   (file, reason) of photos that could not be read
    softmax  whether the model gave logits and softmax was applied
    """

    answers: list[Answer]
    failed: list[tuple[str, str]]
    softmax: bool
    preprocessing: ChosenSpec

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "photos": [
                {
                    "photo": answer.photo,
                    "labels": [vars(label) for label in answer.labels],
                    **(
                        {"compared": [vars(label) for label in answer.compared]}
                        if answer.compared
                        else {}
                    ),
                    "milliseconds": round(answer.milliseconds, 3),
                }
                for answer in self.answers
            ],
            "failed": [{"photo": file, "reason": reason} for file, reason in self.failed],
            "softmax_applied": self.softmax,
            "preprocessing": {
                **self.preprocessing.spec.to_dict(),
                "from": self.preprocessing.source,
            },
        }

    @property
    def agreement(self) -> float:
        """The share of photos for which both models name the same label first."""
        same = [a.labels[0].index == a.compared[0].index for a in self.answers if a.compared]
        return float(np.mean(same)) if same else 1.0


def run(options: Options, progress: Progress = silent) -> Report:
    """Label photos.

    Raises InputError if the model does not take pictures or no photo could be read, UsageError for
    names that do not exist, ExpectationError if a photo's first label is not the expected one.
    """
    model = io.load(options.graph)
    paths = find_photos(options.photos)
    names = _label_names(model, options.labels)
    session = Session(model, threads=options.threads, isa=options.isa)
    info = image_input(session.inputs, options.input_layer)
    chosen = choose_spec(model, info, options.preprocessing, paths)
    classifier = _Classifier(session, info.name, options)
    reference = _reference(options)
    answers, failed = [], []
    for done, path in enumerate(paths, 1):
        try:
            tensor = to_tensor(load_photo(path), chosen.spec)
        except InputError as error:
            failed.append((str(path), error.message))
            continue
        labels, milliseconds = classifier.label(tensor, names)
        compared = reference.label(tensor, names)[0] if reference else []
        answers.append(Answer(str(path), labels, compared, milliseconds))
        progress("labelling", done, len(paths))
    if not answers:
        raise InputError(failed[0][1] if len(failed) == 1 else "none of the photos could be read")
    _check_expectation(answers, options.expect)
    return Report(answers, failed, classifier.softmax, chosen)


class _Classifier:
    """A session, and which of its inputs and outputs are the picture and the scores."""

    def __init__(self, session: Session, input_name: str, options: Options) -> None:
        self._session, self._input = session, input_name
        self._top = options.top
        self._output = _output(session, options.output_layer)
        self.softmax = False

    def label(self, tensor: NDArray[np.float32], names: Sequence[str]) -> tuple[list[Label], float]:
        start = time.perf_counter()
        scores = self._session.run({self._input: tensor})[self._output]
        milliseconds = (time.perf_counter() - start) * 1e3
        row, applied = probabilities(scores.reshape(-1))
        self.softmax = self.softmax or applied
        best = [int(index) for index in top_k(row, self._top)]
        found = [Label(index, _name(index, len(row), names), float(row[index])) for index in best]
        return found, milliseconds


def _output(session: Session, wanted: str) -> str:
    names = [info.name for info in session.outputs]
    if wanted and wanted not in names:
        raise UsageError(f"the model has no output '{wanted}'", f"its outputs: {', '.join(names)}")
    return wanted or names[0]


def _reference(options: Options) -> _Classifier | None:
    if options.compare is None:
        return None
    session = Session(options.compare, threads=options.threads, isa=options.isa)
    return _Classifier(session, image_input(session.inputs, options.input_layer).name, options)


def _label_names(model: ir.Model, path: Path | None) -> list[str]:
    if path is None:
        return metadata.labels(model) or []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: labels cannot be read: {error}") from error
    return [line.strip() for line in lines]


def _name(index: int, count: int, names: Sequence[str]) -> str:
    """The label of a class. A list without the background class fits a model that has it."""
    if len(names) == count - 1:
        return "background" if index == 0 else names[index - 1]
    return names[index] if index < len(names) else f"class {index}"


def _check_expectation(answers: Sequence[Answer], expected: str | None) -> None:
    if expected is None:
        return
    for answer in answers:
        first = answer.labels[0].name
        if expected.lower() not in first.lower():
            raise ExpectationError(f"{answer.photo}: '{first}' comes first, expected '{expected}'")
