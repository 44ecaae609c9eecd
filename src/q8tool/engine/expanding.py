"""Depthwise convolutions of floats that the convolution before them feeds line by line.

    conv (codes -> floats), then_unary        conv, then_unary,
    fill, conv_f32 (depthwise), ...     ->    conv_f32 (depthwise, joins), ...

The floats between the two, four bytes for every code that a calibrated model would have there,
never leave the cache.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from q8tool.engine.tensors import NativeStep, Step, Storage, Tensor

__all__ = ["expanded"]


def expanded(steps: Sequence[Step], wanted: Iterable[Tensor]) -> list[Step]:
    """The steps with depthwise convolutions moved to the step that writes what they alone read.

    wanted  tensors that the caller sees: they stay
    """
    readers: dict[Storage, int] = {tensor.storage: 1 for tensor in wanted}
    for step in steps:
        for storage in {tensor.storage for tensor in step.inputs}:
            readers[storage] = readers.get(storage, 0) + 1
    result = list(steps)
    for place, step in enumerate(result):
        before = _made_before(result, place)
        if before is None or not isinstance(step, NativeStep):
            continue
        first = result[before]
        assert isinstance(first, NativeStep)
        if readers[step.inputs[0].storage] == 1 and _can_join(first, step):
            result[before : place + 1] = _joined(first, result[before + 1 : place], step)
    return result


def _joined(first: NativeStep, rest: Sequence[Step], depthwise: NativeStep) -> list[Step]:
    """The steps in order: what a range begins with stood between the two, and comes before both."""
    function = [step for step in rest if _method(step) == "then_unary"]
    fills = [step for step in rest if step not in function]
    both = replace(first, nodes=tuple(dict.fromkeys((*first.nodes, *depthwise.nodes))))
    # The codes are read until the end of the depthwise convolution.
    joining = replace(depthwise, reads={**depthwise.reads, "joins": first.inputs[0]})
    return [*fills, both, *function, joining]


def _made_before(steps: Sequence[Step], place: int) -> int | None:
    """Where the step stands that makes x of a depthwise convolution, with only fills between."""
    if not _is_depthwise(steps[place]):
        return None
    at = place - 1
    while at >= 0 and _method(steps[at]) in ("fill", "then_unary"):
        at -= 1
    if at < 0 or _method(steps[at]) != "conv":
        return None
    return at if steps[at].outputs[0].storage is steps[place].inputs[0].storage else None


def _method(step: Step) -> str:
    return step.method if isinstance(step, NativeStep) else ""


def _is_depthwise(step: Step) -> bool:
    """True for a convolution that C can join to another: 3 x 3 or 5 x 5, stride 1 or 2."""
    if not isinstance(step, NativeStep) or step.method != "conv_f32":
        return False
    arguments, channels = step.arguments, step.inputs[0].shape[-1]
    stride = tuple(arguments.get("stride", (1, 1)))
    if not arguments.get("groups", 1) == channels == step.writes["y"].shape[-1] > 1:
        return False
    weights = arguments["weights"]
    height, width = (weights() if callable(weights) else weights).shape[1:3]
    return (
        height == width
        and height in (3, 5)
        and stride in ((1, 1), (2, 2))
        and tuple(arguments.get("dilation", (1, 1))) == (1, 1)
    )


def _can_join(before: NativeStep, step: NativeStep) -> bool:
    """True if the convolution before makes floats of codes, and x is all of them."""
    made, x = before.writes["y"], step.inputs[0]
    arguments = before.arguments
    zero_points = arguments.get("weight_zero_point")
    return (
        made.dtype == x.dtype
        and made.shape == x.shape
        and len(x.shape) == 4
        and arguments.get("groups", 1) == 1
        and before.reads.get("residual") is None
        and before.reads.get("gate") is None
        and (zero_points is None or not any(zero_points))
    )
