"""Resize and Upsample: nearest and linear of pictures as two source rows and a fraction each.

Everything else (cubic, antialiased, volumes, other axes, results beyond the source) is one sum of
weighted entries per axis. interpolation.py says which entries and weights.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.epilogue import find_epilogue
from q8tool.engine.graph import Node
from q8tool.engine.interpolation import AxisRule, places, rounded, taps
from q8tool.engine.lower_movement import constant_input, moved
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.strided import gathered
from q8tool.engine.tensors import (
    Layout,
    Tensor,
    around_axis,
    new_tensor,
    physical_axis,
    physical_shape,
)
from q8tool.engine.values import Declined, Value
from q8tool.engine.windows import as_picture

__all__ = ["LOWERINGS", "Interpolation", "interpolation"]


class Interpolation(NamedTuple):
    """Of one axis: y[i] = x[low[i]] * (1 - fraction[i]) + x[high[i]] * fraction[i]."""

    low: NDArray[np.int32]
    high: NDArray[np.int32]
    fraction: NDArray[np.float32]

    @property
    def is_identity(self) -> bool:
        """True if y is x, or its beginning."""
        return not self.fraction.any() and np.array_equal(self.low, np.arange(len(self.low)))


def interpolation(rule: AxisRule) -> Interpolation:
    """Source entries of an axis that is resized by the nearest entry, or between two.

    Raises Declined for coordinates that C does not do.
    """
    place = places(rule)
    if rule.mode == "nearest":
        entries = np.clip(rounded(place, rule.nearest), 0, rule.size - 1).astype(np.int32)
        return Interpolation(entries, entries, np.zeros(rule.out, np.float32))
    place = np.clip(place, 0.0, rule.size - 1.0)
    low = np.floor(place).astype(np.int32)
    fraction = (place - low).astype(np.float32)
    return Interpolation(low, np.minimum(low + 1, rule.size - 1).astype(np.int32), fraction)


def lower_resize(lowering: Lowering, node: Node) -> None:
    """Nearest moves data; linear interpolates floats, or codes where the same codes are wanted."""
    x, y = lowering.input(node, 0), lowering.output(node)
    rules = _rules(lowering, node, x, y)
    changed = {axis: rule for axis, rule in rules.items() if not rule.is_identity}
    if not changed and x.shape == y.shape:
        moved(lowering, node, lambda tensor, _: tensor)
    elif _is_plain_picture(x, changed):
        _lower_picture(lowering, node, x, y, rules)
    else:
        _lower_axes(lowering, node, x, y, changed)


def _is_plain_picture(x: Value, changed: dict[int, AxisRule]) -> bool:
    """True if only height and width change, and each result lies between two entries."""
    is_picture = x.rank in (3, 4) and min(changed, default=2) >= 2
    has_kernel = x.dtype in (np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int8))
    return (
        is_picture
        and has_kernel
        and not any(
            rule.coordinates == "tf_crop_and_resize"
            or rule.mode not in ("nearest", "linear")
            or rule.antialias
            or rule.exclude_outside
            for rule in changed.values()
        )
    )


def _lower_picture(
    lowering: Lowering, node: Node, x: Value, y: Value, rules: dict[int, AxisRule]
) -> None:
    """Nearest or linear over height (a single row for rank 3) and width."""
    zero = np.zeros(1, np.int32)
    row = Interpolation(zero, zero, np.zeros(1, np.float32))
    height = interpolation(rules[2]) if x.rank == 4 else row
    width = interpolation(rules[x.rank - 1])
    is_nearest = not height.fraction.any() and not width.fraction.any()

    def resized(tensor: Tensor, _: Layout) -> Tensor:
        result = new_tensor(tensor.dtype, physical_shape(y.shape, Layout.CHANNELS_LAST))
        _emit(lowering, tensor, result, height, width)
        return result

    if is_nearest or not x.is_float:
        moved(lowering, node, resized, [Layout.CHANNELS_LAST])
        return
    codes = lowering.affine_codes(x)
    epilogue = find_epilogue(lowering, y.name, clamps=False)
    if codes is not None and epilogue.params is not None:
        if codes.grid.same_meaning(epilogue.params):
            source = lowering.form(codes.source, Layout.CHANNELS_LAST)
            _emit(lowering, source, epilogue.result(Layout.CHANNELS_LAST), height, width)
            return
        lowering.explain("its output has another scale than its input")
    elif codes is not None:
        lowering.explain("no QuantizeLinear follows")
    source = lowering.form(x, Layout.CHANNELS_LAST)
    _emit(lowering, source, lowering.new_form(y, Layout.CHANNELS_LAST), height, width)


def _emit(
    lowering: Lowering, x: Tensor, y: Tensor, height: Interpolation, width: Interpolation
) -> None:
    lowering.emit(
        "resize",
        {"x": as_picture(x)},
        {"y": as_picture(y)},
        low_h=height.low,
        high_h=height.high,
        fraction_h=height.fraction,
        low_w=width.low,
        high_w=width.high,
        fraction_w=width.fraction,
    )


def _lower_axes(
    lowering: Lowering, node: Node, x: Value, y: Value, changed: dict[int, AxisRule]
) -> None:
    """One axis after the other, what shrinks first: entries picked, or floats weighted."""
    changed = dict(sorted(changed.items(), key=lambda item: item[1].out / max(item[1].size, 1)))
    is_picked = all(
        rule.mode == "nearest" and rule.coordinates != "tf_crop_and_resize"
        for rule in changed.values()
    )

    def picked(tensor: Tensor, layout: Layout) -> Tensor:
        for axis, rule in changed.items():
            place = physical_axis(axis, x.rank, layout)
            tensor = gathered(lowering, tensor, place, interpolation(rule).low.astype(np.int64))
        return tensor

    if is_picked:
        moved(lowering, node, picked)
        return
    if not x.is_float:
        raise Declined(f"interpolation of {x.dtype} has no C kernel")
    if x.codes is not None:
        lowering.explain("this interpolation is float")
    layout = lowering.layout_of(x)
    tensor = lowering.form(x, layout)
    for axis, rule in changed.items():
        tensor = _resampled(lowering, tensor, physical_axis(axis, x.rank, layout), rule)
    y.forms[layout] = tensor


def _resampled(lowering: Lowering, x: Tensor, place: int, rule: AxisRule) -> Tensor:
    """A tensor with one physical axis resized."""
    result = new_tensor(np.float32, (*x.shape[:place], rule.out, *x.shape[place + 1 :]))
    found = taps(rule)
    lowering.emit(
        "resample",
        {"x": x},
        {"y": result},
        **around_axis(x.shape, place),
        indices=found.indices,
        weights=found.weights,
        offset=found.offset,
    )
    return result


def _rules(lowering: Lowering, node: Node, x: Value, y: Value) -> dict[int, AxisRule]:
    """How each axis is resized, by its number."""
    attributes = node.attributes
    is_old = node.op_type == "Upsample" or node.version < 11
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    nearest = attributes.get("nearest_mode", "round_prefer_floor")
    scales = _scales(lowering, node, x, y, is_old)
    regions = _regions(lowering, node, x) if coordinates == "tf_crop_and_resize" else {}
    rules = {}
    for axis in range(x.rank):
        start, end = regions.get(axis, (0.0, 1.0))
        rules[axis] = AxisRule(
            size=x.shape[axis],
            out=y.shape[axis],
            scale=scales[axis],
            coordinates="asymmetric" if is_old else coordinates,
            mode=attributes.get("mode", "nearest"),
            nearest="floor" if is_old else nearest,
            start=start,
            end=end,
            cubic_a=float(attributes.get("cubic_coeff_a", -0.75)),
            antialias=bool(attributes.get("antialias", 0)),
            exclude_outside=bool(attributes.get("exclude_outside", 0)),
            beyond=float(attributes.get("extrapolation_value", 0.0)),
        )
    return rules


def _regions(lowering: Lowering, node: Node, x: Value) -> dict[int, tuple[float, float]]:
    """Start and end of the region of interest along each axis that has one."""
    given = constant_input(lowering, node, 1, "roi")
    if given is None or not given.size:
        raise Declined("its region of interest is missing")
    axes = [int(axis) % x.rank for axis in node.attributes.get("axes", range(x.rank))]
    ends = given.astype(np.float64).reshape(2, len(axes))
    return {axis: (float(ends[0, i]), float(ends[1, i])) for i, axis in enumerate(axes)}


def _scales(lowering: Lowering, node: Node, x: Value, y: Value, is_old: bool) -> dict[int, float]:
    """The scale of each dimension: as given, or the ratio of the sizes."""
    result = {d: y.shape[d] / x.shape[d] for d in range(x.rank)}
    given = constant_input(lowering, node, 1 if is_old else 2, "scales")
    axes = node.attributes.get("axes", range(x.rank))
    policy = node.attributes.get("keep_aspect_ratio_policy", "stretch")
    if given is None or not given.size:
        sizes = None if policy == "stretch" else constant_input(lowering, node, 3, "sizes")
        if sizes is not None:
            ratios = [n / x.shape[axis] for axis, n in zip(axes, sizes.ravel(), strict=True)]
            same = min(ratios) if policy == "not_larger" else max(ratios)
            result.update({int(axis) % x.rank: same for axis in axes})
        return result
    for axis, scale in zip(axes, given.ravel(), strict=True):
        result[int(axis) % x.rank] = float(scale)
    return result


LOWERINGS: dict[str, LoweringFunction] = {"Resize": lower_resize, "Upsample": lower_resize}
