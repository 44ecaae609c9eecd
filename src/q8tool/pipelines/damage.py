"""Damage: how much noise each operator makes when it alone is eight-bit, in one streamed pass."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from q8tool.calibrate.collect import SampleStream
from q8tool.calibrate.ranges import Ranges
from q8tool.engine.session import Session
from q8tool.engine.side_by_side import run_each
from q8tool.passes.choose_precision import choose_precision
from q8tool.passes.tap_units import tap_units
from q8tool.pipelines.progress import Progress, silent

__all__ = ["Damage", "measure_damage"]


@dataclass(frozen=True)
class Damage:
    """Noise of each operator's result as a share of its signal, both summed squares."""

    noise: Mapping[str, float]

    @property
    def ranked(self) -> list[str]:
        """Node names, the most damaged first; equal ones in graph order."""
        return sorted(self.noise, key=lambda name: -self.noise[name])

    def sqnr_db(self, name: str) -> float | None:
        """The same in decibels; None where nothing was measured or nothing was lost."""
        share = self.noise.get(name)
        return None if not share or not math.isfinite(share) else -10.0 * math.log10(share)


def measure_damage(
    float_model: ir.Model,
    ranges: Ranges,
    excluded: Collection[str],
    samples: SampleStream,
    per_channel: bool = True,
    threads: int | None = None,
    progress: Progress = silent,
) -> Damage:
    """Runs every operator that can be eight-bit as such, on what the float model feeds it.

    excluded  names of nodes that stay float
    """
    model = float_model.clone()
    choice = choose_precision(model, ranges, excluded)
    taps = tap_units(model, choice, ranges, per_channel)
    names = [name for pair in taps.values() for name in pair]
    session = Session(model, threads=threads, observe=names)
    sums = dict.fromkeys(names, 0.0)
    fed = ((None, sample.feeds) for sample in samples())
    for done, results in enumerate(run_each(session, fed, lambda _, results: results), 1):
        for name in names:
            sums[name] += float(results[name])
        progress("measuring the damage of each layer", done, 0)
    shares = {}
    for node, (noise, signal) in taps.items():
        share = sums[noise] / sums[signal] if sums[signal] else np.inf * sums[noise]
        shares[node] = 0.0 if np.isnan(share) else float(share)
    return Damage(shares)
