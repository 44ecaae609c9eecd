"""Codes of four bits as codes of a byte: the same numbers, in a type that the kernels take.

w: int4 -> DequantizeLinear(., scale, zero point: int4)      w: int8 -> ...
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.graph import Graph

__all__ = ["with_wide_codes"]

Array = NDArray[Any]
_WIDE = {"int4": np.int8, "uint4": np.uint8, "int2": np.int8, "uint2": np.uint8}
_CODES, _ZERO_POINT = 0, 2


def with_wide_codes(graph: Graph) -> Graph:
    """The graph with constants that only DequantizeLinear reads in a type of eight bits."""
    narrow = {name for name, (dtype, _) in graph.constant_types.items() if dtype.name in _WIDE}
    narrow -= {info.name for info in (*graph.inputs, *graph.outputs)}
    for node in graph.nodes if narrow else ():
        is_dequantizing = node.op_type == "DequantizeLinear" and not node.domain
        kept = {node.input(_CODES), node.input(_ZERO_POINT)} if is_dequantizing else set()
        narrow.difference_update(name for name in node.reads if name not in kept)
        # A code and its zero point are of one type.
        if is_dequantizing and not {name for name in kept if name} <= narrow:
            narrow -= kept
    if not narrow:
        return graph
    types, constants = dict(graph.constant_types), dict(graph.constants)
    for name in narrow:
        dtype, shape = types[name]
        types[name] = (np.dtype(_WIDE[dtype.name]), shape)
        constants[name] = _widened(constants[name], types[name][0])
    return replace(graph, constants=constants, constant_types=types)


def _widened(read: Callable[[], Array], dtype: np.dtype[Any]) -> Callable[[], Array]:
    return lambda: read().astype(dtype)
