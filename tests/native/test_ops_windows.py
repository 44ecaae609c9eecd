"""Pooling and resizing, against plain loops over the definition and onnxruntime."""

import itertools
from typing import Any

import numpy as np
import onnx.helper as oh
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from tests.native.one_step import ISAS, Array, round_to_code, run_one

RNG = np.random.default_rng(2)


# ---- pooling ----


def pool_size(size: int, kernel: int, stride: int, pads: tuple[int, int], dilation: int) -> int:
    return (size + sum(pads) - (kernel - 1) * dilation - 1) // stride + 1


def windows(x: Array, geometry: dict[str, Any]) -> Any:
    """For each pixel of the result: index, values inside [taps, C], taps that padding counts."""
    height, width = x.shape[1:3]
    top, left, bottom, right = geometry["pads"]
    out_h = pool_size(
        height, geometry["kernel"][0], geometry["stride"][0], (top, bottom), geometry["dilation"][0]
    )
    out_w = pool_size(
        width, geometry["kernel"][1], geometry["stride"][1], (left, right), geometry["dilation"][1]
    )
    for n, oh_, ow in itertools.product(range(x.shape[0]), range(out_h), range(out_w)):
        values, padded = [], 0
        for kh, kw in itertools.product(*map(range, geometry["kernel"])):
            row = oh_ * geometry["stride"][0] - top + kh * geometry["dilation"][0]
            column = ow * geometry["stride"][1] - left + kw * geometry["dilation"][1]
            padded += row < height + bottom and column < width + right
            if 0 <= row < height and 0 <= column < width:
                values.append(x[n, row, column])
        yield (n, oh_, ow), np.array(values).reshape(len(values), x.shape[3]), padded


@st.composite
def geometries(
    draw: st.DrawFn, pads_below_kernel: bool = False
) -> tuple[list[int], dict[str, Any]]:
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 9)), draw(st.integers(1, 9))]
    shape.append(draw(st.sampled_from([1, 3, 8, 17, 64, 65])))
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel = draw(pair)
    most = [min(3, size - 1) if pads_below_kernel else 3 for size in kernel]
    geometry = {
        "kernel": kernel,
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "dilation": draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        "pads": tuple(draw(st.integers(0, most[side % 2])) for side in range(4)),
    }
    for axis in range(2):
        extent = (geometry["kernel"][axis] - 1) * geometry["dilation"][axis] + 1
        assume(shape[axis + 1] + geometry["pads"][axis] + geometry["pads"][axis + 2] >= extent)
    return shape, geometry


def result_shape(x: Array, geometry: dict[str, Any]) -> list[int]:
    last = [index for index, _, _ in windows(x, geometry)][-1]
    return [i + 1 for i in last] + [x.shape[3]]


@given(geometries(), st.sampled_from(ISAS), st.sampled_from([np.uint8, np.float32]))
@settings(max_examples=80, deadline=None)
def test_max_pool(case: Any, isa: str, dtype: Any) -> None:
    shape, geometry = case
    x = RNG.integers(0, 256, shape).astype(dtype)
    want = np.empty(result_shape(x, geometry), dtype)
    for index, values, _ in windows(x, geometry):
        lowest = 0 if dtype == np.uint8 else np.finfo(np.float32).min
        want[index] = values.max(axis=0) if len(values) else lowest
    got = run_one(lambda p, x, y: p.pool("max", x, y, **geometry), [x], dtype, want.shape, isa=isa)
    np.testing.assert_array_equal(got, want)


@given(geometries(), st.sampled_from(ISAS), st.booleans(), st.data())
@settings(max_examples=80, deadline=None)
def test_average_pool_of_codes(case: Any, isa: str, counts_pads: bool, data: Any) -> None:
    shape, geometry = case
    x = RNG.integers(0, 256, shape).astype(np.uint8)
    numbers = {
        "x_zero_point": data.draw(st.integers(0, 255)),
        "y_zero_point": data.draw(st.integers(0, 255)),
        "multiplier": data.draw(st.floats(0.125, 2, width=32)),
        "y_low": data.draw(st.integers(0, 60)),
        "y_high": data.draw(st.integers(190, 255)),
    }
    want = np.empty(result_shape(x, geometry), np.uint8)
    for index, values, padded in windows(x, geometry):
        count = padded if counts_pads else len(values)
        total = (values.astype(np.int32) - numbers["x_zero_point"]).sum(axis=0)
        factor = np.float32(numbers["multiplier"]) / np.float32(count) if count else np.float32(0)
        want[index] = round_to_code(
            total.astype(np.float32) * factor,
            numbers["y_zero_point"],
            numbers["y_low"],
            numbers["y_high"],
        )
    got = run_one(
        lambda p, x, y: p.pool(
            "average", x, y, count_include_pad=counts_pads, **geometry, **numbers
        ),
        [x],
        np.uint8,
        want.shape,
        isa=isa,
    )
    np.testing.assert_array_equal(got, want)


