"""LSTM, GRU and RNN as a step: what it refuses, where it stops. Its numbers: tests/engine."""

import threading
from typing import Any

import numpy as np
import pytest

from q8tool.errors import NativeError
from q8tool.native import Plan
from q8tool.native._q8 import ffi, lib
from tests.native.one_step import ISAS, run_step

STEPS, BATCH, HIDDEN = 3, 2, 4


def numbers(cell: str, directions: int = 1) -> dict[str, Any]:
    gates, functions = {"lstm": (4, 3), "gru": (3, 2), "rnn": (1, 1)}[cell]
    count = functions * directions
    return {
        "cell": cell,
        "weights": np.zeros((directions, gates * HIDDEN, HIDDEN), np.float32),
        "functions": ["tanh"] * count,
        "alpha": [0.0] * count,
        "beta": [0.0] * count,
    }


def tensors(plan: Plan, gates: int = 4, directions: int = 1) -> dict[str, int]:
    shapes = {
        "x": (STEPS, BATCH, directions, gates * HIDDEN),
        "y": (STEPS, directions, BATCH, HIDDEN),
        "y_h": (directions, BATCH, HIDDEN),
        "y_c": (directions, BATCH, HIDDEN),
    }
    return {key: plan.tensor(np.float32, shape, None) for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("text", "cell", "changes"),
    [
        ("no LSTM", "gru", {"peepholes": np.zeros((1, 3 * HIDDEN), np.float32)}),
        ("no LSTM", "gru", {"initial_c": "y_c"}),
        ("no LSTM", "rnn", {"input_forget": True}),
        ("no GRU", "lstm", {"reset_bias": np.zeros((1, HIDDEN), np.float32)}),
        ("clip", "lstm", {"clip": 0.0}),
        ("clip", "lstm", {"clip": float("nan")}),
        ("shapes", "lstm", {"y": "y_h"}),
        ("shapes", "lstm", {"y_h": "y"}),
        ("type", "lstm", {"lengths": "y_h"}),
        ("in place", "lstm", {"initial_h": "y_h"}),
        ("in place", "lstm", {"y_c": "y_h"}),
        ("no tensor", "lstm", {"initial_h": 99}),
        ("constant", "lstm", {"y_h": "fixed"}),
        ("shape", "lstm", {"weights": np.zeros((1, 4, 4), np.float32)}),
        ("shape", "lstm", {"functions": ["tanh"]}),
        ("shape", "lstm", {"weights": np.zeros((1, 16, 4), np.int8), "scales": np.zeros((1, 9))}),
        ("no weights", "lstm", {"weights": np.zeros((1, 16, 4), np.int8)}),
        ("Q8_UNARY_SOFTSIGN", "rnn", {"functions": ["softsign"]}),
    ],
)
def test_refused(text: str, cell: str, changes: dict[str, Any]) -> None:
    plan = Plan()
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    known = tensors(plan, gates)
    known["fixed"] = plan.constant(np.zeros((1, BATCH, HIDDEN), np.float32))
    given = {**numbers(cell), "x": known["x"], "y": known["y"], "y_h": known["y_h"]}
    for key, value in changes.items():
        given[key] = known[value] if isinstance(value, str) else value
    with pytest.raises(NativeError, match=text):
        plan.recurrent(**given)


def test_too_many_directions() -> None:
    plan = Plan()
    known = tensors(plan, directions=3)
    with pytest.raises(NativeError, match="two directions"):
        plan.recurrent(known["x"], y=known["y"], **numbers("lstm", 3))


@pytest.mark.parametrize("isa", ISAS)
def test_digits_are_nearly_the_floats(isa: str) -> None:
    """To one part in 2^15 of a row's greatest value; and what was joined is their sum."""
    generator = np.random.default_rng(3)
    x = (generator.standard_normal((5, 77)) * [[1], [1e-3], [300], [0], [-5]]).astype(np.float32)
    outputs = [(np.uint8, (10, 77)), (np.float32, (5,))]
    codes, units = run_step(lambda plan, *ids: plan.digits(*ids), [x], outputs, isa=isa)
    digits = codes.astype(np.int32) - 128
    real = (digits[::2] + digits[1::2] / 256) * units[:, None].astype(float)
    assert np.all(np.abs(real - x) <= np.abs(x).max(1, keepdims=True) / 127 / 256)
    scale, bias = generator.random((2, 77), np.float32)

    def join(plan: Plan, sums: int, units: int, y: int) -> object:
        return plan.joined_digits(sums, units, y, scale=scale, bias=bias)

    joined = run_step(join, [digits, units], [(np.float32, (5, 77))], isa=isa, threads=2)[0]
    np.testing.assert_allclose(joined, real * scale + bias, rtol=1e-5, atol=1e-6)


def test_digits_that_do_not_fit() -> None:
    for rows, columns, units in ((9, 77, 5), (10, 76, 5), (10, 77, 4)):
        plan = Plan()
        x = plan.tensor(np.float32, (5, 77), None)
        found = plan.tensor(np.float32, (units,), None)
        with pytest.raises(NativeError, match="shapes"):
            plan.digits(x, plan.tensor(np.uint8, (rows, columns), None), found)


def test_stops_between_two_steps_of_time() -> None:
    """A long sequence is one step of the plan; the flag is seen long before its end."""
    steps, plan = 3_000_000, Plan()
    x = plan.tensor(np.float32, (steps, 1, 1, 1), None)
    y_h = plan.tensor(np.float32, (1, 1, 1), None)
    weights = np.zeros((1, 1, 1), np.float32)
    plan.recurrent(
        x, y_h=y_h, cell="rnn", weights=weights, functions=["tanh"], alpha=[0.0], beta=[0.0]
    )
    plan.finish(0)
    arrays = [np.ones((steps, 1, 1, 1), np.float32), np.full((1, 1, 1), 7, np.float32)]
    pointers = ffi.new("void *[]", [ffi.from_buffer("uint8_t[]", array) for array in arrays])
    sizes = ffi.new("int64_t[]", [array.nbytes for array in arrays])
    flag: Any = ffi.new("int *", 0)

    def stop() -> None:
        flag[0] = 1

    threading.Timer(0.02, stop).start()
    status = lib.q8_plan_run(plan._handle, 2, pointers, sizes, 1, ffi.NULL, flag)
    assert status == lib.Q8_ERROR_STATE
    assert arrays[1][0] == 7
