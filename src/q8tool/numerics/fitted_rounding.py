"""Fitted rounding: weight codes for which the results, not the weights, are closest.

For the inputs X that an operator sees, less their mean (which is the bias' task), the codes c of an
output with real weights w and scale s minimise

    | X (s c - w) |^2  +  ridge | s c - w |^2

one code after the other, each once, going to the best whole number while the others stay
(coordinate descent: no step makes it worse; a second round gains little). The ridge keeps to the
weights where few inputs say little.
Sources: Nagel et al., AdaRound, ICML 2020 (arXiv:2004.10568), for the aim; Frantar et al., GPTQ,
ICLR 2023 (arXiv:2210.17323), for column by column in blocks.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fitted_codes"]

# Columns whose effect on each other is followed at once; on the rest it is after the block.
BLOCK = 32
# Outputs at once: their errors at every place are in memory.
OUTPUTS = 2048
# Of the mean square of an input times the number of places.
RIDGE = 0.05

Values = NDArray[np.float32]
LIMIT = 127.0


def fitted_codes(
    weights: Values, scale: Values, codes: NDArray[np.int8], inputs: Values
) -> NDArray[np.int8]:
    """Better codes than the given ones, for each group of an operator.

    weights (groups, inputs, outputs), real units; codes the same, int8
    scale   (groups, outputs): real units per code
    inputs  (groups, places, inputs), less their mean, real units
    """
    if weights.shape[1] <= BLOCK:
        return _fitted(weights, scale, codes, inputs)
    fitted = np.empty_like(codes)
    for g in range(len(weights)):
        for first in range(0, weights.shape[2], OUTPUTS):
            at = (slice(g, g + 1), slice(None), slice(first, first + OUTPUTS))
            fitted[at] = _fitted(weights[at], scale[at[0], at[2]], codes[at], inputs[at[0]])
    return fitted


def _fitted(
    weights: Values, scale: Values, codes: NDArray[np.int8], inputs: Values
) -> NDArray[np.int8]:
    transposed = inputs.transpose(0, 2, 1)
    squares = np.einsum("gkp,gkp->gk", transposed, transposed)
    ridge = RIDGE * squares.mean(axis=1) + np.finfo(np.float32).tiny
    steps = scale[:, None]
    now = codes.astype(np.float32)
    apart = inputs @ (now * steps - weights)
    for first in range(0, weights.shape[1], BLOCK):
        part = slice(first, first + BLOCK)
        products = transposed[:, part] @ inputs[:, :, part]
        products += ridge[:, None, None] * np.eye(products.shape[1], dtype=np.float32)
        slope = transposed[:, part] @ apart
        slope += ridge[:, None, None] * (now[:, part] * steps - weights[:, part])
        change = _block_changes(products, slope, now[:, part], scale)
        now[:, part] += change
        apart += inputs[:, :, part] @ (change * steps)
    return now.astype(np.int8)


def _block_changes(products: Values, slope: Values, codes: Values, scale: Values) -> Values:
    """By how much each code of a block changes; (groups, inputs, outputs) all.

    products  inputs^T inputs with the ridge, (groups, inputs, inputs)
    slope     half the derivative of the error by each real weight; used up
    """
    changes = np.zeros_like(codes)
    for k in range(codes.shape[1]):
        best = np.rint(-slope[:, k] / (scale * products[:, k, k, None]))
        change = np.clip(best, -LIMIT - codes[:, k], LIMIT - codes[:, k])
        changes[:, k] = change
        slope += products[:, :, k, None] * (change * scale)[:, None]
    return changes
