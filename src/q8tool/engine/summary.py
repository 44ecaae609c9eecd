"""Summary: what must be known of a model before it runs, and what its metadata say."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from q8tool.engine.tensor_info import TensorInfo

__all__ = ["Summary"]


class Summary(NamedTuple):
    """Of a model's main graph.

    inputs          what a caller feeds; those in `optional` have a default
    metadata_props  the model's own notes
    probabilities   outputs that the model's last operators make probabilities
    parameters      inputs whose values, not only shapes, a plan is built for
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    optional: frozenset[str]
    metadata_props: Mapping[str, str]
    probabilities: frozenset[str]
    parameters: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; from_json reads them."""
        return {
            "inputs": [_described(info) for info in self.inputs],
            "outputs": [_described(info) for info in self.outputs],
            "optional": sorted(self.optional),
            "metadata_props": dict(self.metadata_props),
            "probabilities": sorted(self.probabilities),
            "parameters": sorted(self.parameters),
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> "Summary":
        """The inverse of to_json."""
        return cls(
            inputs=tuple(_info(entry) for entry in described["inputs"]),
            outputs=tuple(_info(entry) for entry in described["outputs"]),
            optional=frozenset(described["optional"]),
            metadata_props=described["metadata_props"],
            probabilities=frozenset(described["probabilities"]),
            parameters=frozenset(described["parameters"]),
        )


def _described(info: TensorInfo) -> list[Any]:
    return [info.name, info.dtype.name, info.shape, info.is_tensor]


def _info(entry: list[Any]) -> TensorInfo:
    name, dtype, shape, is_tensor = entry
    return TensorInfo(name, np.dtype(dtype), None if shape is None else tuple(shape), is_tensor)
