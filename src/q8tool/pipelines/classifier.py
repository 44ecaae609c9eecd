"""A classifier: a model file, its picture input, its output of scores, its names of classes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.errors import InputError, UsageError
from q8tool.image.load import Image
from q8tool.image.spec import Spec
from q8tool.model import metadata
from q8tool.pipelines.label_names import fit_labels
from q8tool.pipelines.preprocessing import first_of_batch, image_input, photo_feeds
from q8tool.pipelines.scores import probabilities

__all__ = ["Classifier", "Scores"]

PICTURE = "a picture is N x 3 x height x width or N x height x width x 3, floats or bytes"
TYPES: list[np.dtype[Any]] = [np.dtype(name) for name in ("float32", "float16", "uint8")]


@dataclass(frozen=True)
class Scores:
    """Probabilities of all classes (float64), their names, and the milliseconds of the run."""

    names: Sequence[str]
    values: NDArray[np.float64]
    milliseconds: float

    def of(self, name: str, index: int) -> float | None:
        """The probability of a class of another model: by name, else by index; None if it is not.

        Names that several classes share (ImageNet has two cranes) are told apart by the index.
        """
        if index < len(self.names) and self.names[index] == name:
            return float(self.values[index])
        return float(self.values[self.names.index(name)]) if name in self.names else None


class Classifier:
    """A model opened for photos. labels, where given, replace those inside the model.

    Raises InputError for a file that is no usable model or does not take one picture, UsageError
    for an input or output that it does not have.
    """

    def __init__(
        self,
        path: Path,
        labels: Sequence[str] | None = None,
        *,
        input_layer: str = "",
        output_layer: str = "",
        threads: int | None = None,
        isa: str | None = None,
    ) -> None:
        self.path = path
        self.session = Session(path, threads=threads, isa=isa)
        self.labels = labels or metadata.labels(self.session) or []
        self.applied_softmax = False
        self.warning = ""
        self.input = image_input(self.session.inputs, input_layer, PICTURE, TYPES)
        self._output = _chosen_output(self.session, output_layer)
        self._gives_probabilities = self._output in self.session.probabilities
        self._names: list[str] = []

    def scores(self, photo: Image, spec: Spec) -> Scores:
        """What the model says of the photo. Raises InputError if that is not a row of scores."""
        feeds = photo_feeds(photo, self.input, spec)
        if not self._names:
            self.session.run(feeds)  # compiles for this shape, which is not to be timed
        start = time.perf_counter()
        answers = self.session.run(feeds)[self._output]
        milliseconds = (time.perf_counter() - start) * 1e3
        values, applied = probabilities(self._row(answers), self._gives_probabilities)
        self.applied_softmax = self.applied_softmax or applied
        if not self._names:
            self._names, self.warning = fit_labels(self.labels, len(values))
        return Scores(self._names, values, milliseconds)

    def _row(self, answers: NDArray[Any]) -> NDArray[Any]:
        """The scores of the first photo of the batch."""
        answer = first_of_batch(answers, self.input)
        is_row = answer.size == max(answer.shape, default=0) > 1
        if answer.dtype.kind != "f" or not is_row:
            shape = " x ".join(map(str, answers.shape)) or "a single number"
            others = [info.name for info in self.session.outputs if info.name != self._output]
            raise InputError(
                f"{self.path}: output '{self._output}' ({answers.dtype}, {shape}) is not one score "
                "per class",
                f"--output-layer takes another: {', '.join(others)}" if others else "",
            )
        if not np.isfinite(answer).all():
            raise InputError(f"{self.path}: output '{self._output}' is not finite for this photo")
        return answer.reshape(-1)


def _chosen_output(session: Session, wanted: str) -> str:
    names = [info.name for info in session.outputs]
    if wanted and wanted not in names:
        raise UsageError(f"the model has no output '{wanted}'", f"its outputs: {', '.join(names)}")
    return wanted or names[0]
