"""What a program does, step by step, for `q8tool explain` and profiles."""

from typing import NamedTuple

import numpy as np

from q8tool.engine.tensors import HostStep, NativeStep, Step

__all__ = ["StepInfo", "host_info", "native_info"]


class StepInfo(NamedTuple):
    """One step of a program.

    nodes        names of the model's nodes that it does the work of
    op           their operators, joined by "+"
    kernel       what C runs ("conv 3x3/2 avx512vnni 6x64"), "host" for what stays in Python
    dtype        "u8", "f32", another type that the step moves, or "host"
    macs         multiply-adds, 0 where that means nothing
    reason       why the step is float or on the host, "" where there is nothing to explain
    nanoseconds  of the profiled run; 0 in explain
    """

    nodes: tuple[str, ...]
    op: str
    kernel: str
    dtype: str
    macs: int = 0
    reason: str = ""
    nanoseconds: int = 0


def native_info(step: NativeStep, kernel: str, macs: int) -> StepInfo:
    """What a native step does; kernel and macs come from its plan."""
    tensors = [*step.inputs[:1], *step.outputs[:1]]
    types = {tensor.dtype for tensor in tensors}
    if np.dtype(np.uint8) in types or np.dtype(np.int8) in types:
        dtype = "u8"
    else:
        dtype = {"float32": "f32", "int64": "s64", "int32": "s32"}.get(
            tensors[-1].dtype.name, tensors[-1].dtype.name
        )
    return StepInfo(_names(step), _operators(step), kernel, dtype, macs, step.reason)


def host_info(step: HostStep) -> StepInfo:
    """What a host step does."""
    return StepInfo(_names(step), _operators(step), "host", "host", 0, step.reason)


def _names(step: Step) -> tuple[str, ...]:
    return tuple(node.name for node in step.nodes)


def _operators(step: Step) -> str:
    return "+".join(node.op_type for node in step.nodes)
