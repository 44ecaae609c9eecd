"""Equalize: channels share the 256 codes of their tensor more evenly.

A tensor has one scale; a channel that reaches a tenth of the tensor's range gets a tenth of the
codes. Multiplied by s, it gets more, and the weights behind it are divided by s:

    noise of the activations   step^2 / 12 * sum (w / s)^2        falls with s
    noise of the weights       step(w / s)^2 / 12 * sum (s x)^2   rises where a row reads more
                                                                  than one channel

s = (share of the range that the channel uses, the largest of the group's tensors)^-strength. Of a
few strengths the one with the least noise is taken, relative to the signal of each row. s is at
least 1 and no channel passes the tensor's range, so that a Clip cuts nothing that photos show.
Sources: Nagel et al., Data-Free Quantization, ICCV 2019 (arXiv:1906.04721); for norms and MatMul
Xiao et al., SmoothQuant, ICML 2023 (arXiv:2211.10438). Choosing the strength by noise is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.model.change import Change
from q8tool.model.graph import Names, constant, get_int, make_initializer
from q8tool.passes.scale_groups import ScaleGroup, scale_groups, tied_groups

__all__ = ["ChannelStatistics", "equalize", "equalized_values"]

STRENGTHS = np.linspace(0.0, 1.0, 9)
# A channel that photos hardly wake may wake later: it is never multiplied by more.
LARGEST_FACTOR = 64.0
# What balanced and fitted rounding leave of the weights' noise.
WEIGHT_NOISE = 0.5
# The share of its noise to which a group must fall to be touched. One behind a Clip must gain more,
# and have shown many values: what photos did not show would be cut.
WORTHWHILE = 0.9
WORTHWHILE_BEHIND_CLIP = 0.5
FEWEST_VALUES = 100_000
# By how many deviations of the samples' maxima a channel behind a Clip may pass their mean.
DEVIATIONS = 3.0

Values = NDArray[np.float64]


@dataclass(frozen=True)
class ChannelStatistics:
    """Of one tensor over all samples, each but count per channel, real units.

    low, high, power  lowest, highest, mean square
    likely_high       a value that hardly any sample passes: mean + deviations of their highest
    count             values of one channel in all samples
    """

    low: Values
    high: Values
    power: Values
    likely_high: Values
    count: int


def equalized_values(model: ir.Model) -> dict[str, int]:
    """Names of the values whose statistics equalize needs, with the axis of their channels."""
    return {value.name or "": group.axis for group in scale_groups(model) for value in group.values}


def equalize(model: ir.Model, statistics: Mapping[str, ChannelStatistics]) -> list[Change]:
    """Rescales the channels of every group where that lowers the noise, in place.

    statistics  by value name, of what becomes codes; a group that is read where it has none is
                left alone, and those that share weights with it
    Weights that operators share stay shared. Each change names a value whose channels are scaled
    now.
    """
    names = Names(model.graph)
    changes = []
    for tied in tied_groups(scale_groups(model)):
        read = [node.inputs[0] for group in tied for node in group.consumers]
        if all(value is not None and value.name in statistics for value in read):
            factors = _factors(tied, statistics)
            if factors is not None:
                _apply(model.graph, names, tied, factors)
                what = f"channels times 1 to {factors.max():.3g}"
                values = [value.name or "" for group in tied for value in group.values]
                changes += [Change("equalize", name, what) for name in values]
    return changes


def _factors(
    tied: Sequence[ScaleGroup], statistics: Mapping[str, ChannelStatistics]
) -> Values | None:
    """The factors with the least noise in all groups; None where 1 is about as good."""
    found = [
        [statistics[v.name or ""] for v in group.values if v.name in statistics] for group in tied
    ]
    every = [one for members in found for one in members]
    is_behind_clip = any(
        _producer_type(value) == "Clip" for group in tied for value in group.values
    )
    if is_behind_clip and min(one.count for one in every) < FEWEST_VALUES:
        return None
    shares = _shares(every, is_behind_clip)
    readers = [[_Consumer.of(node, statistics) for node in group.consumers] for group in tied]
    noises = [
        sum(
            _noise(members, consumers, shares**-strength)
            for members, consumers in zip(found, readers, strict=True)
        )
        for strength in STRENGTHS
    ]
    best = int(np.argmin(noises))
    limit = WORTHWHILE_BEHIND_CLIP if is_behind_clip else WORTHWHILE
    return shares ** -STRENGTHS[best] if noises[best] < limit * noises[0] else None


def _producer_type(value: ir.Value) -> str:
    producer = value.producer()
    return "" if producer is None else producer.op_type


def _shares(found: Sequence[ChannelStatistics], is_behind_clip: bool) -> Values:
    """Per channel the largest share of a tensor's extent that it reaches in any tensor, <= 1."""
    shares = np.zeros_like(found[0].low)
    for one in found:
        high = np.maximum(one.high, one.likely_high) if is_behind_clip else one.high
        low, high = np.minimum(one.low, 0.0), np.maximum(np.minimum(high, one.high.max()), 0.0)
        extent = high.max() - low.min()
        for ends in (-low, high):
            # An end that is close to 0 holds few codes, however much of it a channel uses.
            whole = max(float(ends.max()), 0.25 * extent)
            if whole > 0.0:
                shares = np.maximum(shares, ends / whole)
    largest = shares.max()
    return np.maximum(shares / largest, 1.0 / LARGEST_FACTOR) if largest > 0.0 else shares + 1.0


