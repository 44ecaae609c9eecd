"""Head: the numbers of a classifier's last layers, between fitting them and writing them as nodes.

features -> t = sqrt(max(x, 0)) or x -> p = t @ projection + offset
-> k_j = exp(-narrowness * |p - z_j|^2) for each landmark z_j -> softmax(k @ weights + bias)

without hidden units: features -> t -> softmax(t @ weights + bias)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Head", "Hidden"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Hidden:
    """Units that say how near a photo is to landmarks: training photos, on an eight-bit grid.

    projection  float32 (D, Q): what of the features counts
    offset      float32 (Q,)
    codes       int8 (Q, M); landmark j is codes[:, j] * steps[j]
    steps       float32 (M,)
    narrowness  > 0, by the unit of p squared
    """

    projection: Array
    offset: Array
    codes: Array
    steps: Array
    narrowness: float

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """float32 (Q, M), exactly what the model's DequantizeLinear makes of the codes."""
        return self.codes.astype(np.float32) * self.steps


@dataclass(frozen=True)
class Head:
    """A trained head for features of D numbers and K classes.

    is_root  whether square roots are taken first
    hidden   None: softmax regression on the features themselves
    weights  float32 (D or M, K)
    bias     float32 (K,)
    """

    is_root: bool
    hidden: Hidden | None
    weights: Array
    bias: Array
