"""What steps do to their floats while these are in the cache, so that nobody reads them again.

    fill(range) -> conv writes y, then_unary(y, silu), find_range(y, range) -> dynamic_quantize

A function of a value that nothing else reads, and the range of a tensor whose codes are made at run
time. What only moves values has the range of what it moves: for a Concat, the union of its inputs.
"""

from typing import Any

import numpy as np

from q8tool.engine.lowering import Lowering
from q8tool.engine.steps import Steps
from q8tool.engine.tensors import HostStep, NativeStep, Step, Storage, Tensor, new_tensor
from q8tool.engine.values import Value

__all__ = ["finished_by_producer", "found_range"]

# Methods of Plan whose steps write a float32 y whole: all can find its range. A function is worth
# joining where it spares a pass that costs more than computing.
_FINISHERS = ("binary_f32", "conv", "conv_f32", "layer_norm_f32", "pool", "unary_f32")
_JOINED = ("binary_f32", "conv", "conv_f32", "pool")


def finished_by_producer(lowering: Lowering, x: Value, y: Value, **function: Any) -> bool:
    """Makes y, a function of x, in the step that writes x; False if that cannot be.

    function  op, alpha, beta of Plan.then_unary
    """
    if not lowering.is_read_here_only(x.name) or len(x.forms) != 1 or x.codes is not None:
        return False
    ((layout, tensor),) = x.forms.items()
    steps = lowering.steps
    touching = steps.touching(tensor.storage)
    producer = touching[0] if len(touching) == 1 else None
    if not isinstance(producer, NativeStep) or producer.method not in _JOINED:
        return False
    nodes = lowering.stand_in(producer)
    then = NativeStep("then_unary", {}, {"y": producer.writes["y"]}, function, nodes)
    steps.insert(steps.index(producer) + 1, then)
    y.forms, x.forms = {layout: tensor}, {}
    return True


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
    finders: dict[NativeStep, None] = {}
    waiting = [x.storage]
    while waiting:
        found = _writers(lowering, waiting.pop())
        for writer in found:
            if isinstance(writer, HostStep):
                return None
            if writer.method in _FINISHERS and len(found) == 1:
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


def _writers(lowering: Lowering, storage: Storage) -> list[Step]:
    """Steps that write a storage, but for functions that join the step before them."""
    return [
        step
        for step in lowering.steps.touching(storage)
        if not (isinstance(step, NativeStep) and step.method == "then_unary")
        and any(tensor.storage is storage for tensor in step.outputs)
    ]


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
    last = place + (_method_at(steps, place + 1) == "then_unary")
    if _method_at(steps, last + 1) == "find_range":
        return steps[last + 1].outputs[0]
    found = new_tensor(np.float32, (2,))
    find = NativeStep("find_range", {"y": step.writes["y"]}, {"y_range": found}, {}, step.nodes)
    begin = NativeStep("fill", {}, {"y": found}, {"value": np.float32(0)}, step.nodes)
    steps.insert(last + 1, find)
    steps.insert(place, begin)
    return found


def _method_at(steps: Steps, place: int) -> str:
    step = steps[place] if place < len(steps) else None
    return step.method if isinstance(step, NativeStep) else ""
