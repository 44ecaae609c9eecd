"""What a caller must know of a model's inputs and outputs."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["TensorInfo"]


class TensorInfo(NamedTuple):
    """An input or output of a model.

    dtype  object for strings, and for sequences and the like
    shape  numbers, names of symbolic dimensions, or None where nothing is known; a tensor whose
           rank is unknown has shape None
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None
    is_tensor: bool = True
