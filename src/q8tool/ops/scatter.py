"""Scatter, the old name of ScatterElements, which onnx.reference knows under the new one only."""

from typing import Any

from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_scatter_elements import ScatterElements

__all__ = ["Scatter"]


_scatter: Any = ScatterElements._run


class Scatter(OpRun):
    """data with updates written at indices along an axis; opsets 9 and 10."""

    def _run(
        self,
        data: NDArray[Any],
        indices: NDArray[Any],
        updates: NDArray[Any],
        axis: int | None = None,
    ) -> tuple[NDArray[Any], ...]:
        return tuple(_scatter(self, data, indices, updates, axis=axis or 0, reduction="none"))
