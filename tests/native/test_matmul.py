"""Products of two run-time tensors against the formula, on every ISA."""

import numpy as np
import pytest

from q8tool.errors import NativeError
from q8tool.native import Plan
from tests.native.one_step import ISAS, run_one, run_step
from tests.native.reference import requantized

SHAPES = [  # batch, batch of b, M, K, N
    (1, 1, 1, 1, 1),
    (1, 1, 3, 4, 5),
    (2, 2, 7, 13, 64),
    (3, 1, 5, 64, 65),
    (4, 4, 50, 32, 50),
    (1, 1, 1, 300, 200),
    (2, 2, 130, 70, 33),
]


def operands(
    shape: tuple[int, int, int, int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    batch, b_batch, m, k, n = shape
    return rng.integers(0, 256, (batch, m, k), np.uint8), rng.integers(
        0, 256, (b_batch, k, n), np.uint8
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("b_zero_point", [0, 77, 128])
def test_codes_equal_the_formula(
    shape: tuple[int, int, int, int, int], b_zero_point: int, isa: str
) -> None:
    rng = np.random.default_rng(sum(shape))
    a, b = operands(shape, rng)
    acc = (a.astype(np.int64) - 200) @ (b.astype(np.int64) - b_zero_point)
    multiplier = float(np.float32(120 / (1 + np.abs(acc).max())))
    for threads in (1, 2, 3):
        got = run_one(
            lambda p, a, b, y: p.matmul(
                a,
                b,
                y,
                a_zero_point=200,
                b_zero_point=b_zero_point,
                multiplier=multiplier,
                y_zero_point=90,
                y_low=4,
            ),
            [a, b],
            np.uint8,
            acc.shape,
            isa=isa,
            threads=threads,
        )
        np.testing.assert_array_equal(got, requantized(acc, np.float32(multiplier), 90, (4, 255)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_run_time_zero_points_and_scales(shape: tuple[int, int, int, int, int], isa: str) -> None:
    rng = np.random.default_rng(sum(shape))
    a, b = operands(shape, rng)
    zero_points = [np.array([33], np.uint8), rng.integers(0, 256, (), np.uint8)]
    scales = [np.array([0.25], np.float32), np.array(0.37, np.float32)]
    acc = (a.astype(np.int64) - zero_points[0].item()) @ (
        b.astype(np.int64) - zero_points[1].item()
    )

    def add(p: Plan, a: int, b: int, za: int, zb: int, sa: int, sb: int, y: int, z: int) -> None:
        numbers = {"a_zero_point_tensor": za, "b_zero_point_tensor": zb}
        p.matmul(a, b, y, **numbers)
        p.matmul(a, b, z, **numbers, a_scale_tensor=sa, b_scale_tensor=sb, multiplier=0.5)

    sums, floats = run_step(
        add,
        [a, b, *zero_points, *scales],
        [(np.int32, acc.shape), (np.float32, acc.shape)],
        isa=isa,
    )
    np.testing.assert_array_equal(sums, acc)
    scale = np.float32(0.5) * (scales[0] * scales[1])
    np.testing.assert_array_equal(floats, acc.astype(np.float32) * scale)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_floats_equal_the_formula(shape: tuple[int, int, int, int, int], isa: str) -> None:
    batch, b_batch, m, k, n = shape
    rng = np.random.default_rng(sum(shape))
    a = rng.normal(size=(batch, m, k)).astype("f")
    b = rng.normal(size=(b_batch, k, n)).astype("f")
    for threads in (1, 2):
        got = run_one(
            lambda p, a, b, y: p.matmul_f32(a, b, y, alpha=0.3),
            [a, b],
            np.float32,
            (batch, m, n),
            isa=isa,
            threads=threads,
        )
        wanted = a.astype(np.float64) @ b.astype(np.float64) * 0.3
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_refusals() -> None:
    def add(
        a: tuple[int, ...] = (2, 3, 4),
        b: tuple[int, ...] = (2, 4, 5),
        y: tuple[int, ...] = (2, 3, 5),
        **options: object,
    ) -> None:
        with Plan() as plan:
            ids = [plan.tensor(np.uint8, shape, None) for shape in (a, b, y)]
            plan.matmul(*ids, **options)  # type: ignore[arg-type]

    add()
    for problem, options in {
        "do not fit": {"b": (2, 3, 5)},
        "rank": {"a": (3, 4)},
        "zero point": {"b_zero_point": -1},
        "scale tensor": {"a_scale_tensor": 0},
        "may overflow": {"a": (1, 1, 40000), "b": (1, 40000, 1), "y": (1, 1, 1)},
        "empty": {"a": (2, 0, 4), "y": (2, 0, 5)},
    }.items():
        with pytest.raises(NativeError, match=problem):
            add(**options)  # type: ignore[arg-type]
