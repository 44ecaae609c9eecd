"""Ranges at run time, found by the steps that write a tensor instead of reading it again.

    fill(range) -> conv writes y, find_range(y, range) -> dynamic_quantize(y, range)

What only moves values has the range of what it moves: for a Concat, the union over its inputs.
"""

import numpy as np

from q8tool.engine.lowering import Lowering
from q8tool.engine.tensors import HostStep, NativeStep, Step, Storage, Tensor, new_tensor

__all__ = ["found_range"]

# Methods of Plan whose steps can find the range of a float32 y that they write whole.
_FINDERS = ("binary_f32", "conv", "layer_norm_f32", "pool", "unary_f32")


def found_range(lowering: Lowering, x: Tensor) -> Tensor | None:
    """float32 [2], -low and high of x, which holds floats; None if its steps do not find it."""
    finders = _finders(lowering, x)
    if finders is None:
        return None
    union, *others = [_range_found_by(lowering, step) for step in finders]
    for other in others:
        result = new_tensor(np.float32, (2,))
        lowering.emit("binary_f32", {"a": union, "b": other}, {"y": result}, op="max")
        union = result
    return union


def _finders(lowering: Lowering, x: Tensor) -> list[NativeStep] | None:
    """The steps whose results together are all of x."""
    writers: dict[Storage, list[Step]] = {}
    for step in lowering.steps:
        for tensor in step.outputs:
            writers.setdefault(tensor.storage, []).append(step)
    finders: dict[NativeStep, None] = {}
    waiting = [x.storage]
    while waiting:
        found = writers.get(waiting.pop(), [])
        for writer in found:
            if isinstance(writer, HostStep):
                return None
            if writer.method in _FINDERS and len(found) == 1:
                finders[writer] = None
            elif writer.method == "copy" and _copies_all(writer):
                source = writer.reads["x"]
                assert source is not None
                waiting.append(source.storage)
            else:
                return None
        if not found:
            return None
    return list(finders)


def _copies_all(step: NativeStep) -> bool:
    """True if a copy takes every element of its source, and as it is."""
    source, arguments = step.reads["x"], step.arguments
    if source is None or source.array is not None or arguments["table"] is not None:
        return False
    dense = 1
    for stride, size in sorted(zip(arguments["x_strides"], arguments["dims"], strict=True)):
        if size > 1 and stride != dense:
            return False
        dense *= size
    return arguments["x_offset"] == 0 and dense == int(np.prod(source.shape))


def _range_found_by(lowering: Lowering, step: NativeStep) -> Tensor:
    """The range of what a step writes; the step is told to find it."""
    steps = lowering.steps
    place = steps.index(step)
    after = steps[place + 1] if place + 1 < len(steps) else None
    if isinstance(after, NativeStep) and after.method == "find_range":
        return after.writes["y_range"]
    found = new_tensor(np.float32, (2,))
    find = NativeStep("find_range", {"y": step.writes["y"]}, {"y_range": found}, {}, step.nodes)
    begin = NativeStep("fill", {}, {"y": found}, {"value": np.float32(0)}, step.nodes)
    steps[place : place + 1] = [begin, step, find]
    return found
