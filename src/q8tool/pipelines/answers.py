"""Answers: the float and the eight-bit model side by side on samples that calibration did not see.

    float model --samples--> answers, kept by the Referee
    other model --samples--> answers --Referee--> Comparison: agreement, noise, accuracy

Without data the inputs are random, and the figures say how close the arithmetic is, not how good
the labels are. Outputs that are chosen, such as the boxes that NonMaxSuppression finds, say little
of either: in their place is compared what both models choose from.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.collect import Sample, SampleStream
from q8tool.engine.parts import LARGE, run_in_parts
from q8tool.engine.session import Session
from q8tool.engine.side_by_side import run_each
from q8tool.model.chosen import Chosen, chosen_outputs
from q8tool.model.graph import weight_bytes
from q8tool.model.probabilities import gives_probabilities
from q8tool.numerics.compare import expected_agreement, sqnr_db, top1_agreement, top_k
from q8tool.pipelines.agreement import first_run, random_feeds
from q8tool.pipelines.progress import Progress, silent
from q8tool.pipelines.shared_session import SharedSession, session_of

__all__ = ["Accuracy", "Comparison", "Difference", "Referee", "Truth", "samples_hash"]

RANDOM_SAMPLES = 2
_NO_CHOICE = Chosen(frozenset(), {})

Answer = Mapping[str, NDArray[Any]]
Truth = Mapping[str, int]
"""Name of a sample -> the class that it really is."""


@dataclass(frozen=True)
class Difference:
    """A sample to which the models give different labels, and the index of each."""

    sample: str
    reference: int
    other: int


@dataclass(frozen=True)
class Accuracy:
    """Shares of labelled samples whose true class comes first, or is among the first five."""

    samples: int
    top1: float
    top5: float


@dataclass(frozen=True)
class Comparison:
    """How far the answers are apart.

    samples    how many; is_random: made up, not given
    agreement  share of samples whose greatest score is at the same index, None for no classifier
    expected   the share that follows from the noise of the scores and how narrowly each was won: a
               steadier figure than the count where samples are few; None for no classifier
    sqnr_db    signal to noise of all float outputs together; inf if equal, None if there are none
    equal      share of equal values of the outputs that are no floats; None if there are none
    worst      name of the sample with the lowest SQNR, or else with the fewest equal values
    differing  samples with different labels, in their order
    accuracy   of the reference and of the other model; None without labels
    """

    samples: int
    is_random: bool
    agreement: float | None
    expected: float | None
    sqnr_db: float | None
    equal: float | None
    worst: str
    differing: Sequence[Difference] = ()
    accuracy: tuple[Accuracy, Accuracy] | None = None

    @property
    def drop(self) -> float | None:
        """What was lost, 0..1: of top-1 accuracy with labels, else the share of other labels.

        For what is no classifier: the share of other values, or the noise relative to the signal
        (root mean square). None where nothing can be said.
        """
        if self.accuracy is not None:
            return _rounded(max(0.0, self.accuracy[0].top1 - self.accuracy[1].top1))
        if self.agreement is not None:
            return _rounded(1.0 - self.agreement)
        if self.equal is not None:
            return _rounded(1.0 - self.equal)
        return None if self.sqnr_db is None else 10.0 ** (-self.sqnr_db / 20.0)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; an infinite SQNR (equal answers) becomes null."""
        sqnr = self.sqnr_db
        found: dict[str, Any] = {
            "samples": self.samples,
            "random_input": self.is_random,
            "top1_agreement": self.agreement,
            "expected_agreement": self.expected,
            "sqnr_db": sqnr if sqnr is not None and math.isfinite(sqnr) else None,
            "equal_values": self.equal,
            "worst_sample": self.worst,
            "differing": [vars(difference) for difference in self.differing],
        }
        if self.accuracy is not None:
            found["accuracy"] = {
                key: vars(value)
                for key, value in zip(("float", "eight_bit"), self.accuracy, strict=True)
            }
        return found


