"""Equalizing: channel statistics from a few samples, and the ranges that change with them.

ranges of the prepared model -> statistics of channels -> equalize a copy, center its attention
-> its ranges anew
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from q8tool.calibrate.channels import Channels, collect_channels
from q8tool.calibrate.collect import collect
from q8tool.calibrate.observers import Method
from q8tool.calibrate.ranges import Ranges
from q8tool.model.change import Change
from q8tool.passes.center_attention import center_attention, centered_values
from q8tool.passes.equalize import DEVIATIONS, ChannelStatistics, equalize, equalized_values
from q8tool.passes.known_ranges import known_ranges
from q8tool.pipelines.range_sources import Ranging
from q8tool.pipelines.refitting import Refitting
from q8tool.pipelines.samples import held_back

__all__ = ["Equalized", "equalized"]

# The extremes of a channel that was seen less often say little of what else may come: scaled to
# fill the codes, other samples would leave them.
FEWEST_VALUES = 200


@dataclass(frozen=True)
class Equalized:
    """A model with the same answers, its ranges, and what was done.

    scaled  name of every value whose channels have another scale than before -> their axis; None:
            something was subtracted from them
    """

    model: ir.Model
    ranges: Ranges
    changes: list[Change] = field(default_factory=list)
    scaled: Mapping[str, int | None] = field(default_factory=dict)


def equalized(model: ir.Model, ranging: Ranging, refitting: Refitting, method: Method) -> Equalized:
    """A copy of a prepared model whose channels use more of their codes, and its ranges.

    Statistics come from the samples of the refitting; ranges of what changed are measured again, on
    every second sample that calibration sees. The model itself if nothing is gained.
    """
    copy = model.clone()
    every = equalized_values(copy)
    axes = {name: at for name, at in every.items() if name in ranging.ranges}
    read = {**axes, **dict.fromkeys(centered_values(copy), -1)}
    samples, threads = refitting.samples, refitting.threads
    found = collect_channels(copy, samples.at(refitting.indices), read, threads) if read else {}
    known = {name: one for name, one in found.items() if one.count >= FEWEST_VALUES}
    shifted = center_attention(
        copy, {name: one.sums / max(1, one.count) for name, one in found.items()}
    )
    changes = equalize(copy, {name: _statistics(one) for name, one in known.items()})
    if not changes and not shifted:
        return Equalized(model, ranging.ranges)
    scaled = {change.node: every.get(change.node) for change in (*changes, *shifted)}
    changed = [name for name in scaled if name in ranging.ranges]
    changes += shifted
    indices = held_back(len(samples))[0][::2]
    measured = collect(copy, samples.at(indices), changed, method, threads).ranges()
    ranges = known_ranges(copy, {**_kept(ranging.ranges, changed), **measured})
    return Equalized(copy, ranges, changes, scaled)


def _kept(ranges: Mapping[str, tuple[float, float]], changed: list[str]) -> Ranges:
    return {name: ends for name, ends in ranges.items() if name not in changed}


def _statistics(found: Channels) -> ChannelStatistics:
    highs = np.stack(found.highs)
    likely = highs.mean(axis=0) + DEVIATIONS * highs.std(axis=0)
    return ChannelStatistics(
        found.low, found.high, found.squares / max(1, found.count), likely, found.count
    )
