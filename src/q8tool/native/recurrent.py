"""The step of a plan that goes through time, LSTM, GRU or RNN, and floats as digits for products.

The methods stand one to one for functions of csrc/q8.h, where every formula is written.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from q8tool.errors import NativeError
from q8tool.native._q8 import ffi, lib
from q8tool.native.arguments import Arguments, enum_code
from q8tool.native.movement import MovingPlan

__all__ = ["RecurrentPlan"]

_GATES = {"lstm": 4, "gru": 3, "rnn": 1}
_FUNCTIONS = {"lstm": 3, "gru": 2, "rnn": 1}


class RecurrentPlan(MovingPlan):
    """A plan that knows sequences; see Plan."""

    def digits(self, x: int, y: int, units: int) -> range:
        """Rows of floats [R, K] as two digits of eight bits [2 * R, K]: q8_plan_add_digits."""
        return self._add(lib.q8_plan_add_digits, x, y, units, writes=[y, units])

    def joined_digits(
        self, x: int, units: int, y: int, *, scale: npt.ArrayLike, bias: npt.ArrayLike | None = None
    ) -> range:
        """Floats [R, N] of products of such rows, int32 [2 * R, N]: q8_plan_add_joined_digits."""
        arguments, count = Arguments(), self._dims(y, 2)[1:]
        scales = arguments.pointer(scale, np.float32, count, "scale")
        biases = arguments.pointer(bias, np.float32, count, "bias")
        return self._add(lib.q8_plan_add_joined_digits, x, units, y, scales, biases, writes=[y])

    def recurrent(
        self,
        x: int,
        initial_h: int | None = None,
        initial_c: int | None = None,
        lengths: int | None = None,
        y: int | None = None,
        y_h: int | None = None,
        y_c: int | None = None,
        *,
        cell: str,
        weights: npt.NDArray[np.float32] | npt.NDArray[np.int8],
        functions: Sequence[str],
        alpha: Sequence[float],
        beta: Sequence[float],
        scales: npt.ArrayLike | None = None,
        reset_bias: npt.ArrayLike | None = None,
        peepholes: npt.ArrayLike | None = None,
        input_forget: bool = False,
        clip: float = float("inf"),
        batch_first: bool = False,
        is_turned: bool = False,
    ) -> range:
        """LSTM, GRU or RNN behind the product of all time steps: q8_plan_add_recurrent.

        cell       "lstm", "gru" or "rnn"
        weights    [D, G * H, H], the standard's R, or int8 codes of it, with scales [D, G * H]
        functions  of all directions, names as of unary_f32, with their alpha and beta
        reset_bias, peepholes  None, or [D, H] of a GRU, [D, 3 * H] of an LSTM
        """
        if cell not in _GATES:
            raise NativeError(f"no cell {cell}")
        directions, wide = self._dims(x, 4)[2:]
        hidden = wide // _GATES[cell]
        arguments = Arguments()
        pointer = arguments.pointer
        descriptor: Any = ffi.new("q8_recurrent *")
        descriptor.cell, descriptor.x = enum_code("CELL", cell), x
        for name, tensor in {
            "initial_h": initial_h, "initial_c": initial_c, "lengths": lengths,
            "y": y, "y_h": y_h, "y_c": y_c,
        }.items():  # fmt: skip
            setattr(descriptor, name, -1 if tensor is None else tensor)
        descriptor.batch_first, descriptor.is_turned = batch_first, is_turned
        shape = (directions, _GATES[cell] * hidden, hidden)
        if weights.dtype == np.int8:
            descriptor.codes = pointer(weights, np.int8, shape, "weights")
            descriptor.scales = pointer(scales, np.float32, shape[:2], "scales")
        else:
            descriptor.weights = pointer(weights, np.float32, shape, "weights")
        states = (directions, hidden)
        descriptor.reset_bias = pointer(reset_bias, np.float32, states, "reset_bias")
        peeps = (directions, 3 * hidden)
        descriptor.peepholes = pointer(peepholes, np.float32, peeps, "peepholes")
        descriptor.input_forget, descriptor.clip = input_forget, clip
        count = [directions * _FUNCTIONS[cell]]
        codes = [enum_code("UNARY", name) for name in functions]
        descriptor.functions = pointer(codes, np.int32, count, "functions")
        descriptor.alpha = pointer(alpha, np.float32, count, "alpha")
        descriptor.beta = pointer(beta, np.float32, count, "beta")
        writes = [tensor for tensor in (y, y_h, y_c) if tensor is not None]
        return self._add(lib.q8_plan_add_recurrent, descriptor, writes=writes)
