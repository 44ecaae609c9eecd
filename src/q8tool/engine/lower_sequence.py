"""ReverseSequence: copies with negative strides, one or two per sequence."""

import numpy as np

from q8tool.engine.graph import Node
from q8tool.engine.lower_movement import moved
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.engine.tensors import Layout, Tensor, contiguous_strides, new_tensor
from q8tool.engine.values import Declined

__all__ = ["LOWERINGS"]

# Steps grow with the number of sequences.
_MOST_SEQUENCES = 64


def lower_reverse_sequence(lowering: Lowering, node: Node) -> None:
    """The first entries of every sequence backwards, the rest as it is."""
    x, lengths = lowering.input(node, 0), lowering.input(node, 1)
    batch, time = (int(node.attributes.get(n, d)) for n, d in (("batch_axis", 1), ("time_axis", 0)))
    if not lengths.is_constant:
        raise Declined("its lengths are known only at run time")
    counts = [int(count) for count in lengths.fact.array().ravel()]
    if len(counts) != x.shape[batch] or len(counts) > _MOST_SEQUENCES:
        raise Declined("so many sequences have no C kernel")
    if any(not 0 <= count <= x.shape[time] for count in counts):
        raise Declined("a length is beyond the sequence")

    def reversed_(tensor: Tensor, _: Layout) -> Tensor:
        y, strides = new_tensor(tensor.dtype, tensor.shape), contiguous_strides(tensor.shape)
        for place, count in enumerate(counts):
            dims = list(np.delete(tensor.shape, batch))
            steps = list(np.delete(strides, batch))
            along = time - (time > batch)
            start = place * strides[batch]
            parts = [(0, count, True), (count, x.shape[time] - count, False)]
            for begin, size, is_backwards in parts:
                if not size:
                    continue
                part = [size if d == along else int(n) for d, n in enumerate(dims)]
                back = [-s if is_backwards and d == along else s for d, s in enumerate(steps)]
                first = begin + size - 1 if is_backwards else begin
                lowering.copy(
                    tensor, y, part, [int(s) for s in back], [int(s) for s in steps],
                    x_offset=start + first * strides[time], y_offset=start + begin * strides[time],
                )  # fmt: skip
        return y

    moved(lowering, node, reversed_, [Layout.PLAIN])


LOWERINGS: dict[str, LoweringFunction] = {"ReverseSequence": lower_reverse_sequence}
