"""raise_opset: from each old version to 13, with names, metadata and answers kept."""

import numpy as np
import pytest

from q8tool.passes.raise_opset import raise_opset
from tests.graphs import assert_same, f32, model, random, weight

TEXT = """g (float[N,4,8,8] x) => (float[N,4,3,3] y) {{
    b = BatchNormalization(x, s, o, m, v)  c = Conv(b, w)  r = {clip}
    y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) }}"""
WEIGHTS = {
    "w": random(4, 4, 3, 3), "s": random(4), "o": random(4), "m": random(4),
    "v": random(4, low=0.5),
}  # fmt: skip


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12])
def test_old_versions(opset: int) -> None:
    clip = "Clip<min=0.0, max=6.0>(c)" if opset < 11 else "Clip(c, low, high)"
    ends = {} if opset < 11 else {"low": f32(0), "high": f32(6)}
    before = model(TEXT.format(clip=clip), opset, **WEIGHTS, **ends)
    before.metadata_props["q8tool.labels"] = '["cat"]'
    for index, node in enumerate(before.graph):
        node.name = f"layer{index}"
    after, changes = raise_opset(before)
    assert after.opset_imports[""] == 13
    assert [change.what for change in changes] == [f"opset {opset} -> 13"]
    assert [node.name for node in after.graph if node.op_type in ("Conv", "Clip", "MaxPool")] == [
        "layer1", "layer2", "layer3",
    ]  # fmt: skip
    assert after.metadata_props["q8tool.labels"] == '["cat"]'
    assert [value.name for value in after.graph.inputs] == ["x"]
    np.testing.assert_array_equal(weight(after, "w"), WEIGHTS["w"])
    assert_same(before, after, x=random(2, 4, 8, 8))
    assert raise_opset(after) == (after, [])


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_new_versions_stay(opset: int) -> None:
    before = model("g (float[N] x) => (float[N] y) { y = Relu(x) }", opset)
    assert raise_opset(before) == (before, [])


def test_the_model_that_was_given_stays_as_it_was() -> None:
    before = model("g (float[4,400] x) => (float[4,4] y) { y = MatMul(x, w) }", 9, w=random(400, 4))
    raise_opset(before)
    assert before.opset_imports[""] == 9
    assert [value.name for value in before.graph.inputs] == ["x"]
    assert weight(before, "w").shape == (400, 4)


def test_what_changed_its_form_gets_a_new_one() -> None:
    text = """g (float[1,2,4,4] x) => (float[1,2,8,4] y) {
        u = Upsample<mode="nearest">(x, k)  y = Slice<starts=[0], ends=[4], axes=[3]>(u) }"""
    before = model(text, 9, k=f32([1, 1, 2, 2]))
    after, _ = raise_opset(before)
    assert {"Resize", "Slice"} <= {node.op_type for node in after.graph}
    assert_same(before, after, x=random(1, 2, 4, 4))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("op", "opset"), [("Upsample", 9), ("Resize", 10)])
def test_pixels_stay_where_they_were(op: str, opset: int, mode: str) -> None:
    text = f"""g (float[1,2,5,4] x) => (float[1,2,12,12] y) {{ y = {op}<mode="{mode}">(x, k) }}"""
    before = model(text, opset, k=f32([1, 1, 2.4, 3]))
    after, _ = raise_opset(before)
    assert_same(before, after, x=random(1, 2, 5, 4))
