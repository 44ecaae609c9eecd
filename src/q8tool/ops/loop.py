"""Loop on the host: onnx.reference joins scan outputs along an existing axis, and does not run
loops whose condition is left out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper
from onnx.reference.ops.op_loop import Loop as _Reference

__all__ = ["Loop"]

Array = NDArray[Any]


class Loop(_Reference):
    """Runs its body up to M times while the condition holds; scan outputs stack on a new axis."""

    body: Any
    _run_body: Any

    def _run(
        self,
        most: Array | None,
        condition: Array | None,
        *initial: Any,
        context: dict[str, Any] | None = None,
        body: Any = None,
        attributes: Any = None,
        bindings: Any = None,
    ) -> tuple[Any, ...]:
        names, carried = list(self.body.input_names), list(initial)
        scans: list[list[Array]] = [[] for _ in range(self.K)]
        goes_on = condition is None or bool(np.all(condition))
        count = 0
        while goes_on and (most is None or count < int(np.reshape(most, -1)[0])):
            state = [np.asarray(count, np.int64), np.asarray(True), *carried]
            feeds = {**(context or {}), **dict(zip(names, state, strict=True))}
            results = self._run_body(feeds, attributes=attributes, bindings=bindings)
            goes_on = bool(np.all(results[0]))
            carried = list(results[1 : 1 + self.N])
            for scan, value in zip(scans, results[1 + self.N :], strict=True):
                scan.append(value)
            count += 1
        stacked = [
            np.stack(scan) if scan else self._none_of(1 + self.N + position)
            for position, scan in enumerate(scans)
        ]
        return (*carried, *stacked)

    def _none_of(self, position: int) -> Array:
        """A scan output of a loop that never ran: no entries, of the declared type and shape."""
        declared = self.body.proto_.output[position].type.tensor_type
        dims = [dim.dim_value for dim in declared.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(declared.elem_type or 1)
        return np.empty((0, *dims), dtype)
