"""Whether two models give the same answers, on seeded random input."""

import math

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.engine.session import Session
from q8tool.errors import Q8Error, UnsupportedError
from q8tool.model.shapes import dimension_names

__all__ = ["TOLERANCE", "compare_on_random_input", "random_feeds", "relative_difference"]

# Folding reorders float32 arithmetic; a wrong fold is off by far more.
TOLERANCE = 1e-3
# What symbolic dimensions other than the first are tried with, until the model runs.
_TRIED_SIZES = (64, 16, 224, 1)

Array = npt.NDArray[np.generic]


def compare_on_random_input(reference: ir.Model, model: ir.Model) -> dict[str, float]:
    """Run both on the same input; return output -> largest relative difference.

    Raises UnsupportedError if the reference cannot be run, Q8Error if an output differs by more
    than TOLERANCE.
    """
    feeds, expected = _first_run(reference)
    actual = Session(model).run(feeds)
    differences = {}
    for name, wanted in expected.items():
        differences[name] = relative_difference(wanted, actual[name])
        if not differences[name] <= TOLERANCE:
            raise Q8Error(
                f"output '{name}' would differ from the original's by {differences[name]:.2g} "
                "on random input, nothing was written",
                "this is a bug of q8tool; please report it with the model",
            )
    return differences


def _first_run(model: ir.Model) -> tuple[dict[str, Array], dict[str, Array]]:
    """Input that the model accepts, and its answers."""
    session = Session(model)
    open_dims = dimension_names(model)
    failure = None
    for size in _TRIED_SIZES if open_dims else _TRIED_SIZES[:1]:
        feeds = random_feeds(model, size)
        try:
            return feeds, session.run(feeds)
        except UnsupportedError as error:
            failure = failure or error
    assert failure is not None
    hint = f"fix its open dimensions, such as --dim {open_dims[-1]}=1" if open_dims else ""
    raise UnsupportedError(failure.message, failure.hint or hint)


def random_feeds(model: ir.Model, open_size: int = 1, seed: int = 0) -> dict[str, Array]:
    """One seeded random array per graph input that has no initializer.

    open_size   of symbolic dimensions; the first dimension of an input, when symbolic, is 1
    Floats are normal with variance 1, integers 0 or 1 (valid as index of anything), bytes 0..255.
    """
    generator = np.random.default_rng(seed)
    first = {
        value.shape[0].value
        for value in model.graph.inputs
        if value.shape and not isinstance(value.shape[0], int)
    }
    feeds = {}
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        dims = [
            dim if isinstance(dim, int) else 1 if dim.value in first else open_size
            for dim in value.shape or ()
        ]
        feeds[value.name or ""] = _random(generator, value.dtype or ir.DataType.FLOAT, dims)
    return feeds


def _random(generator: np.random.Generator, dtype: ir.DataType, dims: list[int]) -> Array:
    if dtype == ir.DataType.STRING:
        return np.full(dims, "", dtype=object)
    if dtype.is_floating_point():
        return generator.standard_normal(dims, dtype=np.float32).astype(dtype.numpy())
    top = 256 if dtype == ir.DataType.UINT8 else 2
    return generator.integers(0, top, dims).astype(dtype.numpy())


def relative_difference(expected: Array, actual: Array) -> float:
    """Largest difference over the largest expected magnitude; share of differing integers.

    Infinite for other shapes or types; NaN equals NaN.
    """
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return math.inf
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind in "iubOSU":
        return float(np.mean(expected != actual))
    wanted, got = expected.astype(np.float64), actual.astype(np.float64)
    differs = (wanted != got) & ~(np.isnan(wanted) & np.isnan(got))
    if not np.isfinite(wanted[differs]).all() or not np.isfinite(got[differs]).all():
        return math.inf
    apart = np.abs(wanted[differs] - got[differs]).max(initial=0.0)
    largest = np.abs(wanted[np.isfinite(wanted)]).max(initial=np.finfo(np.float32).tiny)
    return float(apart / largest)
