"""Share scales: additions whose inputs and sum have one scale, so that adding rounds nothing.

    a, scale 0.21 --+                              a --+
    b, scale 0.24 --+--> Add --> c, scale 0.27     b --+--> Add --> c, all of scale 0.27

On one grid c's codes are sums of a's and b's, shifted by zero points. Of three roundings two are
left, a little coarser: with the scales above .21^2 + .24^2 + .27^2 = 0.175 becomes 2 x .27^2 =
0.146. And an engine that fuses the convolution and the addition and leaves out the rounding between
them, as OpenVINO does, computes the same codes; on grids of their own a fifth of them would differ.

So a chain of additions, a residual network's stage, is one group, unless that costs 0.6 dB: then
it is cut into those where the noise falls. What b is computed from a brings a's rounding along, so
that a counts 1 + (b's scale / a's)^2 times. The scale is the largest of the group's, or less: where
the errors of all its values, rounding and clipping, are least.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from q8tool.model.change import Change
from q8tool.model.graph import constant
from q8tool.numerics.qparams import from_range
from q8tool.passes.choose_precision import Choice, Unit, choose_precision

__all__ = ["share_scales"]

Range = tuple[float, float]
Errors = Mapping[str, Callable[[float, float], float]]
"""Value name -> the mean squared error of its values for a range (low, high)."""
_SUMS = frozenset({"Add", "Sub"})
_STEPS = 255
# By how much a group's noise may grow for the same codes in all runtimes: 0.6 dB.
_GROWTH = 1.15
# The largest scale of a group is tried in so many steps down to this share.
_SHARES = np.linspace(1.0, 0.5, 26)


@dataclass
class _Group:
    """Values of one scale.

    noise  of the values so far: roundings that reach it from within the group, in squared steps
    sums   the values that are sums of others: they are not rounded
    paths  how often an error of a value counts in the sums that it is an input of
    """

    scale: float
    noise: dict[str, float] = field(default_factory=dict)
    sums: set[str] = field(default_factory=set)
    paths: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """Where a value's codes end, and whether it is rounded to them."""

    ends: Range
    is_rounded: bool


def share_scales(
    model: ir.Model,
    ranges: Mapping[str, Range],
    excluded: Collection[str] = (),
    errors: Errors = MappingProxyType({}),
) -> tuple[dict[str, Range], list[Change]]:
    """Ranges, with those of sums and of what they add stretched or shrunk to one scale.

    model     prepared float model, not changed
    ranges    value name -> (low, high), real units
    excluded  names of nodes that stay float
    errors    of values whose histograms are known; without them no range becomes narrower

    The ranges of the model's inputs stay, and of what a Clip delivers: its end is the code's end.
    """
    choice = choose_precision(model, ranges, excluded)
    paying, whole = (
        _Groups(choice, ranges, _fixed(model), errors, limit) for limit in (1.0, np.inf)
    )
    for unit in choice.units:
        if unit.form == "static" and unit.node.op_type in _SUMS:
            paying.add(unit)
            whole.add(unit)
    cut = {name: place for group in paying.groups() for name, place in paying.best(group).items()}
    for group in whole.groups():
        apart = {name: cut.get(name) or _Place(ranges[name], True) for name in group.paths}
        best = whole.best(group)
        if whole.noise(group, best) < _GROWTH * whole.noise(group, apart):
            cut |= best
    wider = {**ranges, **{name: place.ends for name, place in cut.items()}}
    changed = [name for name in wider if wider[name] != ranges[name]]
    return wider, [Change("share_scales", name, "the scale of a sum") for name in changed]


def _fixed(model: ir.Model) -> set[str]:
    clips = (node for node in model.graph if node.op_type == "Clip")
    values = [*model.graph.inputs, *(value for node in clips for value in node.outputs)]
    return {value.name or "" for value in values}


class _Groups:
    """Which values have one scale so far; each starts alone."""

    def __init__(
        self,
        choice: Choice,
        ranges: Mapping[str, Range],
        fixed: set[str],
        errors: Errors,
        limit: float,
    ) -> None:
        """limit: of what joining costs, over the rounding of the sum that it saves."""
        self._ranges = ranges
        self._errors = errors
        self._limit = limit
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
        paths = {
            name: self._paths(name, value, names)
            for name, value in zip(names, unit.inputs, strict=True)
        }
        reaching = [self._of(name).noise[name] * paths[name] for name in names]
        coarser = [scale**2 - part.scale**2 for part in parts]
        costs = sum(noise * more for noise, more in zip(reaching, coarser, strict=True))
        if costs >= self._limit * own.scale**2:
            self._group[total] = _Group(own.scale, {total: 1.0})
            return
        merged = _Group(scale, sums={total}, paths={total: 1.0})
        for part in parts:
            merged.noise.update(part.noise)
            merged.paths.update(part.paths)
            merged.sums |= part.sums
        merged.paths.update(paths)
        merged.noise[total] = sum(reaching)
        self._group.update(dict.fromkeys(merged.noise, merged))

    def groups(self) -> list[_Group]:
        """Those with a sum."""
        return list({id(group): group for group in self._group.values() if group.sums}.values())

    def best(self, group: _Group) -> dict[str, _Place]:
        """The group's values at the scale with the least noise, ends 255 steps of it apart."""
        shares = _SHARES if all(name in self._errors for name in group.paths) else _SHARES[:1]
        places = [self._at(group, float(group.scale * share)) for share in shares]
        return min(places, key=lambda at: self.noise(group, at))

    def noise(self, group: _Group, places: Mapping[str, _Place]) -> float:
        """Errors of the group's values, each as often as it counts; squared real units."""
        total = 0.0
        for name, paths in group.paths.items():
            place = places[name]
            rounding = float(from_range(*place.ends).scale) ** 2 / 12.0
            measured = self._errors.get(name)
            error = rounding if measured is None else measured(*place.ends)
            total += paths * (error if place.is_rounded else error - rounding)
        return total

    def _at(self, group: _Group, scale: float) -> dict[str, _Place]:
        return {
            name: _Place(_stretched(self._ranges[name], scale), name not in group.sums)
            for name in group.paths
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


def _stretched(ends: Range, scale: float) -> Range:
    """Both ends moved from or to 0 in proportion; from_range gives this very scale."""
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    factor = _STEPS * scale / (high - low)
    return low * factor, high * factor
