"""Timing: is the eight-bit model slower than the float one, whatever else the machine does?

Both run in turn, a few runs each, so that a slow moment hits both; the fastest run of each counts,
because noise only ever adds. Where eight bits are far faster few runs will do. What looks slower is
measured again for longer, and is called slower only if it stays clearly so.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.pipelines.shared_session import SharedSession, session_of

__all__ = ["Timing", "slowest_steps", "time_models"]

ROUNDS = 7
RUNS_PER_ROUND = 2
# Rounds that are enough where eight bits take less than so much of the time.
FEWEST_ROUNDS = 3
FAR_FASTER = 0.7
# How long both models together run at first, and when a doubt has to be settled.
USUAL_SECONDS = 1.0
DOUBTFUL_SECONDS = 6.0
# Slower is what takes so much longer, relative and in milliseconds.
CLEARLY = 1.1
NOTICEABLE_MS = 0.1

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one run, the fastest of many, and whether eight bits are clearly slower."""

    float_ms: float
    eight_bit_ms: float
    is_slower: bool

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"float": self.float_ms, "eight_bit": self.eight_bit_ms}


def time_models(
    reference: ir.Model | SharedSession,
    model: ir.Model | SharedSession,
    feeds: Feeds,
    threads: int | None = None,
    other_feeds: Feeds | None = None,
) -> Timing:
    """Runs both models in turn on the same input; other_feeds: the second model's form of it."""
    sessions = [session_of(one, threads) for one in (reference, model)]
    fed = [feeds, feeds if other_feeds is None else other_feeds]
    for session, own in zip(sessions, fed, strict=True):
        session.run(own)
    best = _fastest(sessions, fed, USUAL_SECONDS)
    if _is_slower(best):
        again = _fastest(sessions, fed, DOUBTFUL_SECONDS)
        best = (min(best[0], again[0]), min(best[1], again[1]))
    return Timing(*best, is_slower=_is_slower(best))


def _fastest(
    sessions: list[Session], feeds: Sequence[Feeds], seconds: float
) -> tuple[float, float]:
    """Milliseconds of the fastest run of each, over rounds of at most so many seconds."""
    best = [np.inf, np.inf]
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < ROUNDS or (seconds == DOUBTFUL_SECONDS and time.perf_counter() < end):
        for index, session in enumerate(sessions):
            for _ in range(RUNS_PER_ROUND):
                start = time.perf_counter()
                session.run(feeds[index])
                best[index] = min(best[index], (time.perf_counter() - start) * 1e3)
        rounds += 1
        if rounds >= FEWEST_ROUNDS and best[1] < FAR_FASTER * best[0]:
            break
        if time.perf_counter() > end and rounds > 1:
            break
    return best[0], best[1]


def _is_slower(best: tuple[float, float]) -> bool:
    float_ms, eight_bit_ms = best
    return eight_bit_ms > float_ms * CLEARLY and eight_bit_ms - float_ms > NOTICEABLE_MS


def slowest_steps(
    model: ir.Model, feeds: Feeds, threads: int | None, count: int = 3
) -> list[tuple[str, str]]:
    """(operator and its nodes, why it is slow or "") of the steps that take the most time."""
    steps = Session(model, threads=threads).profile(feeds)
    worst = sorted(steps, key=lambda step: -step.nanoseconds)[:count]
    return [(f"{step.op} '{step.nodes[0] if step.nodes else ''}'", step.reason) for step in worst]
