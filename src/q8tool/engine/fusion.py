"""Steps that another step does on its way: they vanish from the list, and their nodes move along.

conv, then table           the convolution's codes go through the table before they leave the cache
conv, then add             the convolution's codes are added to others while they are in registers
mul, then conv 1 x 1       pixels times one code per channel, as the convolution reads them
quantize, then transpose   of a photo: planes of floats become pixels of codes in one pass
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.tensors import NativeStep, Step, Storage, Tensor, contiguous_strides

__all__ = ["fused"]

# Of q8_gate and q8_addend: products of two codes, and sums of them, then stay within int32.
_MOST_GATE_MULTIPLIER = 1024.0
_MOST_SUM_MULTIPLIER = 2.0**20
# Tiles read an addend in pieces far from each other: beyond the second cache a pass of its own,
# over neighbours, is faster.
_MOST_ADDEND_BYTES = 2**20


def fused(steps: Sequence[Step], wanted: Iterable[Tensor]) -> list[Step]:
    """The steps with fewer passes over memory, same bytes in everything that is left.

    wanted  tensors that the caller sees: they stay
    """
    uses = _Uses(steps, wanted)
    kept: dict[Step, None] = {}
    writers: dict[Storage, Step] = {}
    places: dict[Step, int] = {}
    for place, step in enumerate(steps):
        before = {writers[tensor.storage] for tensor in step.inputs if tensor.storage in writers}
        last = step
        for first in sorted(before, key=lambda writer: places[writer], reverse=True):
            joined = _joined(first, step, uses)
            if joined is not None:
                # At the later place, where everything that either reads is there.
                del kept[first]
                last = joined
                break
        kept[last] = None
        places[last] = place
        writers.update((tensor.storage, last) for tensor in last.outputs)
    return list(kept)


class _Uses:
    """Who writes and reads each storage."""

    def __init__(self, steps: Sequence[Step], wanted: Iterable[Tensor]) -> None:
        self._readers: dict[Storage, int] = {tensor.storage: 1 for tensor in wanted}
        self._writers: dict[Storage, int] = {}
        for step in steps:
            for storage in {tensor.storage for tensor in step.inputs}:
                self._readers[storage] = self._readers.get(storage, 0) + 1
            for storage in {tensor.storage for tensor in step.outputs}:
                self._writers[storage] = self._writers.get(storage, 0) + 1

    def allow(self, before: Tensor, after: Tensor) -> bool:
        """True if one step makes `after` of all of `before`, which nobody else touches."""
        return (
            self._readers.get(before.storage) == 1 == self._writers.get(before.storage)
            and self._writers.get(after.storage) == 1
            and before.storage.bytes == int(np.prod(before.shape)) * before.dtype.itemsize
        )


def _joined(first: Step, second: Step, uses: _Uses) -> NativeStep | None:
    """One step for both, None if there is none."""
    if not isinstance(first, NativeStep) or not isinstance(second, NativeStep):
        return None
    join = _JOINS.get((first.method, second.method))
    if join is None or not uses.allow(first.outputs[0], second.outputs[0]):
        return None
    return join(first, second)


def _conv_table(conv: NativeStep, step: NativeStep) -> NativeStep | None:
    if conv.writes["y"].storage.bytes != step.outputs[0].storage.bytes:
        return None
    table = np.asarray(step.arguments["table"], np.uint8)
    before = conv.arguments.get("table")
    y = Tensor(step.outputs[0].storage, np.dtype(np.uint8), conv.writes["y"].shape)
    return replace(
        conv,
        writes={"y": y},
        arguments={**conv.arguments, "table": table if before is None else table[before]},
        nodes=_nodes(conv, step),
    )


def _conv_add(conv: NativeStep, add: NativeStep) -> NativeStep | None:
    before, numbers = conv.writes["y"], add.arguments
    (a, summand), (b, addend) = add.reads.items()
    assert summand is not None
    assert addend is not None
    if summand.storage is not before.storage:
        (a, summand), (b, addend) = (b, addend), (a, summand)
    if (
        numbers["op"] != "add"
        or before.dtype != np.uint8
        or conv.arguments.get("table") is not None
        or conv.reads.get("addend") is not None
        or _is_depthwise(conv)
        or addend.storage is before.storage
        or int(np.prod(addend.shape)) > _MOST_ADDEND_BYTES
        or not summand.shape == addend.shape == add.outputs[0].shape
        or not all(abs(numbers[f"{name}_multiplier"]) < _MOST_SUM_MULTIPLIER for name in "ab")
    ):
        return None
    return replace(
        conv,
        reads={**conv.reads, "addend": addend.view(before.shape)},
        writes={"y": Tensor(add.outputs[0].storage, before.dtype, before.shape)},
        arguments={
            **conv.arguments,
            "sum_codes": (
                *(numbers[f"{name}_zero_point"] for name in (a, b, "y")),
                numbers["y_low"],
                numbers["y_high"],
            ),
            "sum_multipliers": tuple(numbers[f"{name}_multiplier"] for name in (a, b)),
        },
        nodes=_nodes(conv, add),
    )


def _is_depthwise(conv: NativeStep) -> bool:
    groups = conv.arguments.get("groups", 1)
    return bool(groups > 1 and groups == conv.inputs[0].shape[3] == conv.writes["y"].shape[3])


def _gate_conv(mul: NativeStep, conv: NativeStep) -> NativeStep | None:
    y, product = mul.outputs[0], mul.arguments
    x, gate = mul.reads["a"], mul.reads["b"]
    zero_points = product["a_zero_point"], product["b_zero_point"]
    if x is not None and x.shape != y.shape:
        x, gate, zero_points = gate, x, zero_points[::-1]
    if x is None or gate is None or x.shape != y.shape or not _is_plain_product(conv, y):
        return None
    if (
        conv.inputs[0].storage is not y.storage
        or product["op"] != "mul"
        or gate.shape != (y.shape[0], 1, 1, y.shape[3])
        or abs(product["a_multiplier"]) >= _MOST_GATE_MULTIPLIER
        or conv.arguments["x_zero_point"] != product["y_zero_point"]
    ):
        return None
    return replace(
        conv,
        reads={**conv.reads, "x": x, "gate": gate},
        arguments={
            **conv.arguments,
            "gate_x_zero_point": zero_points[0],
            "gate_zero_point": zero_points[1],
            "gate_low": product["y_low"],
            "gate_high": product["y_high"],
            "gate_multiplier": product["a_multiplier"],
        },
        nodes=_nodes(mul, conv),
    )


def _is_plain_product(conv: NativeStep, x: Tensor) -> bool:
    """True for a convolution that sees one pixel of x [N, H, W, C] for each of its own."""
    weights = conv.arguments["weights"]
    return (
        conv.inputs[0].shape == x.shape
        and len(x.shape) == 4
        and isinstance(weights, np.ndarray)
        and weights.shape[1:3] == (1, 1)
        and conv.writes["y"].shape[:3] == x.shape[:3]
        and conv.arguments.get("groups", 1) == 1
        and all(conv.reads.get(name) is None for name in ("x_zero_point_tensor", "gate"))
    )


def _quantize_transpose(quantize: NativeStep, copy: NativeStep) -> NativeStep | None:
    x, y = quantize.inputs[0], copy.outputs[0]
    if len(x.shape) != 4 or x.shape[1] != 3 or len(y.shape) != 4:
        return None
    strides = contiguous_strides(x.shape)
    order = (0, 2, 3, 1)
    dims = [x.shape[axis] for axis in order]
    moved = {
        "dims": dims,
        "x_strides": [strides[axis] for axis in order],
        "y_strides": contiguous_strides(y.shape),
        "x_offset": 0,
        "y_offset": 0,
        "table": None,
    }
    if copy.arguments != moved or y.shape != tuple(dims):
        return None
    return replace(
        quantize, method="quantize_picture", writes={"y": y}, nodes=_nodes(quantize, copy)
    )


def _nodes(first: NativeStep, second: NativeStep) -> tuple[Node, ...]:
    return tuple(dict.fromkeys((*first.nodes, *second.nodes)))


_JOINS: dict[tuple[str, str], Callable[[NativeStep, NativeStep], NativeStep | None]] = {
    ("conv", "table"): _conv_table,
    ("conv", "binary"): _conv_add,
    ("binary", "conv"): _gate_conv,
    ("quantize", "copy"): _quantize_transpose,
}