class Referee:
    """Keeps the reference's answers to the samples, and says how far other models' are from them.

    samples  makes a fresh iterator; None, or one without samples: random input instead
    truth    classes of samples, by name
    """

    def __init__(
        self,
        reference: ir.Model | Session | SharedSession,
        samples: SampleStream | None,
        threads: int | None = None,
        truth: Truth | None = None,
        progress: Progress = silent,
    ) -> None:
        model = _model(reference)
        self._in_parts = model is not None and weight_bytes(model) > LARGE
        self._threads = threads
        runner = reference if self._in_parts else session_of(reference, threads)
        self.is_random = samples is None or next(samples(), None) is None
        if self.is_random or samples is None:
            assert model is not None
            samples = _random_samples(model, lambda source: self._run(runner, source)[0])
        self.samples = samples
        self._truth = truth or {}
        self._are_probabilities = _gives_probabilities(reference)
        progress("running the float model", 0, 0)
        self._choice = _choice(reference) if not self._in_parts else _NO_CHOICE
        observed = reference if self._choice.sources else runner
        self._wanted, self._float_ms = self._run(observed, samples, self._choice)
        self._other_ms = 0.0

    @property
    def first(self) -> Sample:
        """A sample to time models with."""
        return next(self.samples())

    def compare(
        self, model: ir.Model | Session | SharedSession, samples: SampleStream | None = None
    ) -> Comparison:
        """Runs the model on the same samples, or on these, which are the same photos.

        samples  under the same names, where the model takes its input in another form; not looked
                 at where the input is random
        """
        chosen = self.samples if samples is None or self.is_random else samples
        choice = _choice(model) if self._choice.outputs else _NO_CHOICE
        alike = choice.sources.keys() == self._choice.sources.keys()
        actual, self._other_ms = self._run(model, chosen, choice if alike else _NO_CHOICE)
        left_out = self._choice.outputs if alike else self._choice.sources.keys()
        pairs = {name: (_without(self._wanted[name], left_out), actual[name])
                 for name in self._wanted}  # fmt: skip
        each = {name: (_noise([pair]), _equal([pair])) for name, pair in pairs.items()}
        rows = _score_rows(list(pairs.values()))
        found = Comparison(
            samples=len(pairs),
            is_random=self.is_random,
            agreement=None,
            expected=None,
            sqnr_db=_noise(list(pairs.values())),
            equal=_equal(list(pairs.values())),
            worst=min(each, key=lambda name: [-1.0 if v is None else v for v in each[name]]),
        )
        return found if rows is None else self._judged(found, list(pairs), *rows)

    def measured_times(self) -> tuple[float, float] | None:
        """Milliseconds of one run, float and other, where both are too large to be run in turn."""
        return (self._float_ms, self._other_ms) if self._in_parts else None

    def _run(
        self,
        runner: ir.Model | Session | SharedSession,
        samples: SampleStream,
        choice: Chosen = _NO_CHOICE,
    ) -> tuple[dict[str, Answer], float]:
        """Sample name -> outputs; and milliseconds of one run, 0 where nobody asks for them.

        choice  of the model: what it is made from is among the outputs then
        """
        model = _model(runner)
        if self._in_parts and model is not None:
            chosen = list(samples())
            answers, milliseconds = run_in_parts(
                model, [sample.feeds for sample in chosen], self._threads
            )
            names = [sample.name for sample in chosen]
            return dict(zip(names, answers, strict=True)), milliseconds
        called = {name: key for key, name in choice.sources.items()}
        if model is not None and called:
            session = Session(model, threads=self._threads, observe=list(called))
        else:
            session = session_of(runner, self._threads)

        def named(name: str, found: Answer) -> tuple[str, Answer]:
            return name, {called.get(key, key): found[key] for key in found}

        fed = ((sample.name, sample.feeds) for sample in samples())
        return dict(run_each(session, fed, named)), 0.0

    def _judged(
        self,
        found: Comparison,
        names: Sequence[str],
        wanted: Sequence[NDArray[Any]],
        actual: Sequence[NDArray[Any]],
    ) -> Comparison:
        """With what is known of classifiers; wanted and actual: (rows, classes) of each sample."""
        first = [(a.argmax(axis=1), b.argmax(axis=1)) for a, b in zip(wanted, actual, strict=True)]
        differing = [
            Difference(name, int(a[a != b][0]), int(b[a != b][0]))
            for name, (a, b) in zip(names, first, strict=True)
            if (a != b).any()
        ]
        scores = [np.concatenate(rows) for rows in (wanted, actual)]
        if self._are_probabilities:
            scores = [np.log(np.maximum(rows, np.finfo(np.float32).tiny)) for rows in scores]
        classes = [self._truth.get(name) for name in names]
        accuracy = None
        if any(label is not None for label in classes):
            accuracy = (_accuracy(wanted, classes), _accuracy(actual, classes))
        return Comparison(
            samples=found.samples,
            is_random=found.is_random,
            agreement=top1_agreement(scores[0], scores[1]),
            expected=expected_agreement(scores[0], scores[1]),
            sqnr_db=found.sqnr_db,
            equal=found.equal,
            worst=found.worst,
            differing=differing,
            accuracy=accuracy,
        )


