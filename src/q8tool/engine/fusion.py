"""Steps that another step does on its way: they vanish from the list, and their nodes move along.

conv, then table    the convolution's codes go through the table before they leave the cache
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from q8tool.engine.tensors import NativeStep, Step, Storage, Tensor

__all__ = ["fused"]


def fused(steps: Sequence[Step], wanted: Iterable[Tensor]) -> list[Step]:
    """The steps with fewer passes over memory, same bytes in everything that is left.

    wanted  tensors that the caller sees: they stay
    """
    uses = _Uses(steps, wanted)
    kept: list[Step] = []
    places: dict[Storage, int] = {}
    for step in steps:
        place = None
        if isinstance(step, NativeStep) and step.method == "table":
            place = places.get(step.inputs[0].storage)
        producer = None if place is None else kept[place]
        if place is not None and _takes_table(producer, step, uses):
            assert isinstance(producer, NativeStep)
            assert isinstance(step, NativeStep)
            kept[place] = _with_table(producer, step)
            places[step.outputs[0].storage] = place
            continue
        places.update((tensor.storage, len(kept)) for tensor in step.outputs)
        kept.append(step)
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

    def passes_once(self, storage: Storage) -> bool:
        """True if one step writes it and one thing reads it."""
        return self._readers.get(storage) == 1 == self._writers.get(storage)

    def is_written_once(self, storage: Storage) -> bool:
        """True if one step writes it."""
        return self._writers.get(storage) == 1


def _takes_table(producer: Step | None, table: Step, uses: _Uses) -> bool:
    """True for a convolution to codes that only the table reads, all of them."""
    if not isinstance(producer, NativeStep) or producer.method != "conv":
        return False
    codes, result = producer.writes["y"], table.outputs[0]
    return (
        codes.dtype == np.uint8
        and uses.passes_once(codes.storage)
        and uses.is_written_once(result.storage)
        and codes.storage.bytes == result.storage.bytes == int(np.prod(codes.shape))
    )


def _with_table(conv: NativeStep, step: NativeStep) -> NativeStep:
    """The convolution that writes what the table step wrote."""
    table = np.asarray(step.arguments["table"], np.uint8)
    before = conv.arguments.get("table")
    y = Tensor(step.outputs[0].storage, np.dtype(np.uint8), conv.writes["y"].shape)
    return replace(
        conv,
        writes={"y": y},
        arguments={**conv.arguments, "table": table if before is None else table[before]},
        nodes=tuple(dict.fromkeys((*conv.nodes, *step.nodes))),
    )
