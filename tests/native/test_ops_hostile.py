"""Descriptors that no engine should send: each gives an error, and the plan stays refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from q8tool.errors import NativeError
from q8tool.native import Plan

CALLS: list[tuple[str, Callable[[Plan, dict[str, int]], object]]] = [
    ("no tensor", lambda p, t: p.table(t["u8"], 99, np.zeros(256, np.uint8))),
    ("no tensor", lambda p, t: p.table(-1, t["u8"], np.zeros(256, np.uint8))),
    ("type", lambda p, t: p.quantize(t["u8"], t["u8b"], scale=1.0, zero_point=0)),
    ("elements", lambda p, t: p.quantize(t["f32"], t["u8small"], scale=1.0, zero_point=0)),
    ("zero point", lambda p, t: p.quantize(t["f32"], t["u8"], scale=1.0, zero_point=256)),
    ("zero point", lambda p, t: p.dequantize(t["u8"], t["f32"], scale=1.0, zero_point=-1)),
    ("finite", lambda p, t: p.quantize(t["f32"], t["u8"], scale=float("nan"), zero_point=0)),
    ("finite", lambda p, t: p.dequantize(t["u8"], t["f32"], scale=float("inf"), zero_point=0)),
    ("constant", lambda p, t: p.quantize(t["f32"], t["fixed"], scale=1.0, zero_point=0)),
    ("scalar", lambda p, t: p.dynamic_quantize(t["f32"], t["u8"], t["f32b"], t["zp"])),
    ("overlap", lambda p, t: p.dynamic_quantize(t["f32"], t["u8"], t["inside"], t["zp"])),
    ("overlap", lambda p, t: codes_of_range(p, t, scale=p.tensor(np.float32, [], 1024))),
    ("overlap", lambda p, t: codes_of_range(p, t, zero_point=p.tensor(np.uint8, [], 1024))),
    ("two numbers", lambda p, t: range_of(p, t, t["f32b"], t["f32"])),
    ("cannot do this", lambda p, t: range_of(p, t, t["f32"], t["ends"])),
    ("cannot do this", lambda p, t: p.then_unary(t["f32"], "neg")),
    ("does something already", lambda p, t: twice_a_function(p, t)),
    ("broadcast", lambda p, t: binary(p, t["u8small"], t["odd"], t["u8"])),
    ("broadcast", lambda p, t: binary(p, t["u8"], t["u8"], t["odd"])),
    ("zero point", lambda p, t: binary(p, t["u8"], t["u8"], t["u8b"], a_zero_point=-5)),
    ("limits", lambda p, t: binary(p, t["u8"], t["u8"], t["u8b"], y_low=9, y_high=8)),
    ("limits", lambda p, t: binary(p, t["u8"], t["u8"], t["u8b"], y_high=256)),
    ("finite", lambda p, t: binary(p, t["u8"], t["u8"], t["u8b"], a_multiplier=float("nan"))),
    ("operation", lambda p, t: binary(p, t["u8"], t["u8"], t["u8b"], op="div")),
    ("rank", lambda p, t: p.pool("max", t["f32"], t["f32b"], kernel=(1, 1))),
    ("differs", lambda p, t: p.pool("max", t["image"], t["wide"], kernel=(1, 1))),
    ("pool", lambda p, t: p.pool("max", t["image"], t["result"], kernel=(0, 1))),
    ("pool", lambda p, t: p.pool("max", t["image"], t["result"], kernel=(1, 1), stride=(0, 1))),
    ("pool", lambda p, t: p.pool("max", t["image"], t["result"], kernel=(1, 1), dilation=(1, -1))),
    (
        "pool",
        lambda p, t: p.pool("max", t["image"], t["result"], kernel=(1, 1), pads=(-1, 0, 0, 0)),
    ),
    ("pad", lambda p, t: p.pool("max", t["image"], t["result"], kernel=(1, 1), pads=(0, 0, 0, -1))),
    ("pool", lambda p, t: p.pool("max", t["image"], t["result"], kernel=(2**31 - 1, 2**31 - 1))),
    ("finite", lambda p, t: pool_average(p, t, multiplier=float("nan"))),
    ("zero point", lambda p, t: pool_average(p, t, x_zero_point=300)),
    ("outside", lambda p, t: resize(p, t, low_h=[0, 3])),
    ("outside", lambda p, t: resize(p, t, high_w=[-1, 0])),
    ("fraction", lambda p, t: resize(p, t, fraction_h=[0.0, 1.5])),
    ("fraction", lambda p, t: resize(p, t, fraction_w=[float("nan"), 0.0])),
    ("sizes", lambda p, t: p.gather(t["u8"], t["u8b"], outer=-1, axis=-9, inner=1, indices=[0])),
    ("sizes", lambda p, t: p.reduce_f32("sum", t["f32"], t["f32b"], outer=3, axis=4, inner=2)),
    ("sizes", lambda p, t: p.reduce_f32("sum", t["f32"], t["f32b"], outer=2**62, axis=4, inner=4)),
    ("type", lambda p, t: p.argmax(t["f32"], t["f32b"], outer=1, axis=1, inner=16)),
    ("2048 counts", lambda p, t: histogram(p, t, counts=2047)),
    ("3 numbers", lambda p, t: histogram(p, t, numbers=2)),
    ("3 numbers", lambda p, t: p.ends(t["f32"], p.tensor(np.float32, [4, 2], None))),
    ("type", lambda p, t: p.ends(t["u8"], p.tensor(np.float32, [4, 3], None))),
    ("overlap", lambda p, t: p.ends(t["f32"], p.tensor(np.float32, [900, 3], 0))),
    ("type", lambda p, t: histogram(p, t, x="u8")),
    ("overlap", lambda p, t: histogram(p, t, offset=0)),
    ("axis", lambda p, t: p.softmax_f32(t["scale"], t["scale"])),
    ("elements", lambda p, t: p.layer_norm_f32(t["f32"], t["scale"], None, t["f32b"], epsilon=0)),
    ("overlap", lambda p, t: layer_norm_in_place(p, t)),
    ("no result", lambda p, t: p.layer_norm_f32(t["f32"], t["row"], None, epsilon=0)),
    ("finite", lambda p, t: layer_norm_to_codes(p, t, code_scale=float("nan"))),
    ("zero point", lambda p, t: layer_norm_to_codes(p, t, code_zero_point=256)),
    ("overlap", lambda p, t: number_inside_result(p, t, "conv")),
    ("overlap", lambda p, t: number_inside_result(p, t, "matmul")),
]


def binary(plan: Plan, a: int, b: int, y: int, **changed: Any) -> object:
    numbers: dict[str, Any] = {
        "op": "add",
        "a_zero_point": 0,
        "b_zero_point": 0,
        "y_zero_point": 0,
        "a_multiplier": 1.0,
    }
    numbers.update(changed)
    return plan.binary(a=a, b=b, y=y, **numbers)


def pool_average(plan: Plan, tensors: dict[str, int], **numbers: Any) -> object:
    return plan.pool("average", tensors["image"], tensors["result"], kernel=(1, 1), **numbers)


def resize(plan: Plan, tensors: dict[str, int], **changed: Any) -> object:
    sources: dict[str, Any] = {"low_h": [0, 1], "high_h": [1, 2], "fraction_h": [0.5, 0.5]}
    sources |= {"low_w": [0, 1], "high_w": [1, 2], "fraction_w": [0.5, 0.5]}
    sources.update(changed)
    return plan.resize(tensors["image"], tensors["result"], **sources)


def layer_norm_to_codes(plan: Plan, tensors: dict[str, int], **numbers: Any) -> object:
    x, row, codes = (tensors[name] for name in ("f32", "row", "u8"))
    return plan.layer_norm_f32(x, row, None, None, codes, epsilon=0.0, **numbers)


def layer_norm_in_place(plan: Plan, tensors: dict[str, int]) -> object:
    return plan.layer_norm_f32(tensors["f32"], tensors["row"], None, tensors["f32"], epsilon=0.0)


def number_inside_result(plan: Plan, tensors: dict[str, int], step: str) -> object:
    """A zero point known at run time where the result is written."""
    inside = plan.tensor(np.uint8, [], 768)
    if step == "matmul":
        a, y = plan.tensor(np.uint8, [1, 4, 8], 896), plan.tensor(np.uint8, [1, 4, 4], 768)
        b = plan.tensor(np.uint8, [1, 8, 4], 960)
        return plan.matmul(a, b, y, a_zero_point_tensor=inside)
    return plan.conv(
        tensors["image"],
        tensors["result"],
        np.ones((8, 2, 2, 8), np.int8),
        multiplier=np.ones(8, np.float32),
        x_zero_point_tensor=inside,
    )


def histogram(
    plan: Plan,
    tensors: dict[str, int],
    x: str = "f32",
    numbers: int = 3,
    counts: int = 2048,
    offset: int | None = None,
) -> object:
    ends = plan.tensor(np.float32, [1, numbers], None)
    return plan.histogram(tensors[x], ends, plan.tensor(np.int64, [counts], offset))


def range_of(plan: Plan, tensors: dict[str, int], y: int, y_range: int) -> object:
    """The range of y behind a sum of floats in f32b."""
    plan.binary_f32("add", tensors["f32"], tensors["f32"], tensors["f32b"])
    return plan.find_range(y, y_range)


def codes_of_range(plan: Plan, tensors: dict[str, int], **results: int) -> object:
    """Codes by a range that one of the scalar results overwrites."""
    places = {"scale": tensors["scale"], "zero_point": tensors["zp"], **results}
    return plan.dynamic_quantize(tensors["f32"], tensors["u8"], x_range=tensors["ends"], **places)


def twice_a_function(plan: Plan, tensors: dict[str, int]) -> object:
    plan.binary_f32("add", tensors["f32"], tensors["f32"], tensors["f32b"])
    plan.then_unary(tensors["f32b"], "neg")
    return plan.then_unary(tensors["f32b"], "abs")


def tensors_of(plan: Plan) -> dict[str, int]:
    """Tensors of one arena of 4096 bytes, some of which overlap."""
    return {
        "u8": plan.tensor(np.uint8, [4, 4], 0),
        "u8b": plan.tensor(np.uint8, [4, 4], 64),
        "u8small": plan.tensor(np.uint8, [1, 4], 128),
        "odd": plan.tensor(np.uint8, [3, 4], 192),
        "f32": plan.tensor(np.float32, [4, 4], 256),
        "f32b": plan.tensor(np.float32, [4, 4], 320),
        "inside": plan.tensor(np.float32, [], 256),
        "scale": plan.tensor(np.float32, [], 384),
        "row": plan.tensor(np.float32, [4], 448),
        "ends": plan.tensor(np.float32, [2], 1024),
        "zp": plan.tensor(np.uint8, [], 512),
        "s8": plan.tensor(np.int8, [4, 4], 576),
        "fixed": plan.constant(np.zeros((4, 4), np.uint8)),
        "image": plan.tensor(np.uint8, [1, 3, 3, 8], 640),
        "result": plan.tensor(np.uint8, [1, 2, 2, 8], 768),
        "wide": plan.tensor(np.uint8, [1, 2, 2, 9], 832),
    }


@pytest.mark.parametrize(("message", "call"), CALLS)
def test_a_hostile_descriptor_is_refused(
    message: str, call: Callable[[Plan, dict[str, int]], object]
) -> None:
    with Plan() as plan:
        tensors = tensors_of(plan)
        with pytest.raises(NativeError, match=message):
            call(plan, tensors)
        with pytest.raises(NativeError, match=message):
            plan.finish(4096)


def test_a_partial_overlap_is_refused() -> None:
    with Plan() as plan:
        x = plan.tensor(np.uint8, [100], 0)
        y = plan.tensor(np.uint8, [100], 64)
        with pytest.raises(NativeError, match="overlap"):
            plan.table(x, y, np.zeros(256, np.uint8))


def test_working_in_place_is_allowed_where_it_is_safe() -> None:
    with Plan() as plan:
        x = plan.tensor(np.float32, [100], None)
        inside = plan.tensor(np.float32, [100], 0)
        alias = plan.tensor(np.float32, [10, 10], 0)
        y = plan.tensor(np.float32, [100], None)
        plan.unary_f32("neg", x, inside)
        plan.unary_f32("affine", inside, inside, alpha=2.0, beta=1.0)
        plan.binary_f32("mul", alias, alias, alias)
        plan.softmax_f32(inside, inside)
        plan.unary_f32("log", inside, y)
        plan.finish(4096)
        values = np.linspace(-1, 1, 100, dtype=np.float32)
        result = np.zeros(100, np.float32)
        plan.run([values, result])
    squared = (1 - 2 * values.astype(np.float64)) ** 2
    want = squared - squared.max() - np.log(np.exp(squared - squared.max()).sum())
    np.testing.assert_allclose(result, want, rtol=1e-5, atol=1e-5)
