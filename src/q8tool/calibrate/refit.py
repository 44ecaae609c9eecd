"""Refit: weights and biases of an eight-bit model set so that its layers give the float results.

Both models walk through a few samples, operator by operator. Before an operator runs in the
eight-bit model, its codes are fitted to the inputs that it sees, and its bias makes the mean of
each output channel what it is in the float model; what follows sees the result.

    float model      x --Conv(w, b)--> y           at some places of each sample
    eight-bit model  q --Conv(codes, bias)--> y'   codes: least |codes x - w x|
                                                   bias:  mean y' = mean y

The bias answers for what is systematic in the errors of all layers before.
Sources: bias correction layer by layer with empirical means, Nagel et al., ICCV 2019
(arXiv:1906.04721), section 4.2; codes: numerics/fitted_rounding.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.calibrate.eight_bit_operators import (
    EightBitOperator,
    eight_bit_operator,
    float_bias,
    weight_matrices,
)
from q8tool.calibrate.patches import Patches, patches_of
from q8tool.calibrate.walk import Look, Walk
from q8tool.model.change import Change
from q8tool.model.graph import constant, get_float, get_int, node_label
from q8tool.native.cpu import core_count
from q8tool.numerics.fitted_rounding import fitted_codes

__all__ = ["Twin", "refit"]

# Results looked at in all samples together.
PLACES = 1024
# Codes are fitted at so many of them.
FITTED = 512
# Bytes of the columns that are cut in one piece of the float model's walk.
MEMORY = 24 << 20

Array = NDArray[Any]
Columns = NDArray[np.float32]


@dataclass(frozen=True)
class Twin:
    """One product in both models: the float operator, the value that the eight-bit one makes."""

    node: ir.Node
    result: ir.Value


def refit(
    float_model: ir.Model,
    model: ir.Model,
    twins: Sequence[Twin],
    samples: Sequence[Mapping[str, Array]],
    threads: int | None,
    seen: Callable[[int], None] = lambda done: None,
) -> list[Change]:
    """Changes codes and biases of the eight-bit model in place.

    twins    in graph order; what is no product of constant weights is passed over
    samples  at least one set of inputs
    seen     called with the number of operators done
    """
    wanted, actual = Walk(float_model, samples, threads), Walk(model, samples, threads)
    by_name = {value.name: value for node in model.graph for value in node.outputs}
    changes: list[Change] = []
    done = 0
    products = [None if _eight_bit(twin, by_name) is None else _product(twin) for twin in twins]
    with _Workers(threads) as workers:
        for group in _groups(products):
            real = [one for one in group if one is not None]
            # What the float model computes does not depend on what is fitted: many layers at once.
            looked = wanted.look([(one.x, one.look(len(samples))) for one in real])
            fits = _started(real, looked, by_name, workers)
            for one in group:
                operator = None if one is None else _eight_bit(one.twin, by_name)
                if one in fits and operator is not None:
                    means = _dequantized_means(one.patches, actual, operator)
                    fits.pop(one)().put_into(operator, means)
                    label = node_label(one.twin.node)
                    changes.append(Change("refit", label, "fitted to the float results"))
                done += 1
                seen(done)
    return changes


class _Workers:
    """Threads for what numpy computes; with one thread its caller does it, when it is needed."""

    def __init__(self, threads: int | None) -> None:
        count = threads or core_count()
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *unused: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def start(self, work: Callable[[], "_Fit"]) -> Callable[[], "_Fit"]:
        """What returns the result; to be called once."""
        return work if self._pool is None else self._pool.submit(work).result


@dataclass(frozen=True, eq=False)
class _Product:
    """A float product of constant weights, and the columns that it multiplies."""

    twin: Twin
    x: ir.Value
    patches: Patches

    def look(self, samples: int) -> Look:
        """(groups, inputs, places) at places that depend on the number of the sample only."""
        count = -(-PLACES // samples)
        return lambda array, seed: self.patches.cut(array, count, seed)

    def weights(self) -> Columns:
        """(groups, inputs, outputs)."""
        node = self.twin.node
        assert node.inputs[1] is not None
        factor = get_float(node, "alpha", 1.0) if node.op_type == "Gemm" else 1.0
        weights = weight_matrices(node, _known(node.inputs[1]), self.patches.groups)
        return np.asarray(weights, np.float32) * np.float32(factor)

    def bytes(self) -> int:
        """Of the columns of all samples."""
        assert self.twin.node.inputs[1] is not None
        weights = _known(self.twin.node.inputs[1])
        groups, inputs, _ = weight_matrices(self.twin.node, weights, self.patches.groups).shape
        return int(groups * inputs) * PLACES * 4


def _product(twin: Twin) -> _Product | None:
    """None for what is no such product."""
    patches, x = patches_of(twin.node), twin.node.inputs[0]
    return None if patches is None or x is None else _Product(twin, x, patches)


def _groups(products: Sequence[_Product | None]) -> Iterator[list[_Product | None]]:
    """Neighbours whose columns fit into memory together; at least one."""
    group: list[_Product | None] = []
    taken = 0
    for one in products:
        size = 0 if one is None else one.bytes()
        if group and taken + size > MEMORY:
            yield group
            group, taken = [], 0
        group.append(one)
        taken += size
    if group:
        yield group


def _eight_bit(twin: Twin, by_name: Mapping[str | None, ir.Value]) -> EightBitOperator | None:
    # A product of run-time range was replaced; what replaced it has the float result's name.
    is_there = by_name.get(twin.result.name) is twin.result
    result = twin.result if is_there else by_name.get(twin.node.outputs[0].name)
    return None if result is None else eight_bit_operator(result)


def _sums(columns: Array) -> NDArray[np.float64]:
    """Over the places. A product with ones takes a tenth of the time of a sum along short rows."""
    ones = np.ones(columns.shape[2], np.float32)
    return np.asarray(columns.astype(np.float32, copy=False) @ ones, np.float64)


def _known(value: ir.Value) -> Array:
    array = constant(value)
    assert array is not None
    return array


@dataclass(frozen=True)
class _Fit:
    """What was found for a product: what the walk through the eight-bit model does not change.

    weights  (groups, inputs, outputs) of the float model; codes: fitted to them, the same shape
    scale    (groups, outputs): real units per code
    x_mean   of the inputs, (groups, inputs)
    is_new   whether the codes are other than before
    """

    node: ir.Node
    weights: Columns
    codes: Array
    scale: Array
    x_mean: NDArray[np.float64]
    is_new: bool

    def put_into(self, operator: EightBitOperator, q_mean: NDArray[np.float64]) -> None:
        """Sets codes and bias; q_mean: of the inputs of the eight-bit model, as x_mean."""
        if self.is_new:
            shape = operator.codes().shape
            operator.set_codes(_in_layout(operator.node, self.codes, shape))
        apart = _products(self.x_mean - q_mean, self.weights)
        apart += _products(q_mean, self.weights - self.codes * self.scale[:, None])
        operator.set_bias(float_bias(self.node, self.scale.size) + apart.reshape(-1))


def _started(
    products: Sequence[_Product],
    looked: Sequence[list[Array]],
    by_name: Mapping[str | None, ir.Value],
    workers: _Workers,
) -> dict[_Product, Callable[[], _Fit]]:
    """The fits of some products, each with the columns of every sample, if there is one."""
    started = {}
    for one, columns in zip(products, looked, strict=True):
        if not any(column.shape[2] for column in columns):
            continue
        operator = _eight_bit(one.twin, by_name)
        assert operator is not None
        started[one] = workers.start(partial(_fitted, one, operator, columns))
    return started


def _fitted(product: _Product, operator: EightBitOperator, columns: list[Array]) -> _Fit:
    x = np.concatenate(columns, axis=2, dtype=np.float32)
    columns.clear()
    groups, real = len(x), product.weights()
    scale = np.broadcast_to(operator.scale.astype(np.float32).reshape(-1), groups * real.shape[2])
    scale = scale.reshape(groups, -1)
    x_mean = _sums(x) / x.shape[2]
    codes = weight_matrices(operator.node, operator.codes(), groups)
    if operator.has_own_weights:
        centred = x[:, :, :: max(1, x.shape[2] // FITTED)] - x_mean[:, :, None].astype(np.float32)
        codes = fitted_codes(real, scale, codes, centred)
    return _Fit(product.twin.node, real, codes, scale, x_mean, operator.has_own_weights)


def _dequantized_means(
    patches: Patches, walk: Walk, operator: EightBitOperator
) -> NDArray[np.float64]:
    """The eight-bit model's input, mean over the same places: (groups, inputs), real units."""
    varying = [value for value in operator.x if constant(value) is None]
    found = dict(zip(varying, walk.advance(*varying), strict=True))
    size = len(found[varying[0]]) if varying else 1
    arrays, scales, zeros = (found.get(x) or [_known(x)] * size for x in operator.x)
    count, total, places = -(-PLACES // size), np.float64(0.0), 0
    for seed, (codes, scale, zero) in enumerate(zip(arrays, scales, zeros, strict=True)):
        columns = patches.cut(codes, count, seed, int(zero))
        here = columns.shape[2]
        total = total + (_sums(columns) - here * int(zero)) * float(scale)
        places += here
    return np.asarray(total / places)


def _products(means: NDArray[np.float64], weights: Array) -> Array:
    """(groups, inputs) times (groups, inputs, outputs)."""
    return (means[:, None].astype(np.float32) @ weights)[:, 0]


def _in_layout(node: ir.Node, matrices: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of weight_matrices."""
    if node.op_type in ("Conv", "ConvInteger"):
        return np.ascontiguousarray(matrices.transpose(0, 2, 1)).reshape(shape)
    is_turned = node.op_type == "Gemm" and get_int(node, "transB", 0)
    return np.asarray(matrices[0].T if is_turned else matrices[0])
