"""Share scales: additions whose inputs and sum have one scale, so that adding rounds nothing.

    a, scale 0.21 --+                              a --+
    b, scale 0.24 --+--> Add --> c, scale 0.27     b --+--> Add --> c, all of scale 0.27

On one grid c's codes are sums of a's and b's, shifted by zero points. Of three roundings two are
left, a little coarser: with the scales above .21^2 + .24^2 + .27^2 = 0.175 becomes 2 x .27^2 =
0.146. A chain of additions, a residual network's stage, is one group as long as that pays: what b
is computed from a brings a's rounding along, so that a counts 1 + (b's scale / a's)^2 times.

And an engine that fuses the convolution and the addition and leaves out the rounding between them,
as OpenVINO does, computes the same codes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import constant
from q8tool.numerics.qparams import from_range
from q8tool.passes.choose_precision import Choice, Unit, choose_precision

__all__ = ["share_scales"]

Range = tuple[float, float]
_SUMS = frozenset({"Add", "Sub"})
_STEPS = 255


@dataclass
class _Group:
    """Values of one scale.

    noise  of the values so far: roundings that reach it from within the group, in squared steps
    """

    scale: float
    noise: dict[str, float] = field(default_factory=dict)


def share_scales(
    model: ir.Model, ranges: Mapping[str, Range], excluded: Collection[str] = ()
) -> tuple[dict[str, Range], list[Change]]:
    """Ranges, some wider than before: where that lowers the sum of squared steps.

    model     prepared float model, not changed
    ranges    value name -> (low, high), real units
    excluded  names of nodes that stay float

    The ranges of the model's inputs stay, and of what a Clip delivers: its end is the code's end.
    """
    choice = choose_precision(model, ranges, excluded)
    groups = _Groups(choice, ranges, _fixed(model))
    for unit in choice.units:
        if unit.form == "static" and unit.node.op_type in _SUMS:
            groups.add(unit)
    wider = {**ranges, **groups.ranges()}
    changed = [name for name in wider if wider[name] != ranges[name]]
    return wider, [Change("share_scales", name, "the scale of a sum") for name in changed]


def _fixed(model: ir.Model) -> set[str]:
    clips = (node for node in model.graph if node.op_type == "Clip")
    values = [*model.graph.inputs, *(value for node in clips for value in node.outputs)]
    return {value.name or "" for value in values}


class _Groups:
    """Which values have one scale so far; each starts alone."""

    def __init__(self, choice: Choice, ranges: Mapping[str, Range], fixed: set[str]) -> None:
        self._ranges = ranges
        self._wanted = choice.wanted
        self._fixed = fixed
        self._group: dict[str, _Group] = {}
        # What data movement delivers has the parameters of what it moves.
        self._moved_from = {
            value.name or "": unit.inputs[0].name or ""
            for unit in choice.units
            if unit.kind == "same"
            for value in unit.node.outputs
        }

    def add(self, unit: Unit) -> None:
        """Joins the groups of a sum's inputs, and the sum, if that lowers the noise."""
        total = unit.output.name or ""
        if total not in self._wanted or any(constant(value) is not None for value in unit.inputs):
            return
        names = [self._source(value.name or "") for value in unit.inputs]
        if any(name in self._fixed or self._is_empty(name) for name in (*names, total)):
            return
        own = _Group(self._scale(total))
        parts = [self._of(name) for name in names]
        scale = max(part.scale for part in (*parts, own))
        reaching = [
            self._of(name).noise[name] * self._paths(name, value, names)
            for name, value in zip(names, unit.inputs, strict=True)
        ]
        coarser = [scale**2 - part.scale**2 for part in parts]
        costs = sum(noise * more for noise, more in zip(reaching, coarser, strict=True))
        if costs >= own.scale**2:
            self._group[total] = _Group(own.scale, {total: 1.0})
            return
        merged = _Group(scale)
        for part in parts:
            merged.noise.update(part.noise)
        merged.noise[total] = sum(reaching)
        self._group.update(dict.fromkeys(merged.noise, merged))

    def ranges(self) -> dict[str, Range]:
        """Of every value of a group with a sum: its range, as wide as 255 steps of the scale."""
        return {
            name: _widened(self._ranges[name], group.scale)
            for name, group in self._group.items()
            if len(group.noise) > 1
        }

    def _paths(self, name: str, value: ir.Value, names: Sequence[str]) -> float:
        """How often a rounding of the value counts in the sum: once, and what it is computed to.

        Who else reads it makes the sum's other inputs of it, as a rule: as large as those are.
        """
        is_read_again = len(list(value.uses())) > 1
        others = [self._scale(other) for other in names if other != name]
        more = sum((other / self._scale(name)) ** 2 for other in others)
        return 1.0 + more if is_read_again else 1.0

    def _scale(self, name: str) -> float:
        """Of the value alone."""
        return float(from_range(*self._ranges[name]).scale)

    def _source(self, name: str) -> str:
        while name in self._moved_from:
            name = self._moved_from[name]
        return name

    def _is_empty(self, name: str) -> bool:
        low, high = self._ranges[name]
        return min(low, 0.0) == max(high, 0.0)

    def _of(self, name: str) -> _Group:
        if name not in self._group:
            self._group[name] = _Group(self._scale(name), {name: 1.0})
        return self._group[name]


def _widened(ends: Range, scale: float) -> Range:
    """Both ends moved away from 0 in proportion; from_range gives this very scale."""
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    factor = _STEPS * scale / (high - low)
    return low * factor, high * factor