@given(geometries(pads_below_kernel=True), st.booleans())  # onnxruntime takes no larger ones
@settings(max_examples=40, deadline=None)
def test_average_pool_f32_equals_onnxruntime(case: Any, counts_pads: bool) -> None:
    ort = pytest.importorskip("onnxruntime")
    shape, geometry = case
    x = RNG.normal(size=shape).astype(np.float32)
    node = oh.make_node(
        "AveragePool",
        ["x"],
        ["y"],
        kernel_shape=geometry["kernel"],
        strides=geometry["stride"],
        dilations=geometry["dilation"],
        pads=geometry["pads"],
        count_include_pad=int(counts_pads),
    )
    channels_first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    graph = oh.make_graph(
        [node],
        "one",
        [oh.make_tensor_value_info("x", TensorProto.FLOAT, channels_first.shape)],
        [oh.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 19)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    want = session.run(None, {"x": channels_first})[0].transpose(0, 2, 3, 1)
    got = run_one(
        lambda p, x, y: p.pool("average", x, y, count_include_pad=counts_pads, **geometry),
        [x],
        np.float32,
        want.shape,
    )
    # Of a window with nothing but padding there is no average: 0 / 0 there, 0 here.
    is_empty = np.isnan(want)
    assert not got[is_empty].any()
    np.testing.assert_allclose(got[~is_empty], want[~is_empty], rtol=1e-5, atol=1e-6)


def test_average_past_the_declared_pads_counts_only_them() -> None:
    # Ceil mode: 3 pixels, window 2, stride 2; the second window holds one pixel and nothing else.
    x = np.array([10, 20, 31], np.uint8).reshape(1, 3, 1, 1)
    got = run_one(
        lambda p, x, y: p.pool(
            "average", x, y, kernel=(2, 1), stride=(2, 1), count_include_pad=True
        ),
        [x],
        np.uint8,
        [1, 2, 1, 1],
    )
    assert got.ravel().tolist() == [15, 31]


@pytest.mark.parametrize("shape", [[1, 7, 7, 1280], [2, 40, 30, 96], [1, 130, 120, 3]])
def test_global_average_is_the_same_everywhere(shape: list[int]) -> None:
    x = RNG.integers(0, 256, shape).astype(np.uint8)
    count = shape[1] * shape[2]
    total = x.astype(np.int32).sum(axis=(1, 2), keepdims=True) - 5 * count
    factor = np.float32(0.9) / np.float32(count)
    want = round_to_code(total.astype(np.float32) * factor, 3)
    for isa, threads in itertools.product(ISAS, (1, 2, 3)):
        got = run_one(
            lambda p, x, y: p.pool(
                "average",
                x,
                y,
                kernel=tuple(shape[1:3]),
                x_zero_point=5,
                y_zero_point=3,
                multiplier=0.9,
            ),
            [x],
            np.uint8,
            want.shape,
            isa=isa,
            threads=threads,
        )
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pool_of_a_large_picture_is_the_same_everywhere(kind: str) -> None:
    x = RNG.integers(0, 256, [1, 112, 112, 24]).astype(np.uint8)
    results = [
        run_one(
            lambda p, x, y: p.pool(
                kind, x, y, kernel=(3, 3), stride=(2, 2), pads=(1, 1, 0, 0), x_zero_point=77
            ),
            [x],
            np.uint8,
            [1, 56, 56, 24],
            isa=isa,
            threads=threads,
        ).tobytes()
        for isa, threads in itertools.product(ISAS, (1, 2, 3))
    ]
    assert set(results) == {results[0]}


# ---- resize ----


def half_pixel_sources(size: int, out: int, is_nearest: bool) -> tuple[Array, Array, Array]:
    position = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
    low = np.floor(position).astype(np.int32)
    fraction = (position - low).astype(np.float32)
    if is_nearest:
        return np.rint(position).astype(np.int32), low, np.zeros(out, np.float32)
    return low, np.minimum(low + 1, size - 1).astype(np.int32), fraction


def interpolated(x: Array, rows: tuple[Array, ...], columns: tuple[Array, ...]) -> Array:
    """lerp over h of lerp over w, in float32."""
    values = x.astype(np.float32)
    low, high, fraction = columns
    f = fraction[:, None]
    wide = values[:, :, low] + (values[:, :, high] - values[:, :, low]) * f
    low, high, fraction = rows
    f = fraction[:, None, None]
    result: Array = wide[:, low] + (wide[:, high] - wide[:, low]) * f
    return result


@given(
    st.tuples(*[st.integers(1, 2), *[st.integers(1, 12)] * 2, st.integers(1, 20)]),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.booleans(), st.booleans()),
    st.sampled_from(ISAS),
    st.sampled_from([np.uint8, np.float32]),
)
@settings(max_examples=100, deadline=None)
def test_resize(shape: Any, size: Any, nearest: Any, isa: str, dtype: Any) -> None:
    x = RNG.integers(0, 256, shape).astype(dtype)
    rows = half_pixel_sources(shape[1], size[0], nearest[0])
    columns = half_pixel_sources(shape[2], size[1], nearest[1])
    want = interpolated(x, rows, columns)
    got = resize(x, rows, columns, isa)
    if dtype == np.uint8:
        np.testing.assert_array_equal(got, round_to_code(want, 0))
    else:
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-4)


def resize(x: Array, rows: Any, columns: Any, isa: str | None = None, threads: int = 1) -> Array:
    return run_one(
        lambda p, x, y: p.resize(
            x,
            y,
            low_h=rows[0],
            high_h=rows[1],
            fraction_h=rows[2],
            low_w=columns[0],
            high_w=columns[1],
            fraction_w=columns[2],
        ),
        [x],
        x.dtype,
        [x.shape[0], len(rows[0]), len(columns[0]), x.shape[3]],
        isa=isa,
        threads=threads,
    )


def test_resize_of_a_large_picture_is_the_same_everywhere() -> None:
    x = RNG.integers(0, 256, [2, 33, 65, 21]).astype(np.uint8)
    rows, columns = half_pixel_sources(33, 129, False), half_pixel_sources(65, 120, False)
    want = round_to_code(interpolated(x, rows, columns), 0)
    for isa, threads in itertools.product(ISAS, (1, 2, 3)):
        np.testing.assert_array_equal(resize(x, rows, columns, isa, threads), want)
