"""Scale evidence: whether a model's own biases are of the size that its input calls for.

    x --Conv(w, b)--> w x + b      trained on such x: w x spreads about as far as the biases reach
                                   trained on x / 127.5: w x spreads a hundred times as far

A normalization right behind the product takes every scale out again: then any will do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.model.graph import constant
from q8tool.ops.registry import row

__all__ = ["suits_scale"]

_NORMALIZING = frozenset(
    {
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "MeanVarianceNormalization",
    }
)
# Root mean square of the spread of w x over that of the biases. Five trained and three random
# networks: 0.2 to 4 with their own input, 29 to 230 with pixels 0..255 in its place.
MOST_SPREAD = 10.0


def suits_scale(model: ir.Model, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> bool:
    """True if the first convolution of a prepared model speaks for the scale of these inputs.

    False if it speaks against it, or says nothing: there is none, or it has no biases.
    """
    product = next((node for node in model.graph if _has_weights(node)), None)
    if product is None:
        return False
    result = product.outputs[0]
    if any(_normalizes(usage.node) for usage in result.uses()):
        return True
    bias = constant(product.inputs[2]) if len(product.inputs) > 2 else None
    if bias is None or not np.any(bias):
        return False
    name = result.name or ""
    session = Session(model, observe=[name])
    spread = np.mean([np.var(session.run(dict(fed))[name], axis=(0, 2, 3)) for fed in feeds])
    return bool(spread < MOST_SPREAD**2 * np.mean(np.square(bias, dtype=np.float64)))


def _has_weights(node: ir.Node) -> bool:
    """Of pictures: results are [N, C, H, W]."""
    weights = constant(node.inputs[1]) if node.op_type == "Conv" else None
    return weights is not None and weights.ndim == 4


def _normalizes(node: ir.Node) -> bool:
    """True for a normalization, seen through data movement."""
    found = row(node.domain, node.op_type)
    if found is not None and found.quantization == "same":
        return any(_normalizes(usage.node) for usage in node.outputs[0].uses())
    return node.op_type in _NORMALIZING