@dataclass(frozen=True)
class _Consumer:
    """What of an operator's weights decides its noise; (groups, rows, channels) or (.., channels).

    squares, largest  over the taps;  power  of the input;  signal  (groups, rows)
    """

    squares: Values
    largest: NDArray[np.float32]
    power: Values
    signal: Values
    taps: int

    @staticmethod
    def of(node: ir.Node, statistics: Mapping[str, ChannelStatistics]) -> "_Consumer":
        x, groups = node.inputs[0], _groups(node)
        weights = _by_row(node)
        taps = weights.shape[3]
        power = statistics[(x.name if x is not None else None) or ""].power.reshape(groups, -1)
        # Sums and maxima along short rows: a product with ones and tap by tap take a tenth.
        squares = np.asarray(np.square(weights) @ np.ones(taps, np.float32), np.float64)
        largest = np.abs(weights[..., 0])
        for tap in range(1, taps):
            np.maximum(largest, np.abs(weights[..., tap]), out=largest)
        return _Consumer(squares, largest, power, _times(squares, power), taps)


def _times(rows: Values, by_channel: Values) -> Values:
    """(groups, rows, channels) times (groups, channels): (groups, rows)."""
    return np.asarray((rows @ by_channel[:, :, None])[:, :, 0])


def _noise(
    found: Sequence[ChannelStatistics], consumers: Sequence[_Consumer], factors: Values
) -> float:
    """Noise of the consumers' results over their signal, averaged over their rows."""
    steps = [
        (factors * one.high).max(initial=0.0) - (factors * one.low).min(initial=0.0)
        for one in found
    ]
    activations = float(np.square(steps).sum()) / (255.0**2 * 12.0)
    total = 0.0
    for consumer in consumers:
        split = factors.reshape(consumer.power.shape)
        power = (consumer.power * split**2).sum(axis=1)[:, None]
        divided = consumer.largest * (1.0 / split[:, None]).astype(np.float32)
        step = divided.max(axis=2).astype(np.float64) / 127.0
        noise = activations * _times(consumer.squares, split**-2.0)
        noise += WEIGHT_NOISE * np.square(step) / 12.0 * consumer.taps * power
        awake = consumer.signal > 0.0
        if awake.any():
            total += float((noise[awake] / consumer.signal[awake]).mean())
    return total


def _groups(node: ir.Node) -> int:
    return get_int(node, "group", 1) if node.op_type == "Conv" else 1


def _by_row(node: ir.Node) -> NDArray[np.float32]:
    """The weights as (groups, rows of the group, input channels of the group, taps)."""
    weights = constant(node.inputs[1])
    assert weights is not None
    weights = weights.astype(np.float32, copy=False)
    if node.op_type == "Conv":
        groups = _groups(node)
        return weights.reshape(groups, weights.shape[0] // groups, weights.shape[1], -1)
    is_turned = node.op_type == "Gemm" and get_int(node, "transB", 0)
    return (weights if is_turned else weights.T)[None, :, :, None]


def _apply(graph: ir.Graph, names: Names, tied: Sequence[ScaleGroup], factors: Values) -> None:
    producers = [node for group in tied for node in group.producers]
    for index in (1, 2):
        made: dict[ir.Value, ir.Value] = {}
        for node in producers:
            array = constant(node.inputs[index]) if index < len(node.inputs) else None
            if array is not None:
                shape = [1] * array.ndim
                shape[_row_axis(node) if index == 1 else -1] = -1
                _replace(graph, names, node, index, array * factors.reshape(shape), made)
    made = {}
    for node in (node for group in tied for node in group.consumers):
        array = constant(node.inputs[1])
        assert array is not None
        _replace(graph, names, node, 1, array / _per_weight(node, array.shape, factors), made)


def _row_axis(node: ir.Node) -> int:
    """The axis of the weights along which outputs lie."""
    is_turned = node.op_type == "Gemm" and get_int(node, "transB", 0)
    return 0 if node.op_type == "Conv" or is_turned else -1


def _per_weight(node: ir.Node, shape: tuple[int, ...], factors: Values) -> Values:
    """The factors of the input channels, to be broadcast against the weights."""
    if node.op_type == "Conv":
        per_group = factors.reshape(_groups(node), -1)
        per_row = np.repeat(per_group, shape[0] // len(per_group), axis=0)
        return per_row.reshape(*per_row.shape, *[1] * (len(shape) - 2))
    is_turned = node.op_type == "Gemm" and get_int(node, "transB", 0)
    return factors[None, :] if is_turned else factors[:, None]


def _replace(
    graph: ir.Graph,
    names: Names,
    node: ir.Node,
    index: int,
    array: Values,
    made: dict[ir.Value, ir.Value],
) -> None:
    """Give a node other weights; made: those that nodes before it got, by what they had."""
    old = node.inputs[index]
    assert old is not None
    if old not in made:
        name = names.new(f"{old.name or f'{node.name}_{index}'}_scaled")
        made[old] = make_initializer(graph, name, array.astype(np.float32))
    node.replace_input_with(index, made[old])
