"""Steps that another step does on its way: they vanish from the list, and their nodes move along.

conv, then table           the convolution's codes go through the table before they leave the cache
quantize, then transpose   of a photo: planes of floats become pixels of codes in one pass
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.tensors import NativeStep, Step, Storage, Tensor, contiguous_strides

__all__ = ["fused"]


def fused(steps: Sequence[Step], wanted: Iterable[Tensor]) -> list[Step]:
    """The steps with fewer passes over memory, same bytes in everything that is left.

    wanted  tensors that the caller sees: they stay
    """
    uses = _Uses(steps, wanted)
    kept: list[Step] = []
    # Where the step stands that wrote a storage last.
    places: dict[Storage, int] = {}
    for step in steps:
        place = places.get(step.inputs[0].storage) if len(step.inputs) == 1 else None
        joined = None if place is None else _joined(kept[place], step, uses)
        if place is None or joined is None:
            place = len(kept)
            kept.append(step)
        else:
            kept[place] = joined
        places.update((tensor.storage, place) for tensor in step.outputs)
    return kept


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
            and before.storage.bytes == after.storage.bytes == int(np.prod(before.shape))
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
    if conv.writes["y"].dtype != np.uint8:
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
    ("quantize", "copy"): _quantize_transpose,
}
