"""Answers: the float and the eight-bit model side by side on samples that calibration did not see.

Without data the inputs are random, and the figures say how close the arithmetic is, not how good
the labels are.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.collect import Sample
from q8tool.engine.session import Session
from q8tool.numerics.compare import sqnr_db
from q8tool.pipelines.agreement import random_feeds
from q8tool.pipelines.progress import Progress

__all__ = ["Comparison", "compare_answers"]

RANDOM_SAMPLES = 2
TIMED_RUNS = 5


@dataclass(frozen=True)
class Comparison:
    """How far the answers are apart.

    samples    how many; is_random: made up, not given
    agreement  share of samples whose greatest score is at the same index, None for no classifier
    sqnr_db    signal to noise of all outputs together; inf if equal
    worst      name of the sample with the lowest SQNR, and that SQNR
    milliseconds  of one run, float and eight-bit: the fastest of a few, interleaved
    """

    samples: int
    is_random: bool
    agreement: float | None
    sqnr_db: float
    worst: tuple[str, float]
    milliseconds: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; infinite becomes null."""
        return {
            "samples": self.samples,
            "random_input": self.is_random,
            "top1_agreement": self.agreement,
            "sqnr_db": _finite(self.sqnr_db),
            "worst_sample": self.worst[0],
            "worst_sqnr_db": _finite(self.worst[1]),
            "milliseconds": {"float": self.milliseconds[0], "eight_bit": self.milliseconds[1]},
        }


def compare_answers(
    reference: ir.Model,
    model: ir.Model,
    samples: Callable[[], Iterator[Sample]] | None,
    threads: int | None,
    progress: Progress,
) -> Comparison:
    """Runs both models on the samples, one model after the other, so that one is in memory."""
    is_random = samples is None
    source = samples if samples is not None else (lambda: _random_samples(reference))
    wanted, float_time = _run_all(reference, source, threads)
    progress("comparing with the float model", 1, 2)
    actual, eight_bit_time = _run_all(model, source, threads)
    progress("comparing with the float model", 2, 2)
    names = list(wanted)
    each = {name: _noise(wanted[name], actual[name]) for name in names}
    worst = min(each, key=lambda name: each[name], default="")
    return Comparison(
        samples=len(names),
        is_random=is_random,
        agreement=_agreement([wanted[n] for n in names], [actual[n] for n in names]),
        sqnr_db=_noise(
            {f"{n}/{output}": value for n in names for output, value in wanted[n].items()},
            {f"{n}/{output}": value for n in names for output, value in actual[n].items()},
        ),
        worst=(worst, each.get(worst, math.inf)),
        milliseconds=(float_time, eight_bit_time),
    )


def _run_all(
    model: ir.Model, samples: Callable[[], Iterator[Sample]], threads: int | None
) -> tuple[dict[str, dict[str, NDArray[Any]]], float]:
    """Sample name -> outputs, and the fastest of a few runs of the first sample in ms."""
    session = Session(model, threads=threads)
    answers: dict[str, dict[str, NDArray[Any]]] = {}
    fastest = math.inf
    for sample in samples():
        runs = TIMED_RUNS if not answers else 1
        for _ in range(runs):
            start = time.perf_counter()
            answers[sample.name] = session.run(sample.feeds)
            fastest = min(fastest, (time.perf_counter() - start) * 1e3)
    return answers, fastest


def _random_samples(model: ir.Model) -> Iterator[Sample]:
    for seed in range(RANDOM_SAMPLES):
        yield Sample(f"random {seed}", random_feeds(model, seed=seed))


def _noise(wanted: Mapping[str, NDArray[Any]], actual: Mapping[str, NDArray[Any]]) -> float:
    floats = [name for name, value in wanted.items() if value.dtype.kind == "f" and value.size]
    if not floats:
        return math.inf
    return sqnr_db(
        np.concatenate([wanted[name].ravel() for name in floats]),
        np.concatenate([actual[name].ravel() for name in floats]),
    )


def _agreement(
    wanted: list[dict[str, NDArray[Any]]], actual: list[dict[str, NDArray[Any]]]
) -> float | None:
    """For classifiers: one float output with a row of scores per sample."""
    same = []
    for reference, answer in zip(wanted, actual, strict=True):
        name, scores = next(iter(reference.items()))
        if len(reference) != 1 or scores.ndim != 2 or scores.dtype.kind != "f" or scores.size < 2:
            return None
        same.append(np.array_equal(scores.argmax(axis=-1), answer[name].argmax(axis=-1)))
    return float(np.mean(same)) if same else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
