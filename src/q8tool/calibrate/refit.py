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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from q8tool.calibrate.walk import Walk
from q8tool.model.change import Change
from q8tool.model.graph import constant, get_float, get_int, node_label
from q8tool.numerics.fitted_rounding import fitted_codes

__all__ = ["Twin", "refit"]

# Results looked at in all samples together.
PLACES = 1024
# Codes are fitted at one of so many of them.
FITTED_EVERY = 2

Array = NDArray[Any]
Rows = NDArray[np.float32]


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
    changes = []
    for done, twin in enumerate(twins, 1):
        # A product of run-time range was replaced; what replaced it has the float result's name.
        is_there = by_name.get(twin.result.name) is twin.result
        result = twin.result if is_there else by_name.get(twin.node.outputs[0].name)
        operator = None if result is None else eight_bit_operator(result)
        patches = patches_of(twin.node)
        x = twin.node.inputs[0]
        if operator is not None and patches is not None and x is not None:
            [xs] = wanted.advance(x)
            _fit(
                twin.node,
                operator,
                _rows(patches, xs),
                _dequantized_rows(patches, actual, operator),
            )
            changes.append(Change("refit", node_label(twin.node), "fitted to the float results"))
        seen(done)
    return changes


def _rows(patches: Patches, arrays: Sequence[Array]) -> Rows:
    """(groups, places, inputs) at places that depend on the position of the sample only."""
    count = -(-PLACES // len(arrays))
    parts = [patches.cut(array, count, seed) for seed, array in enumerate(arrays)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _dequantized_rows(patches: Patches, walk: Walk, operator: EightBitOperator) -> Rows:
    """The same of the eight-bit model's input, in real units."""
    varying = [value for value in operator.x if constant(value) is None]
    found = dict(zip(varying, walk.advance(*varying), strict=True))
    size = len(found[varying[0]])
    arrays, scales, zeros = (found.get(x) or [_known(x)] * size for x in operator.x)
    count, parts = -(-PLACES // size), []
    for seed, (codes, scale, zero) in enumerate(zip(arrays, scales, zeros, strict=True)):
        rows = patches.cut(codes, count, seed, int(zero)).astype(np.float32)
        parts.append((rows - np.float32(zero)) * np.float32(scale))
    return np.concatenate(parts, axis=1)


def _known(value: ir.Value) -> Array:
    array = constant(value)
    assert array is not None
    return array


def _fit(node: ir.Node, operator: EightBitOperator, x: Rows, q: Rows) -> None:
    groups = len(x)
    assert node.inputs[1] is not None
    weights = _known(node.inputs[1])
    factor = get_float(node, "alpha", 1.0) if node.op_type == "Gemm" else 1.0
    real = weight_matrices(node, np.asarray(weights, np.float32), groups) * np.float32(factor)
    codes = operator.codes()
    count = groups * real.shape[2]
    scale = np.broadcast_to(operator.scale.astype(np.float32).reshape(-1), (count,))
    scale = scale.reshape(groups, -1)
    x_mean, q_mean = x.mean(axis=1, dtype=np.float64), q.mean(axis=1, dtype=np.float64)
    x -= x_mean[:, None].astype(np.float32)
    present = weight_matrices(operator.node, codes, groups)
    fitted = present
    if operator.has_own_weights:
        fitted = fitted_codes(real, scale, present, x[:, ::FITTED_EVERY])
        operator.set_codes(_in_layout(operator.node, fitted, codes.shape))
    wanted = np.einsum("gk,gkm->gm", x_mean, real)
    actual = np.einsum("gk,gkm->gm", q_mean, fitted * scale[:, None])
    operator.set_bias(float_bias(node, count) + (wanted - actual).reshape(-1))


def _in_layout(node: ir.Node, matrices: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of weight_matrices."""
    if node.op_type in ("Conv", "ConvInteger"):
        return np.ascontiguousarray(matrices.transpose(0, 2, 1)).reshape(shape)
    is_turned = node.op_type == "Gemm" and get_int(node, "transB", 0)
    return np.asarray(matrices[0].T if is_turned else matrices[0])
