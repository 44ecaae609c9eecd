"""Resize and Upsample of pictures: nearest and linear, as two source rows and a fraction each.

Coordinates follow the ONNX Resize specification: coordinate_transformation_mode gives the place in
the source, nearest_mode rounds it, linear takes both neighbours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.epilogue import find_epilogue
from q8tool.engine.graph import Node
from q8tool.engine.lower_movement import constant_input, moved
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.tensors import Layout, Tensor, new_tensor, physical_shape
from q8tool.engine.values import Declined, Value
from q8tool.engine.windows import as_picture

__all__ = ["LOWERINGS", "Interpolation", "interpolation"]


@dataclass(frozen=True)
class Interpolation:
    """Of one axis: y[i] = x[low[i]] * (1 - fraction[i]) + x[high[i]] * fraction[i]."""

    low: NDArray[np.int32]
    high: NDArray[np.int32]
    fraction: NDArray[np.float32]

    @property
    def is_identity(self) -> bool:
        """True if y is x, or its beginning."""
        return not self.fraction.any() and np.array_equal(self.low, np.arange(len(self.low)))


def interpolation(
    size: int, out: int, scale: float, coordinates: str, mode: str, nearest: str
) -> Interpolation:
    """Source entries for each of `out` results along an axis of `size` entries.

    scale        out / size as the node states it
    coordinates  coordinate_transformation_mode;  nearest: nearest_mode
    mode         "nearest" or "linear"

    Raises Declined for modes that C does not do.
    """
    place = _places(size, out, scale, coordinates)
    if mode == "nearest":
        index = _rounded(place, nearest)
        entries = np.clip(index, 0, size - 1).astype(np.int32)
        return Interpolation(entries, entries, np.zeros(out, np.float32))
    if mode != "linear":
        raise Declined(f"interpolation '{mode}' has no C kernel")
    place = np.clip(place, 0.0, size - 1.0)
    low = np.floor(place).astype(np.int32)
    fraction = (place - low).astype(np.float32)
    return Interpolation(low, np.minimum(low + 1, size - 1).astype(np.int32), fraction)


def _places(size: int, out: int, scale: float, coordinates: str) -> NDArray[np.float64]:
    """Where each result lies in the source."""
    i = np.arange(out, dtype=np.float64)
    if coordinates == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if coordinates == "asymmetric":
        return i / scale
    if coordinates == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if out > 1 else np.zeros(1)
    if coordinates == "align_corners":
        # onnx.reference takes scale * size, which need not be a whole number, for the new length.
        length = out if abs(scale * size - out) < 1e-3 else scale * size
        return i * (size - 1) / (length - 1) if out > 1 else np.zeros(1)
    if coordinates == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if coordinates == "half_pixel_symmetric":
        adjustment = out / (scale * size)
        return size / 2 * (1 - adjustment) + (i + 0.5) / scale - 0.5
    raise Declined(f"coordinates '{coordinates}' have no C kernel")


def _rounded(place: NDArray[np.float64], nearest: str) -> NDArray[np.float64]:
    if nearest == "floor":
        return np.floor(place)
    if nearest == "ceil":
        return np.ceil(place)
    if nearest == "round_prefer_ceil":
        return np.floor(place + 0.5)
    return np.ceil(place - 0.5)


def lower_resize(lowering: Lowering, node: Node) -> None:
    """Nearest moves data; linear interpolates floats, or codes where the same codes are wanted."""
    x, y = lowering.input(node, 0), lowering.output(node)
    if x.dtype not in (np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int8)):
        raise Declined(f"interpolation of {x.dtype} has no C kernel")
    height, width = _interpolations(lowering, node, x, y)
    if height.is_identity and width.is_identity and x.shape == y.shape:
        moved(lowering, node, lambda tensor, _: tensor)
        return
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


def _interpolations(
    lowering: Lowering, node: Node, x: Value, y: Value
) -> tuple[Interpolation, Interpolation]:
    """Of height (a single row for rank 3) and width. Raises Declined if more than those change."""
    if x.rank not in (3, 4) or x.shape[:2] != y.shape[:2]:
        raise Declined("only the height and width of pictures have a C kernel")
    attributes = node.attributes
    if attributes.get("antialias", 0) or attributes.get("exclude_outside", 0):
        raise Declined("antialiasing has no C kernel")
    is_old = node.op_type == "Upsample" or node.version < 11
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    nearest = attributes.get("nearest_mode", "round_prefer_floor")
    if is_old:
        coordinates, nearest = "asymmetric", "floor"
    mode = attributes.get("mode", "nearest")
    scales = _scales(lowering, node, x, y, is_old)
    parts = [
        interpolation(x.shape[d], y.shape[d], scales[d], coordinates, mode, nearest)
        for d in range(2, x.rank)
    ]
    if len(parts) == 1:
        zero = np.zeros(1, np.int32)
        return Interpolation(zero, zero, np.zeros(1, np.float32)), parts[0]
    return parts[0], parts[1]


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
