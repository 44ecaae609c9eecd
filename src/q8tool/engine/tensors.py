"""Tensors and steps of a program before they get places and ids.

A Tensor is a view (type and dimensions) of a Storage, a run of bytes that gets its place when the
program is assembled: in the arena of one native segment, or in an array of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from q8tool.engine.graph import Node

__all__ = [
    "HostStep",
    "Layout",
    "NativeStep",
    "Step",
    "Storage",
    "Tensor",
    "around_axis",
    "contiguous_strides",
    "new_tensor",
    "physical_axis",
    "physical_shape",
]


class Layout(Enum):
    """How a tensor of ONNX shape lies in memory.

    PLAIN          as ONNX has it; int8 codes are stored as uint8, 128 higher
    CHANNELS_LAST  dimension 1 moved to the end, for rank 3 and more
    RAW            as ONNX has it, int8 as int8: what a host step or a caller sees
    """

    PLAIN = "plain"
    CHANNELS_LAST = "channels last"
    RAW = "raw"


@dataclass(eq=False)
class Storage:
    """Bytes that steps write and read. bytes is None where only the run will tell."""

    bytes: int | None


@dataclass(eq=False)
class Tensor:
    """A view of a storage, or a constant (array is set then).

    dtype  as the C engine has it: uint8 for every eight-bit type and bool
    dims   physical dimensions; None where only the run will tell
    """

    storage: Storage
    dtype: np.dtype[Any]
    dims: tuple[int, ...] | None
    array: NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """dims of a tensor that native code works on: always known."""
        assert self.dims is not None
        return self.dims

    def view(self, dims: Sequence[int]) -> "Tensor":
        """The same bytes with other dimensions."""
        array = None if self.array is None else self.array.reshape(dims)
        return Tensor(self.storage, self.dtype, tuple(dims), array)


def new_tensor(dtype: np.dtype[Any] | type, dims: Sequence[int]) -> Tensor:
    """A tensor with a storage of its own."""
    kind = np.dtype(dtype)
    return Tensor(Storage(int(np.prod(dims, dtype=np.int64)) * kind.itemsize), kind, tuple(dims))


@dataclass(eq=False)
class NativeStep:
    """One call of a Plan method.

    reads, writes  tensors by the names of the method's arguments; None for an absent one
    arguments      the rest; a function stands for what it returns when the plan is built, so
                   that large weights are in memory one at a time
    nodes          the model's nodes that the step does the work of
    reason         why it is float although the model asks for codes, or ""
    """

    method: str
    reads: dict[str, Tensor | None]
    writes: dict[str, Tensor]
    arguments: dict[str, Any]
    nodes: "tuple[Node, ...]"
    reason: str = ""

    @property
    def inputs(self) -> list[Tensor]:
        """Tensors that it reads, constants included."""
        return [tensor for tensor in self.reads.values() if tensor is not None]

    @property
    def outputs(self) -> list[Tensor]:
        """Tensors that it writes, whole or in part."""
        return list(self.writes.values())


@dataclass(eq=False)
class HostStep:
    """One node run by onnx.reference or by our own operators.

    inputs   one tensor per value of node.reads; outputs one per named output
    reason   why C does not do it
    """

    node: "Node"
    inputs: list[Tensor]
    outputs: list[Tensor]
    reason: str
    nodes: "tuple[Node, ...]" = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = (self.node,)


Step = NativeStep | HostStep


def physical_axis(axis: int, rank: int, layout: Layout) -> int:
    """Where an ONNX axis lies. Channels last: 0 -> 0, 1 -> rank - 1, others one earlier."""
    axis = axis + rank if axis < 0 else axis
    if layout is not Layout.CHANNELS_LAST or axis == 0:
        return axis
    return rank - 1 if axis == 1 else axis - 1


def physical_shape(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Dimensions in memory of a tensor of ONNX shape."""
    if layout is not Layout.CHANNELS_LAST or len(shape) < 3:
        return tuple(shape)
    return (shape[0], *shape[2:], shape[1])


def contiguous_strides(dims: Sequence[int]) -> list[int]:
    """Elements from one index to the next along each dimension of a dense tensor."""
    strides = [1] * len(dims)
    for position in range(len(dims) - 2, -1, -1):
        strides[position] = strides[position + 1] * dims[position + 1]
    return strides


def around_axis(dims: Sequence[int], axis: int, last: int | None = None) -> dict[str, int]:
    """How a step along one physical axis, or the axes up to `last`, sees a dense tensor.

    outer  elements of the dimensions before;  axis  along it;  inner  of the dimensions behind
    """
    end = (axis if last is None else last) + 1
    parts = {"outer": dims[:axis], "axis": dims[axis:end], "inner": dims[end:]}
    return {name: math.prod(part) for name, part in parts.items()}
