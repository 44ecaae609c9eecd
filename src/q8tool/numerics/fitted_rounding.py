"""Fitted rounding: weight codes for which the results, not the weights, are closest.

For the inputs X that an operator sees, less their mean (which is the bias' task), the codes c of an
output with real weights w and scale s minimise

    | X (s c - w) |^2  +  ridge | s c - w |^2

one code after the other, each once, going to the best whole number while the others stay
(coordinate descent: no step makes it worse; a second round gains little). The ridge keeps to the
weights where few inputs say little. s is a factor of the whole: in units of codes, with H = X^T X +
ridge and d = c - w / s, code k goes to c_k - round(H_k d / H_kk).
Sources: Nagel et al., AdaRound, ICML 2020 (arXiv:2004.10568), for the aim; Frantar et al., GPTQ,
ICLR 2023 (arXiv:2210.17323), for column by column in blocks.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fitted_codes"]

# Inputs whose effect on each other is followed at once; on the rest it is after the block.
BLOCK = 32
# Outputs at once: their errors at every place are in memory.
OUTPUTS = 2048
# Of the mean square of an input times the number of places. Small ones fit the codes to these
# places, not to others: 0.05 gives three MobileNets 0.2 to 1 dB less; 4 is too much again.
RIDGE = 1.0

Values = NDArray[np.float32]
LIMIT = 127.0


def fitted_codes(
    weights: Values, scale: Values, codes: NDArray[np.int8], inputs: Values
) -> NDArray[np.int8]:
    """Better codes than the given ones, for each group of an operator.

    weights (groups, inputs, outputs), real units; codes the same, int8
    scale   (groups, outputs): real units per code
    inputs  (groups, inputs, places), less their mean, real units
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
    now = codes.astype(np.float32, order="C")
    errors = _Errors(now - weights / scale[:, None], inputs)
    for first in range(0, weights.shape[1], BLOCK):
        part = slice(first, first + BLOCK)
        products, slope = errors.block(part)
        change = _block_changes(products, slope, now[:, part])
        now[:, part] += change
        errors.move(part, change)
    return now.astype(np.int8)


class _Errors:
    """Errors of the codes, and what they do to the error of the results.

    apart   (groups, inputs, outputs) codes from the real weights
    inputs  (groups, inputs, places)
    Of many places the products of inputs are kept, of few the results.
    """

    def __init__(self, apart: Values, inputs: Values) -> None:
        self._apart, self._inputs = apart, inputs
        self._transposed = inputs.transpose(0, 2, 1)
        squares = np.einsum("gkp,gkp->gk", inputs, inputs)
        self._ridge = RIDGE * squares.mean(axis=1) + np.finfo(np.float32).tiny
        self._products: Values | None = None
        if inputs.shape[1] <= inputs.shape[2]:
            self._products = inputs @ self._transposed
            self._add_ridge(self._products)
        else:
            self._results: Values = self._transposed @ apart

    def block(self, part: slice) -> tuple[Values, Values]:
        """Of some inputs: products with each other, and half the derivative of the error by each.

        (groups, inputs, inputs) with the ridge, and (groups, inputs, outputs); units of codes.
        """
        if self._products is not None:
            return self._products[:, part, part], self._products[:, part] @ self._apart
        some = self._inputs[:, part]
        products = some @ self._transposed[:, :, part]
        self._add_ridge(products)
        slope = some @ self._results
        slope += self._ridge[:, None, None] * self._apart[:, part]
        return products, slope

    def move(self, part: slice, change: Values) -> None:
        """Takes in what codes of some inputs changed by."""
        self._apart[:, part] += change
        if self._products is None:
            self._results += self._transposed[:, :, part] @ change

    def _add_ridge(self, products: Values) -> None:
        diagonal = np.arange(products.shape[1])
        products[:, diagonal, diagonal] += self._ridge[:, None]


def _block_changes(products: Values, slope: Values, codes: Values) -> Values:
    """By how much each code of a block changes; (groups, inputs, outputs) all.

    products  of the inputs with the ridge, (groups, inputs, inputs)
    slope     half the derivative of the error by each code; used up
    """
    changes = np.empty_like(codes)
    for k in range(codes.shape[1]):
        change = np.divide(slope[:, k], -products[:, k, k, None], out=changes[:, k])
        np.rint(change, out=change)
        np.maximum(change, -LIMIT - codes[:, k], out=change)
        np.minimum(change, LIMIT - codes[:, k], out=change)
        slope[:, k + 1 :] += products[:, k + 1 :, k, None] * change[:, None]
    return changes
