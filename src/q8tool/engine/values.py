"""Values of the model while it is lowered: which forms of each exist already.

A float value may exist as float32, or as codes and a table of 256 floats that says what each code
stands for. DequantizeLinear makes such a table and no step; an elementwise function of it makes
another table; QuantizeLinear then turns both into one table of codes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from q8tool.engine.facts import Fact
from q8tool.engine.tensors import Layout, Tensor
from q8tool.numerics.qparams import QuantParams
from q8tool.numerics.rounding import dequantize, quantize

__all__ = ["CodeParams", "Codes", "Declined", "QuantizedConstant", "Value", "stored_codes"]


class Declined(Exception):  # noqa: N818 - an answer, not an error
    """A lowering does not take this node; the text says why, and the host runs it."""


class CodeParams(NamedTuple):
    """Scale and zero point of a tensor of codes as stored: uint8, int8 moved up by 128.

    is_signed  the ONNX type is int8
    """

    scale: float
    zero_point: int
    is_signed: bool = False

    def floats(self) -> NDArray[np.float32]:
        """What each of the 256 stored codes stands for."""
        return dequantize(np.arange(256).astype(np.uint8), self._params())

    def codes(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The stored codes of real values."""
        return np.asarray(quantize(values, self._params()), np.uint8)

    def same_meaning(self, other: "CodeParams") -> bool:
        """True if a stored code stands for the same number in both."""
        return self.scale == other.scale and self.zero_point == other.zero_point

    def _params(self) -> QuantParams:
        scale = np.asarray(self.scale, np.float32)
        return QuantParams(scale, np.asarray(self.zero_point, np.int32), "uint8")


@dataclass(eq=False)
class Codes:
    """A float value as codes: value = table[stored code].

    source  the eight-bit value that holds the codes
    grid    scale and zero point that the codes were made with
    given   the table, None while it is still grid's: scale * (code - zero_point)
    """

    source: "Value"
    grid: CodeParams
    given: NDArray[np.float32] | None = None

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """What each of the 256 stored codes stands for."""
        return self.grid.floats() if self.given is None else self.given

    @property
    def is_affine(self) -> bool:
        """True if the value is scale * (code - zero_point)."""
        return self.given is None

    @property
    def params(self) -> CodeParams | None:
        """Scale and zero point if the table is nothing but that."""
        return self.grid if self.is_affine else None


@dataclass(eq=False)
class QuantizedConstant:
    """A float constant as its file has it: integers with scales, per tensor or along an axis."""

    codes: Fact
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    axis: int | None


@dataclass(eq=False)
class Value:
    """A tensor of the model, in as many forms as somebody asked for.

    forms      layout -> tensor of its own type (eight-bit types as uint8)
    codes      see Codes; only for float values
    quantized  see QuantizedConstant; only for float constants
    deferred   emits the float form when it is needed after all
    """

    name: str
    fact: Fact
    forms: dict[Layout, Tensor] = field(default_factory=dict)
    codes: Codes | None = None
    quantized: QuantizedConstant | None = None
    deferred: Callable[[], None] | None = None

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The ONNX type; None for sequences and the like."""
        return self.fact.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The ONNX shape. Raises Declined if only the run will tell."""
        if self.fact.shape is None:
            raise Declined(f"the shape of '{self.name}' is known only at run time")
        return self.fact.shape

    @property
    def rank(self) -> int:
        """Number of dimensions. Raises Declined if unknown."""
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        """True if the value is known before anything runs."""
        return self.fact.is_constant

    @property
    def is_waiting(self) -> bool:
        """True if only its deferred steps can give it a form."""
        is_affine = self.codes is not None and self.codes.is_affine
        return self.deferred is not None and not self.forms and not is_affine

    @property
    def is_float(self) -> bool:
        """True for float32."""
        return self.dtype == np.float32


def stored_codes(array: NDArray[Any]) -> NDArray[Any]:
    """An array as the C engine stores it: int8 as uint8, 128 higher."""
    if array.dtype == np.int8:
        return np.ascontiguousarray(array).view(np.uint8) ^ np.uint8(0x80)
    return array