def _rounded(share: float) -> float:
    """1 - 0.99 as 0.01, which is what somebody means who allows 1 %."""
    return round(share, 12)


def samples_hash(samples: SampleStream) -> str:
    """SHA-256 of all inputs, in their order: which samples a comparison was made on."""
    digest = hashlib.sha256()
    for sample in samples():
        for name in sorted(sample.feeds):
            digest.update(np.ascontiguousarray(sample.feeds[name]).data)
    return digest.hexdigest()


def _gives_probabilities(model: ir.Model | Session | SharedSession) -> bool:
    """Whether the first output holds probabilities."""
    if isinstance(model, Session):
        return model.outputs[0].name in model.probabilities
    graph_model = _model(model)
    assert graph_model is not None
    return gives_probabilities(graph_model.graph.outputs[0])


def _model(runner: ir.Model | Session | SharedSession) -> ir.Model | None:
    """The model itself; a session has none any more."""
    if isinstance(runner, SharedSession):
        return runner.model
    return None if isinstance(runner, Session) else runner


def _choice(runner: ir.Model | Session | SharedSession) -> Chosen:
    model = _model(runner)
    return _NO_CHOICE if model is None else chosen_outputs(model)


def _without(answer: Answer, names: Collection[str]) -> Answer:
    return {name: array for name, array in answer.items() if name not in names}


def _random_samples(
    model: ir.Model, run: Callable[[SampleStream], dict[str, Answer]]
) -> SampleStream:
    def run_once(feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return dict(run(lambda: iter([Sample("first", feeds)]))["first"])

    sizes, _, _ = first_run(model, run_once)

    def samples() -> Iterator[Sample]:
        for seed in range(RANDOM_SAMPLES):
            yield Sample(f"random {seed}", random_feeds(model, sizes, seed))

    return samples


def _noise(pairs: Sequence[tuple[Answer, Answer]]) -> float | None:
    """SQNR of all float outputs of (float, eight-bit) answers; None without any that are numbers.

    Outputs whose shape follows from values, such as boxes that were found, may differ in it: they
    say nothing here.
    """
    outputs = [
        (reference[name], answer[name])
        for reference, answer in pairs
        for name in reference
        if reference[name].dtype.kind == "f" and reference[name].size
        if reference[name].shape == answer[name].shape
    ]
    if not any(np.isfinite(reference).any() for reference, _ in outputs):
        return None
    wanted = np.concatenate([reference.ravel() for reference, _ in outputs])
    actual = np.concatenate([answer.ravel() for _, answer in outputs])
    return sqnr_db(wanted, actual)


def _equal(pairs: Sequence[tuple[Answer, Answer]]) -> float | None:
    """Share of equal values of all outputs that are no floats: classes, indices; None without."""
    same = [
        (reference[name] == answer[name]).ravel()
        for reference, answer in pairs
        for name in reference
        if reference[name].dtype.kind != "f" and reference[name].shape == answer[name].shape
    ]
    return float(np.mean(np.concatenate(same))) if sum(map(len, same)) else None


def _score_rows(
    pairs: Sequence[tuple[Answer, Answer]],
) -> tuple[list[NDArray[Any]], list[NDArray[Any]]] | None:
    """For classifiers: the rows of scores of both models, sample by sample.

    A classifier has one float output with a row of scores per picture; dimensions of size 1 beside
    it do not count. Rows whose length follows from values, such as sound, are none of classes.
    """
    wanted, actual = [], []
    for reference, answer in pairs:
        name, scores = next(iter(reference.items()))
        is_row = scores.ndim >= 2 and scores.size == len(scores) * max(scores.shape[1:])
        has_classes = is_row and scores.size >= 2 * scores.shape[0] > 0
        if len(reference) != 1 or not has_classes or scores.dtype.kind != "f":
            return None
        if answer[name].shape != scores.shape:
            return None
        wanted.append(scores.reshape(len(scores), -1))
        actual.append(answer[name].reshape(len(scores), -1))
    return (wanted, actual) if len({rows.shape[1] for rows in wanted}) == 1 else None


def _accuracy(rows: Sequence[NDArray[Any]], classes: Sequence[int | None]) -> Accuracy:
    """rows: (1 or more, classes) of each sample; the first row counts."""
    best = [(top_k(row[0], 5), label) for row, label in zip(rows, classes, strict=True)]
    hits = [(top[0] == label, label in top) for top, label in best if label is not None]
    top1, top5 = np.mean(hits, axis=0)
    return Accuracy(len(hits), float(top1), float(top5))
