"""From Python values to what cffi takes: arrays that C copies, codes of types and operators.

Arrays are checked here, because C sees only a pointer: a wrong shape or type is a NativeError, a
mistake of the engine and not of the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from q8tool.errors import NativeError
from q8tool.native._q8 import ffi, lib

if TYPE_CHECKING:
    from q8tool.native._q8 import CData

__all__ = ["Arguments", "dtype_code", "enum_code"]

# By name, because numpy has bfloat16 only where somebody imported ml_dtypes.
DTYPE_CODES: dict[str, int] = {
    "uint8": lib.Q8_U8,
    "int8": lib.Q8_S8,
    "int32": lib.Q8_S32,
    "float32": lib.Q8_F32,
    "int64": lib.Q8_S64,
    "int16": lib.Q8_S16,
    "uint16": lib.Q8_U16,
    "uint32": lib.Q8_U32,
    "uint64": lib.Q8_U64,
    "float64": lib.Q8_F64,
    "float16": lib.Q8_F16,
    "bfloat16": lib.Q8_BF16,
}
C_TYPES = {
    np.dtype(np.uint8): "uint8_t[]",
    np.dtype(np.int8): "int8_t[]",
    np.dtype(np.int32): "int32_t[]",
    np.dtype(np.float32): "float[]",
    np.dtype(np.int64): "int64_t[]",
}


class Arguments:
    """Arrays of one call, kept alive until it has returned."""

    def __init__(self) -> None:
        self._alive: list[npt.NDArray[np.generic]] = []

    def pointer(
        self, values: npt.ArrayLike | None, dtype: npt.DTypeLike, shape: Sequence[int], what: str
    ) -> CData:
        """Pointer to `values` as a C array of `dtype`; NULL for None.

        Raises NativeError if the shape differs from `shape` or a value does not fit the type.
        """
        if values is None:
            return ffi.NULL
        given = np.asarray(values)
        wanted = np.dtype(dtype)
        array = np.ascontiguousarray(given, dtype=wanted).reshape(given.shape)
        if array.shape != tuple(shape):
            raise NativeError(f"{what} has shape {given.shape}, not {tuple(shape)}")
        if wanted.kind in "iu" and given.dtype != wanted and not np.array_equal(given, array):
            raise NativeError(f"{what} has values that do not fit {wanted}")
        self._alive.append(array)
        return ffi.from_buffer(C_TYPES[wanted], array)

    def bytes_of(self, array: npt.NDArray[Any]) -> CData:
        """Pointer to an array of any type as it is, C-contiguous."""
        kept = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._alive.append(kept)
        return ffi.from_buffer("uint8_t[]", kept)


def dtype_code(dtype: npt.DTypeLike) -> int:
    """q8_dtype of a numpy type. Raises NativeError for one that plans do not have."""
    try:
        return DTYPE_CODES[np.dtype(dtype).name]
    except KeyError:
        raise NativeError(f"plans have no type {np.dtype(dtype)}") from None


def enum_code(prefix: str, name: str) -> int:
    """Value of the C constant Q8_<prefix>_<name>. Raises NativeError for an unknown name."""
    constant = "_".join(part for part in ("Q8", prefix, name.upper()) if part)
    value = getattr(lib, constant, None)
    if not isinstance(value, int):
        raise NativeError(f"the C engine has no {constant}")
    return value
