"""Plain sequences: lists of known length go, with the answers of onnxruntime."""

import numpy as np
import pytest

from q8tool.passes.plain_sequences import plain_sequences
from tests.graphs import assert_same, model, ops, random

INDEX = "i = Constant<value = int64 {-1}>()  j = Constant<value = int64 {0}>()"


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("split", ["int64 {3}", "int64[3] {2,5,1}"])
def test_picked_and_joined(opset: int, split: str) -> None:
    before = model(
        f"""g (float[2,8] x) => (float[N,M] y, float[2,8] z) {{
        k = Constant<value = {split}>()  s = SplitToSequence<axis=1>(x, k)  {INDEX}
        a = SequenceAt(s, i)  b = SequenceAt(s, j)  y = Concat<axis=1>(a, b)
        z = ConcatFromSequence<axis=1>(s) }}""",
        opset,
    )
    after = before.clone()
    assert len(plain_sequences(after)) == 1
    assert not {"SplitToSequence", "SequenceAt", "ConcatFromSequence"} & set(ops(after))
    assert [value.name for value in after.graph.outputs] == ["y", "z"]
    assert_same(before, after, x=random(2, 8))
    assert plain_sequences(after) == []


def test_made_and_joined() -> None:
    before = model(
        """g (float[2,8] x) => (float[4,8] y) {
        h = Relu(x)  s = SequenceConstruct(h, x)  y = ConcatFromSequence<axis=0>(s) }"""
    )
    after = before.clone()
    plain_sequences(after)
    assert ops(after) == ["Relu", "Concat"]
    assert_same(before, after, x=random(2, 8))


@pytest.mark.parametrize(
    "text",
    [
        "s = SplitToSequence<axis=1>(x, k)  y = SequenceLength(s)",
        "s = SplitToSequence<axis=0>(x, k)  y = ConcatFromSequence<axis=0>(s)",  # N of them
        "s = SplitToSequence<axis=1>(x, k)  y = ConcatFromSequence<axis=0, new_axis=1>(s)",
        "s = SequenceConstruct(x, x)  e = SequenceErase(s)  y = ConcatFromSequence<axis=0>(e)",
    ],
)
def test_lists_that_stay(text: str) -> None:
    graph = model(f"g (float[N,8] x) => (float y) {{ {text} }}", k=np.array(4))
    assert plain_sequences(graph) == []


def test_an_index_beyond_the_list_stays_for_the_run_to_refuse() -> None:
    graph = model(
        "g (float[2,8] x) => (float[2,4] y) "
        "{ s = SplitToSequence<axis=1>(x, k) y = SequenceAt(s, i) }",
        k=np.array(4), i=np.array(2),
    )  # fmt: skip
    assert plain_sequences(graph) == []
