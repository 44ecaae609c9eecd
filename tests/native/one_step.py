"""Plans of a single step: what the tests of the drivers build and run."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from q8tool.native import Plan, isa_available, isa_names

Array = npt.NDArray[Any]
Add = Callable[..., object]

ISAS = [name for name in isa_names() if isa_available(name)]


def run_step(
    add: Add,
    inputs: Sequence[Array],
    outputs: Sequence[tuple[npt.DTypeLike, Sequence[int]]],
    *,
    isa: str | None = None,
    threads: int = 1,
) -> list[Array]:
    """Results of the steps that `add(plan, *input_ids, *output_ids)` appends to a new plan."""
    arrays = [np.ascontiguousarray(a).reshape(np.shape(a)) for a in inputs]
    results = [np.full(shape, 0x55, dtype) for dtype, shape in outputs]
    with Plan(isa) as plan:
        ids = [plan.tensor(a.dtype, a.shape, None) for a in arrays + results]
        add(plan, *ids)
        plan.finish(0)
        plan.run([*arrays, *results], threads=threads)
    return results


def run_one(
    add: Add,
    inputs: Sequence[Array],
    dtype: npt.DTypeLike,
    shape: Sequence[int],
    *,
    isa: str | None = None,
    threads: int = 1,
) -> Array:
    """`run_step` for a step with one result."""
    return run_step(add, inputs, [(dtype, shape)], isa=isa, threads=threads)[0]


def round_to_code(values: Array, zero_point: int, low: int = 0, high: int = 255) -> Array:
    """Codes of float32 values in code units, by the formula of docs/numerics.md."""
    assert values.dtype == np.float32
    rounded = np.clip(np.rint(values.astype(np.float64)) + zero_point, low, high)
    codes: Array = rounded.astype(np.uint8)
    return codes
