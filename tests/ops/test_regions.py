"""RoiAlign on the host, against onnxruntime."""

import numpy as np
import onnxruntime
import pytest

from q8tool import Session
from q8tool.errors import InputError
from tests.graphs import f32, i64, proto, random

ROIS = [[0, 0, 20, 20], [3, 4, 9, 22], [-4, -6, 5, 7], [10, 10, 30, 40], [5, 5, 5, 5], [9, 9, 2, 3]]


@pytest.mark.parametrize(
    ("opset", "how"),
    [(10, ""), (15, ""), (16, ""), (16, 'coordinate_transformation_mode="output_half_pixel",')],
)
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_as_onnxruntime(opset: int, how: str, ratio: int, mode: str) -> None:
    made = proto(
        f"""g (float[2,3,12,10] x, float[6,4] r, int64[6] b) => (float[6,3,5,4] y) {{
        y = RoiAlign<{how} mode="{mode}", output_height=5, output_width=4, sampling_ratio={ratio},
            spatial_scale=0.5>(x, r, b) }}""",
        opset,
    )
    feeds = {"x": random(2, 3, 12, 10), "r": f32(ROIS), "b": i64([0, 1, 1, 0, 0, 1])}
    wanted = onnxruntime.InferenceSession(made.SerializeToString()).run(None, feeds)[0]
    got = Session(made).run(feeds)["y"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("how", ["sampling_ratio=1073741824", "spatial_scale=1e12"])
def test_regions_of_a_billion_samples(mode: str, how: str) -> None:
    made = proto(
        f"""g (float[2,3,12,10] x, float[6,4] r, int64[6] b) => (float[6,3,1,1] y) {{
        y = RoiAlign<mode="{mode}", {how}>(x, r, b) }}"""
    )
    feeds = {"x": random(2, 3, 12, 10), "r": f32(ROIS), "b": i64([0, 1, 1, 0, 0, 1])}
    with pytest.raises(InputError, match=r"a region asks for .* samples"):
        Session(made).run(feeds)
