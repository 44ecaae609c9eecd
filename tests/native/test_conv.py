"""Convolutions and constant products of the C engine against the formula, on every ISA."""

from typing import Any

import numpy as np
import pytest

from q8tool.errors import NativeError
from q8tool.native import Plan
from tests.native.one_step import ISAS, round_to_code, run_one, run_step
from tests.native.reference import Geometry, conv, float_result, random_geometry, requantized

KINDS = ("dense", "lines", "grouped", "depthwise", "square", "winograd")
SEEDS = range(40)


def codes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 256, shape, np.uint8)


def draw_weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Half of the time as training leaves them, with few neighbours that are both large."""
    if rng.integers(2):
        return rng.integers(-128, 128, shape, np.int8)
    return np.clip(np.rint(rng.normal(scale=35, size=shape)), -128, 127).astype(np.int8)


def weights_of(rng: np.random.Generator, geometry: Geometry) -> np.ndarray:
    return draw_weights(rng, geometry.weights_shape)


def convolved(
    x: np.ndarray, w: np.ndarray, g: Geometry, numbers: dict[str, Any], isa: str
) -> np.ndarray:
    """What the engine makes of it: codes."""
    return run_one(
        lambda p, x, y: p.conv(x, y, w, **g.window, **numbers), [x], np.uint8, g.y_shape, isa=isa
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
def test_codes_equal_the_formula(kind: str, isa: str) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        g = random_geometry(rng, kind)
        x, w = codes(rng, g.x_shape), weights_of(rng, g)
        bias = rng.integers(-(2**20), 2**20, g.y_shape[3], np.int32)
        zero_point, y_zero_point = (int(v) for v in rng.integers(0, 256, 2))
        low, high = 3, 250
        if seed % 2:  # kernels have a shorter end for what a Relu leaves
            y_zero_point, low, high = 0, 0, 255
        acc = conv(x.astype(np.int64) - zero_point, w.astype(np.int64), g) + bias
        multiplier = (rng.uniform(20, 300, g.y_shape[3]) / (1 + np.abs(acc).max())).astype("f")
        numbers = {
            "bias": bias,
            "x_zero_point": zero_point,
            "multiplier": multiplier,
            "y_zero_point": y_zero_point,
            "y_low": low,
            "y_high": high,
        }
        got = convolved(x, w, g, numbers, isa)
        wanted = requantized(acc, multiplier, y_zero_point, (low, high))
        np.testing.assert_array_equal(got, wanted, err_msg=f"seed {seed}: {g}")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("most", [0.999, 4.0, 2.0**30, 2.0**31, 2.0**36])
@pytest.mark.parametrize("kind", ["dense", "depthwise"])
def test_codes_of_products_up_to_and_beyond_int32(kind: str, most: float, isa: str) -> None:
    for seed in SEEDS[:8]:
        rng = np.random.default_rng(seed)
        g = random_geometry(rng, kind)
        x, w = codes(rng, g.x_shape), weights_of(rng, g)
        bias = rng.integers(-(2**10), 2**10, g.y_shape[3], np.int32)
        acc = conv(x.astype(np.int64) - 7, w.astype(np.int64), g) + bias
        largest = most if most < 5 else most / np.abs(acc).max()
        multiplier = (rng.choice([1.0, 1e-3, 1e-6], g.y_shape[3]) * largest).astype("f")
        numbers = {"bias": bias, "x_zero_point": 7, "multiplier": multiplier, "y_zero_point": 131}
        got = convolved(x, w, g, numbers, isa)
        wanted = requantized(acc, multiplier, 131)
        np.testing.assert_array_equal(got, wanted, err_msg=f"seed {seed}: {g}")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["dense", "lines", "grouped", "winograd"])
def test_sums_of_codes_equal_the_formula(kind: str, isa: str) -> None:
    for seed in SEEDS[:24]:
        rng = np.random.default_rng(seed)
        g = random_geometry(rng, kind)
        x, w, addend = codes(rng, g.x_shape), weights_of(rng, g), codes(rng, g.y_shape)
        # With zero points of weights the sums take the way over a tile of accumulators.
        w_zero_point = rng.integers(-9, 9, g.y_shape[3], np.int32) if seed % 3 == 0 else None
        factors = w.astype(np.int64)
        if w_zero_point is not None:
            factors = factors - w_zero_point[:, None, None, None]
        acc = conv(x.astype(np.int64) - 11, factors, g)
        multiplier = (rng.uniform(20, 300, g.y_shape[3]) / (1 + np.abs(acc).max())).astype("f")
        a, b = (np.float32(v) for v in rng.uniform(-1.5, 1.5, 2))
        a_zero, b_zero, y_zero = (int(v) for v in rng.integers(0, 256, 3))
        low, high = (3, 250) if seed % 2 else (0, 255)
        if seed % 4 == 0:
            b_zero = y_zero = 0
        table = rng.permutation(256).astype(np.uint8)

        def add(p: Plan, x: int, addend: int, y: int) -> range:
            return p.conv(
                x,
                y,
                w,  # noqa: B023
                **g.window,  # noqa: B023
                weight_zero_point=w_zero_point,  # noqa: B023
                x_zero_point=11,
                multiplier=multiplier,  # noqa: B023
                y_zero_point=100,
                y_low=5,
                addend=addend,
                sum_codes=(a_zero, b_zero, y_zero, low, high),  # noqa: B023
                sum_multipliers=(float(a), float(b)),  # noqa: B023
                table=table,  # noqa: B023
            )

        got = run_one(add, [x, addend], np.uint8, g.y_shape, isa=isa)
        before = requantized(acc, multiplier, 100, (5, 255)).astype(np.float32)
        left = (before - np.float32(a_zero)) * a
        right = (addend.astype(np.float32) - np.float32(b_zero)) * b
        wanted = table[round_to_code(left + right, y_zero, low, high)]
        np.testing.assert_array_equal(got, wanted, err_msg=f"seed {seed}: {g}")


@pytest.mark.parametrize(
    ("groups", "shape", "numbers", "message"),
    [
        (1, (1, 4, 5, 8), {}, "not like y"),
        (1, (1, 5, 5, 8), {"sum_multipliers": (1.0, 2.0**20)}, "too large"),
        (1, (1, 5, 5, 8), {"sum_multipliers": (float("nan"), 1.0)}, "too large"),
        (8, (1, 5, 5, 8), {}, "depthwise"),
        (1, (1, 5, 5, 8), {"sum_codes": (0, 0, 0, 9, 8)}, "limits 9..8"),
    ],
)
def test_addends_that_are_refused(
    groups: int, shape: tuple[int, ...], numbers: dict[str, Any], message: str
) -> None:
    w, one = np.ones((8, 1, 1, 8 // groups), np.int8), np.ones(8, np.float32)
    with Plan() as plan:
        x, y, addend = (plan.tensor(np.uint8, s, None) for s in [(1, 5, 5, 8)] * 2 + [shape])
        with pytest.raises(NativeError, match=message):
            plan.conv(x, y, w, multiplier=one, groups=groups, addend=addend, **numbers)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_weight_zero_points_and_run_time_numbers(kind: str, dtype: type, isa: str) -> None:
    for seed in SEEDS[:12]:
        rng = np.random.default_rng(seed)
        g = random_geometry(rng, kind)
        outputs = g.y_shape[3]
        x, w = codes(rng, g.x_shape), weights_of(rng, g)
        w_zero_point = rng.integers(-128, 256, outputs, np.int32)
        bias = rng.integers(-(2**16), 2**16, outputs, np.int32)
        x_zero_point = rng.integers(0, 256, (), np.uint8)
        x_scale = np.float32(rng.uniform(0.001, 1)).reshape(1)
        factors = w.astype(np.int64) - w_zero_point[:, None, None, None]
        acc = conv(x.astype(np.int64) - int(x_zero_point), factors, g) + bias
        multiplier = (rng.uniform(20, 300, outputs) / (1 + np.abs(acc).max())).astype("f")
        float_bias = rng.normal(size=outputs).astype("f")

        def add(p: Plan, x: int, zero_point: int, scale: int, y: int) -> range:
            is_float = dtype == np.float32
            return p.conv(
                x,
                y,
                w,  # noqa: B023
                **g.window,  # noqa: B023
                bias=bias,  # noqa: B023
                weight_zero_point=w_zero_point,  # noqa: B023
                multiplier=multiplier,  # noqa: B023
                y_zero_point=7,
                float_bias=float_bias if is_float else None,  # noqa: B023
                float_low=-40,
                float_high=55,
                x_zero_point_tensor=zero_point,
                x_scale_tensor=scale if is_float else None,
            )

        got = run_step(add, [x, x_zero_point, x_scale], [(dtype, g.y_shape)], isa=isa)[0]
        if dtype == np.uint8:
            wanted = requantized(acc, multiplier, 7)
        elif dtype == np.int32:
            wanted = acc.astype(np.int32)
        else:
            wanted = float_result(acc, multiplier * x_scale, float_bias, -40, 55)
        np.testing.assert_array_equal(got, wanted, err_msg=f"seed {seed}: {g}")


# Of the scales of weights, against that of y: usual ones, a code per accumulator and more, and
# channels of next to no weight that only have a bias.
SPREADS = {
    "usual": (-9.0, -5.0),
    "coarse": (-1.0, 2.0),
    "dead": (-60.0, -20.0),
    "any": (-60.0, 2.0),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", SPREADS)
def test_codes_of_run_time_numbers_are_those_of_the_floats(
    kind: str, spread: str, isa: str
) -> None:
    for seed in SEEDS[:6]:
        rng = np.random.default_rng(seed)
        g = random_geometry(rng, kind)
        outputs = g.y_shape[3]
        x, w = codes(rng, g.x_shape), weights_of(rng, g)
        w[rng.random(outputs) < 0.2] = 0
        x_zero_point = rng.integers(0, 256, (), np.uint8)
        x_scale = np.float32(rng.uniform(0.01, 0.1)).reshape(1)
        multiplier = np.exp(rng.uniform(*SPREADS[spread], outputs)).astype("f")
        float_bias = (rng.normal(size=outputs) * 3).astype("f")
        acc = conv(x.astype(np.int64) - int(x_zero_point), w, g)
        floats = float_result(acc, multiplier * x_scale, float_bias, -np.inf, np.inf)
        wanted = np.clip(np.rint(floats / np.float32(0.03)) + 7, 9, 250)

        def add(p: Plan, x: int, zero_point: int, scale: int, y: int) -> range:
            return p.conv(
                x,
                y,
                w,  # noqa: B023
                **g.window,  # noqa: B023
                multiplier=multiplier,  # noqa: B023
                y_scale=0.03,
                y_zero_point=7,
                y_low=9,
                y_high=250,
                float_bias=float_bias,  # noqa: B023
                x_zero_point_tensor=zero_point,
                x_scale_tensor=scale,
            )

        results = [
            run_step(add, [x, x_zero_point, x_scale], [(np.uint8, g.y_shape)], isa=name)[0]
            for name in (isa, "scalar")
        ]
        np.testing.assert_array_equal(results[0], results[1], err_msg=f"seed {seed}: {g}")
        apart = np.abs(results[0].astype(np.float64) - wanted)
        assert apart.max() <= 1, f"seed {seed}: {g}"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
def test_floats_equal_the_formula(kind: str, isa: str) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        g = random_geometry(rng, kind)
        x, w = rng.normal(size=g.x_shape).astype("f"), rng.normal(size=g.weights_shape).astype("f")
        bias = rng.normal(size=g.y_shape[3]).astype("f")
        wanted = conv(x.astype(np.float64), w.astype(np.float64), g) + bias
        limits = {"low": -5.0, "high": 6.0}
        got = run_one(
            lambda p, x, y, w=w, g=g, bias=bias, limits=limits: p.conv_f32(
                x, y, w, **g.window, bias=bias, **limits
            ),
            [x],
            np.float32,
            g.y_shape,
            isa=isa,
        )
        np.testing.assert_allclose(
            got, np.clip(wanted, -5, 6), rtol=1e-4, atol=1e-4, err_msg=f"seed {seed}: {g}"
        )


LARGE = {
    "many rows": Geometry((1, 40, 40, 32), (1, 40, 40, 72), (3, 3), pad=(1, 1)),
    "few rows, many columns": Geometry((1, 1, 1, 512), (1, 1, 1, 1000), (1, 1)),
    "copied rows": Geometry((1, 64, 64, 3), (1, 32, 32, 64), (7, 7), (2, 2), (3, 3)),
    "depthwise": Geometry((1, 40, 80, 96), (1, 20, 40, 96), (3, 3), (2, 2), (1, 1), groups=96),
    "odd lines": Geometry((3, 19, 40, 96), (3, 19, 40, 96), (5, 5), pad=(2, 2), groups=96),
    "groups": Geometry((1, 30, 30, 64), (1, 30, 30, 64), (3, 3), pad=(1, 1), groups=4),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", LARGE)
def test_same_bytes_on_any_number_of_threads(name: str, isa: str) -> None:
    g = LARGE[name]
    rng = np.random.default_rng(5)
    x, w = codes(rng, g.x_shape), weights_of(rng, g)
    acc = conv(x.astype(np.float64) - 131, w.astype(np.float64), g)  # exact: below 2**53
    multiplier = np.full(g.y_shape[3], 100 / np.abs(acc).max(), "f")
    wanted = requantized(acc.astype(np.int64), multiplier, 128)
    for threads in (1, 2, 3):
        got = run_one(
            lambda p, x, y: p.conv(
                x, y, w, **g.window, multiplier=multiplier, x_zero_point=131, y_zero_point=128
            ),
            [x],
            np.uint8,
            g.y_shape,
            isa=isa,
            threads=threads,
        )
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", LARGE)
def test_floats_do_not_depend_on_threads(name: str) -> None:
    g = LARGE[name]
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=g.x_shape).astype("f"), rng.normal(size=g.weights_shape).astype("f")
    one, two, three = (
        run_one(
            lambda p, x, y: p.conv_f32(x, y, w, **g.window),
            [x],
            np.float32,
            g.y_shape,
            threads=threads,
        )
        for threads in (1, 2, 3)
    )
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, three)


def test_extreme_sums_are_exact() -> None:
    depth = 2**31 // (255 * 128) // 4 * 4
    x = np.full((1, 1, 1, depth), 255, np.uint8)
    for value in (-128, 127):
        w = np.full((3, 1, 1, depth), value, np.int8)
        for isa in ISAS:
            got = run_one(
                lambda p, x, y, w=w: p.conv(x, y, w), [x], np.int32, (1, 1, 1, 3), isa=isa
            )
            assert got.ravel().tolist() == [255 * value * depth] * 3


def test_step_names_say_what_runs() -> None:
    with Plan("scalar") as plan:
        x = plan.tensor(np.uint8, (1, 8, 8, 16), 0)
        y = plan.tensor(np.uint8, (1, 4, 4, 16), 1024)
        ones = np.ones(16, np.float32)
        dense = plan.conv(
            x, y, np.ones((16, 3, 3, 16), np.int8), stride=(2, 2), pad=(1, 1), multiplier=ones
        )
        split = plan.conv(
            x,
            y,
            np.ones((16, 3, 3, 1), np.int8),
            stride=(2, 2),
            pad=(1, 1),
            groups=16,
            multiplier=ones,
        )
        assert plan.step_name(dense[0]) == "conv 3x3/2 scalar 4x8"
        assert plan.step_name(split[0]).endswith("3x3/2 scalar")
        assert plan.step_macs(dense[0]) == 16 * 16 * 9 * 16
        assert plan.step_macs(split[0]) == 16 * 16 * 9


def add_conv(
    x_shape: tuple[int, ...] = (1, 4, 4, 4),
    y_shape: tuple[int, ...] = (1, 4, 4, 4),
    w_shape: tuple[int, ...] = (4, 1, 1, 4),
    **options: object,
) -> None:
    with Plan() as plan:
        x = plan.tensor(np.uint8, x_shape, None)
        y = plan.tensor(np.uint8, y_shape, None)
        plan.tensor(np.float32, (1, 1, 1, 1), None)
        given = {"multiplier": np.ones(w_shape[0], np.float32), **options}
        plan.conv(x, y, np.zeros(w_shape, np.int8), **given)  # type: ignore[arg-type]


def test_refusals() -> None:
    add_conv()
    for problem, options in {
        "rank": {"x_shape": (1, 4, 4)},
        "weights has shape": {"w_shape": (4, 1, 1, 3)},
        "pictures": {"x_shape": (2, 4, 4, 4)},
        "groups": {"groups": 3, "x_shape": (1, 4, 4, 12)},
        "out of range": {"stride": (0, 1)},
        "padding": {"pad": (-1, 0)},
        "dilation": {"dilation": (1, 2**30)},
        "zero point": {"x_zero_point": 256},
        "limits": {"y_low": 9, "y_high": 8},
        "no multiplier": {"multiplier": None},
        "multiplier has shape": {"multiplier": np.ones(5, np.float32)},
        "a scale tensor does not": {"x_scale_tensor": 0, "bias": np.zeros(4)},
        "scale tensor": {"x_scale_tensor": 0, "y_scale": 0.0},
        "residual is not like": {"residual": 2},
        "not a scalar": {"x_zero_point_tensor": 0},
        "no tensor 9": {"x_zero_point_tensor": 9},
        "do not fit": {"bias": np.full(4, 2**40)},
        "empty": {"x_shape": (1, 0, 4, 4)},
    }.items():
        with pytest.raises(NativeError, match=problem):
            add_conv(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows", [1, 2, 13])
@pytest.mark.parametrize(
    "pair",
    [(64, 64), (65, 64), (127, 1), (127, 2), (127, 127), (-64, -64), (-65, -64), (-128, -128)],
)
def test_neighbours_at_the_limit_of_sixteen_bits(
    pair: tuple[int, int], rows: int, isa: str
) -> None:
    """255 * 128 is the most that a sum of two products in 16 bits can be, 255 * 129 is too much."""
    rng = np.random.default_rng(0)
    x = np.full((1, 1, rows, 50), 255, np.uint8)
    w = rng.integers(-20, 20, (21, 1, 1, 50), np.int8)
    for column, place in ((3, 0), (5, 8), (5, 13), (16, 30), (20, 48)):
        w[column, 0, 0, place : place + 2] = pair
    got = run_one(lambda p, x, y: p.conv(x, y, w), [x], np.int32, (1, 1, rows, 21), isa=isa)
    wanted = x[0, 0].astype(np.int64) @ w[:, 0, 0].astype(np.int64).T
    np.testing.assert_array_equal(got[0, 0], wanted)


def test_refuses_sums_that_may_overflow() -> None:
    depth = 2**31 // (255 * 128) + 4
    with pytest.raises(NativeError, match="may overflow"):
        add_conv((1, 1, 1, depth), (1, 1, 1, 1), (1, 1, 1, depth))
    with pytest.raises(NativeError, match="may overflow"):
        add_conv(
            (1, 1, 1, depth // 2),
            (1, 1, 1, 1),
            (1, 1, 1, depth // 2),
            weight_zero_point=[255],
        )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("depth", "outputs"), [(1, 1), (7, 64), (64, 130), (100, 200), (256, 96)])
def test_weights_of_products_may_be_rows(depth: int, outputs: int, isa: str) -> None:
    """A MatMul's matrix (K, N), as it is in the file."""
    rng = np.random.default_rng(depth)
    x = codes(rng, (1, 1, 9, depth))
    for _ in range(4):
        w = draw_weights(rng, (depth, outputs))
        got = run_one(
            lambda p, x, y: p.conv(x, y, w, x_zero_point=3),  # noqa: B023
            [x],
            np.int32,
            (1, 1, 9, outputs),
            isa=isa,
        )
        wanted = (x[0, 0].astype(np.int64) - 3) @ w.astype(np.int64)
        np.testing.assert_array_equal(got[0, 0], wanted)
    floats = rng.normal(size=(1, 1, 9, depth)).astype(np.float32)
    matrix = rng.integers(-8, 8, (depth, outputs)).astype(np.float32)
    result = run_one(
        lambda p, x, y: p.conv_f32(x, y, matrix), [floats], np.float32, (1, 1, 9, outputs), isa=isa
    )
    np.testing.assert_allclose(result[0, 0], floats[0, 0] @ matrix, rtol=1e-4, atol=1e-4)


def test_rows_of_weights_of_no_product() -> None:
    x = np.zeros((1, 2, 2, 4), np.uint8)
    for weights, groups in ((np.zeros((3, 5), np.int8), 1), (np.zeros((4, 4), np.int8), 4)):
        with pytest.raises(NativeError, match="weights"):
            run_one(
                lambda p, x, y, w=weights, g=groups: p.conv(x, y, w, groups=g),
                [x], np.int32, (1, 2, 2, 4),
            )  # fmt: skip
