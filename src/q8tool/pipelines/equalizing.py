"""Equalizing: channel statistics from a few samples, and a model that is the better for them.

statistics of channels -> equalize a copy, center its attention

It comes before calibration, which then looks at the equalized model.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from q8tool.calibrate.channels import Channels, collect_channels
from q8tool.model.change import Change
from q8tool.passes.center_attention import center_attention, centered_values
from q8tool.passes.equalize import DEVIATIONS, ChannelStatistics, equalize, equalized_values
from q8tool.pipelines.refitting import Refitting

__all__ = ["Equalized", "equalized"]

# The extremes of a channel that was seen less often say little of what else may come: scaled to
# fill the codes, other samples would leave them.
FEWEST_VALUES = 200


@dataclass(frozen=True)
class Equalized:
    """A model with the same answers, and what was done.

    scaled  name of every value whose channels have another scale than before -> their axis; None:
            something was subtracted from them
    """

    model: ir.Model
    changes: list[Change] = field(default_factory=list)
    scaled: Mapping[str, int | None] = field(default_factory=dict)


def equalized(model: ir.Model, refitting: Refitting, coded: Collection[str]) -> Equalized:
    """A copy of a prepared model whose channels use more of their codes.

    coded  names of the values that become codes
    Statistics come from the samples of the refitting. The model itself if nothing is gained.
    """
    copy = model.clone()
    every = equalized_values(copy)
    axes = {name: at for name, at in every.items() if name in coded}
    read = {**axes, **dict.fromkeys(centered_values(copy), -1)}
    samples = refitting.samples.at(refitting.indices)
    found = collect_channels(copy, samples, read, refitting.threads) if read else {}
    known = {name: one for name, one in found.items() if one.count >= FEWEST_VALUES}
    shifted = center_attention(
        copy, {name: one.sums / max(1, one.count) for name, one in found.items()}
    )
    changes = equalize(copy, {name: _statistics(one) for name, one in known.items()})
    if not changes and not shifted:
        return Equalized(model)
    scaled = {change.node: every.get(change.node) for change in (*changes, *shifted)}
    return Equalized(copy, [*changes, *shifted], scaled)


def _statistics(found: Channels) -> ChannelStatistics:
    highs = np.stack(found.highs)
    likely = highs.mean(axis=0) + DEVIATIONS * highs.std(axis=0)
    return ChannelStatistics(
        found.low, found.high, found.squares / max(1, found.count), likely, found.count
    )
