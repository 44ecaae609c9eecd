"""Answers: the float and the eight-bit model side by side on samples that calibration did not see.

Without data the inputs are random, and the figures say how close the arithmetic is, not how good
the labels are.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.collect import Sample
from q8tool.engine.session import Session
from q8tool.numerics.compare import sqnr_db, top1_agreement
from q8tool.pipelines.agreement import first_run, random_feeds
from q8tool.pipelines.progress import Progress

__all__ = ["Comparison", "compare_answers"]

RANDOM_SAMPLES = 2
TIMED_RUNS = 5

Answer = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Comparison:
    """How far the answers are apart.

    samples    how many; is_random: made up, not given
    agreement  share of samples whose greatest score is at the same index, None for no classifier
    sqnr_db    signal to noise of all float outputs together; inf if equal, None if there are none
    equal      share of equal values of the outputs that are no floats; None if there are none
    worst      name of the sample with the lowest SQNR, or else with the fewest equal values
    milliseconds  of one run, float and eight-bit: the fastest of a few
    """

    samples: int
    is_random: bool
    agreement: float | None
    sqnr_db: float | None
    equal: float | None
    worst: str
    milliseconds: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; an infinite SQNR (equal answers) becomes null."""
        sqnr = self.sqnr_db
        return {
            "samples": self.samples,
            "random_input": self.is_random,
            "top1_agreement": self.agreement,
            "sqnr_db": sqnr if sqnr is not None and math.isfinite(sqnr) else None,
            "equal_values": self.equal,
            "worst_sample": self.worst,
            "milliseconds": {"float": self.milliseconds[0], "eight_bit": self.milliseconds[1]},
        }


def compare_answers(
    reference: ir.Model,
    model: ir.Model,
    samples: Callable[[], Iterator[Sample]] | None,
    threads: int | None,
    progress: Progress,
) -> Comparison:
    """Runs both models on the samples, one model after the other, so that one is in memory.

    samples  makes a fresh iterator; None, or one without samples: random input instead.
    """
    is_random = samples is None or next(samples(), None) is None
    session = Session(reference, threads=threads)
    source = _random_samples(reference, session) if is_random or samples is None else samples
    wanted, float_time = _run_all(session, source)
    progress("comparing with the float model", 1, 2)
    del session
    actual, eight_bit_time = _run_all(Session(model, threads=threads), source)
    progress("comparing with the float model", 2, 2)
    pairs = {name: (wanted[name], actual[name]) for name in wanted}
    each = {name: (_noise([pair]), _equal([pair])) for name, pair in pairs.items()}
    return Comparison(
        samples=len(pairs),
        is_random=is_random,
        agreement=_agreement(list(pairs.values())),
        sqnr_db=_noise(list(pairs.values())),
        equal=_equal(list(pairs.values())),
        worst=min(each, key=lambda name: [-1.0 if v is None else v for v in each[name]]),
        milliseconds=(float_time, eight_bit_time),
    )


def _run_all(
    session: Session, samples: Callable[[], Iterator[Sample]]
) -> tuple[dict[str, Answer], float]:
    """Sample name -> outputs, and the fastest run in ms: the first sample is run a few times."""
    answers: dict[str, Answer] = {}
    fastest = math.inf
    for sample in samples():
        runs = TIMED_RUNS if not answers else 1
        for _ in range(runs):
            start = time.perf_counter()
            answers[sample.name] = session.run(sample.feeds)
            fastest = min(fastest, (time.perf_counter() - start) * 1e3)
    return answers, fastest


def _random_samples(model: ir.Model, session: Session) -> Callable[[], Iterator[Sample]]:
    size, _, _ = first_run(model, session)

    def samples() -> Iterator[Sample]:
        for seed in range(RANDOM_SAMPLES):
            yield Sample(f"random {seed}", random_feeds(model, size, seed))

    return samples


def _noise(pairs: Sequence[tuple[Answer, Answer]]) -> float | None:
    """SQNR of all float outputs of (float, eight-bit) answers; None without any."""
    outputs = [
        (reference[name], answer[name])
        for reference, answer in pairs
        for name in reference
        if reference[name].dtype.kind == "f" and reference[name].size
    ]
    if not outputs:
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


def _agreement(pairs: Sequence[tuple[Answer, Answer]]) -> float | None:
    """For classifiers: one float output with a row of scores per sample."""
    same = []
    for reference, answer in pairs:
        name, scores = next(iter(reference.items()))
        if len(reference) != 1 or scores.ndim != 2 or scores.dtype.kind != "f" or scores.size < 2:
            return None
        same.append(top1_agreement(scores, answer[name]))
    return float(np.mean(same)) if same else None
