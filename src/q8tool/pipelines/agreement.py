"""Whether two models give the same answers, on seeded random input."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from q8tool.engine.session import Session
from q8tool.errors import InputError, Q8Error
from q8tool.model.graph import is_quantized, weight_bytes
from q8tool.model.limits import FREE_BYTES
from q8tool.model.shapes import dimension_names
from q8tool.numerics.compare import relative_difference, sqnr_db

__all__ = ["TOLERANCE", "OpenSizes", "compare_on_random_input", "first_run", "random_feeds"]

# Folding reorders float32 arithmetic; a wrong fold is off by far more.
TOLERANCE = 1e-3
# Where a model rounds to codes, what is reordered moves a few values by a whole step; noise of a
# wrong fold is far stronger. Signal to noise that is right there, decibels.
CODES_DECIBELS = 40.0


@dataclass(frozen=True)
class OpenSizes:
    """Sizes of open dimensions: of those that stand first in an input, of others, of one name."""

    first: int
    others: int
    named: tuple[str, int] | None = None


# What open dimensions are tried with, until the model runs. Some were left open by an exporter that
# had traced the model with one size all the same. The first are not always a batch: of nodes of a
# graph, which edges name by number, there must be more than one. Sound comes by the second, mostly
# of 16,000 values; what turns it into frames needs many.
_TRIED_SIZES = (64, 16, 224, 1, 256, 640, 320, 416, 512, 384, 16_000)
_TRIED = (*(OpenSizes(1, others) for others in _TRIED_SIZES), OpenSizes(4, 64))
# Then each open dimension as the sum of others: a mask over what a cache holds and what is new,
# which is one token or as many as another open dimension has.
_PART, _SUMS = 16, (17, 32)
_MOST_SUMS = 8
# Bytes of inputs that are made up: what a model makes of them takes many times as much. Who takes
# large ones has weights, so many times fewer at most.
_MOST_MADE_UP = FREE_BYTES // 8
_TIMES_WEIGHTS = 16

Array = npt.NDArray[np.generic]


def compare_on_random_input(reference: ir.Model, model: ir.Model) -> dict[str, float]:
    """Run both on the same input; return output -> largest relative difference.

    An output that the reference itself gives otherwise the next time, of random numbers that the
    model draws, is left out.

    Raises InputError if the reference cannot be run, Q8Error if an output differs by more
    than TOLERANCE, and in a model that rounds to codes has less than CODES_DECIBELS.
    """
    session = Session(reference)
    has_codes = is_quantized(reference)
    _, feeds, expected = first_run(reference, session.run)
    actual = Session(model).run(feeds)
    differences = {}
    for name, wanted in expected.items():
        difference = _difference(wanted, actual[name])
        is_right = difference <= TOLERANCE or (has_codes and _are_near(wanted, actual[name]))
        if not is_right and _difference(wanted, session.run(feeds)[name]) > 0:
            continue
        differences[name] = difference
        if not is_right:
            raise Q8Error(
                f"output '{name}' would differ from the original's by {differences[name]:.2g} "
                "on random input, nothing was written",
                "this is a bug of q8tool; please report it with the model",
            )
    return differences


def _are_near(wanted: Any, got: Any) -> bool:
    """Two tensors of numbers, one of them with little noise."""
    if not isinstance(wanted, np.ndarray) or not isinstance(got, np.ndarray):
        return False
    are_alike = wanted.shape == got.shape and wanted.dtype == got.dtype
    return are_alike and wanted.dtype.kind in "iuf" and sqnr_db(wanted, got) >= CODES_DECIBELS


def _difference(wanted: Any, got: Any) -> float:
    """relative_difference, the largest in a list of tensors; None is an empty optional."""
    if wanted is None or got is None:
        return 0.0 if wanted is got else math.inf
    if isinstance(wanted, list) != isinstance(got, list):
        return math.inf
    if not isinstance(wanted, list):
        return relative_difference(wanted, got)
    if len(wanted) != len(got):
        return math.inf
    return max((_difference(*pair) for pair in zip(wanted, got, strict=True)), default=0.0)


def first_run(
    model: ir.Model, run: Callable[[dict[str, Array]], dict[str, Array]]
) -> tuple[OpenSizes, dict[str, Array], dict[str, Array]]:
    """Sizes of open dimensions that the model accepts, random input of them, and the answers.

    run  runs the model. Raises InputError if no size that is tried can be run.
    """
    open_dims = dimension_names(model)
    failure = None
    for sizes in _tried(model, open_dims):
        try:
            feeds = random_feeds(model, sizes)
            return sizes, feeds, run(feeds)
        except InputError as error:
            failure = failure or error
    assert failure is not None
    others = [name for name in open_dims if name not in _first_dimensions(model)]
    raise type(failure)(failure.message, failure.hint or _hint(others or open_dims))


def _tried(model: ir.Model, open_dims: Sequence[str]) -> Iterator[OpenSizes]:
    """The sizes that a model is tried with, in this order."""
    if not open_dims:
        yield _TRIED[0]
        return
    yield from _TRIED
    others = [name for name in open_dims if name not in _first_dimensions(model)]
    if len(others) > 1:
        for name in others[:_MOST_SUMS]:
            yield from (OpenSizes(1, _PART, (name, total)) for total in _SUMS)


def _hint(open_dims: Sequence[str]) -> str:
    """What to do about a model that ran with no size."""
    if not open_dims:
        return ""
    sizes = ", ".join(map(str, _TRIED_SIZES[:-1])) + f" and {_TRIED_SIZES[-1]}"
    words = " ".join(f"--dim {name}=SIZE" for name in open_dims)
    return (
        f"open dimensions were tried with {sizes}; fix them to what the model was exported for: "
        f"q8tool freeze {words}"
    )


def random_feeds(model: ir.Model, sizes: OpenSizes = _TRIED[0], seed: int = 0) -> dict[str, Array]:
    """One seeded random array per graph input that has no initializer.

    sizes   of open dimensions
    Raises InputError for shapes that nobody has input for.
    Floats are normal with variance 1, integers 0 or 1 (valid as index of anything), bytes 0..255.
    """
    generator = np.random.default_rng(seed)
    known = _sizes_by_name(model, sizes)
    left = _MOST_MADE_UP + _TIMES_WEIGHTS * _known_bytes(model)
    feeds = {}
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        dims = [
            dim if isinstance(dim, int) else known.get(dim.value or "", sizes.others)
            for dim in value.shape or ()
        ]
        size = math.prod(dims) * np.dtype(np.float32).itemsize
        left -= size
        if left < 0:
            raise InputError(
                f"input '{value.name}' of shape {dims} would take {size:,} bytes, too many to try "
                "the model with"
            )
        feeds[value.name or ""] = _random(generator, value.dtype or ir.DataType.FLOAT, dims)
    return feeds


def _known_bytes(model: ir.Model) -> int:
    """Bytes of weights, which some exporters write as nodes."""
    values = [
        node.attributes["value"].as_tensor().nbytes
        for node in model.graph
        if node.op_type == "Constant" and "value" in node.attributes
    ]
    return weight_bytes(model) + sum(values)


def _sizes_by_name(model: ir.Model, sizes: OpenSizes) -> dict[str, int]:
    """Of every open dimension; a name that is a sum of others, "past + 1", has the size it says."""
    first = _first_dimensions(model)
    names = dimension_names(model)
    known = {name: sizes.first if name in first else sizes.others for name in names}
    known.update([] if sizes.named is None else [sizes.named])
    sums = {name: name.split("+") for name in names if "+" in name}
    for name, parts in sums.items():
        terms = [part.strip() for part in parts]
        if all(term.isdecimal() or (term in known and term not in sums) for term in terms):
            known[name] = sum(int(term) if term.isdecimal() else known[term] for term in terms)
    # Without a name a dimension that stands first is a batch, too.
    return known if None not in first else {**known, "": sizes.first}


def _first_dimensions(model: ir.Model) -> set[str | None]:
    """Names of open dimensions that stand first, mostly the batch."""
    return {
        value.shape[0].value
        for value in model.graph.inputs
        if value.shape and not isinstance(value.shape[0], int)
    }


def _random(generator: np.random.Generator, dtype: ir.DataType, dims: list[int]) -> Array:
    if dtype == ir.DataType.STRING:
        return np.full(dims, "", dtype=object)
    if dtype.is_floating_point():
        return generator.standard_normal(dims, dtype=np.float32).astype(dtype.numpy())
    top = 256 if dtype == ir.DataType.UINT8 else 2
    return generator.integers(0, top, dims).astype(dtype.numpy())
