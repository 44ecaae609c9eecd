"""Attention, RotaryEmbedding and RMSNormalization in the words of what they are made of."""

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from q8tool import Session
from q8tool.model.composed import has_composed_operators, write_out
from tests.engine.steps import kernels
from tests.graphs import Array, model, ops, random

B, S, T, D = 2, 5, 7, 6
Q4, K4 = f"float[{B},4,{S},{D}] q", f"float[{B},4,{T},{D}] k, float[{B},4,{T},{D}] v"
FEW = f"float[{B},2,{T},{D}] k, float[{B},2,{T},{D}] v"
FLAT = f"float[{B},{S},{4 * D}] q, float[{B},{T},{2 * D}] k, float[{B},{T},{2 * D}] v"
PAST = f"float[{B},4,3,{D}] pk, float[{B},4,3,{D}] pv"
HEADS = "q_num_heads=4, kv_num_heads=2"

CASES = {
    "plain": (f"{Q4}, {K4}", "y = Attention(q, k, v)"),
    "scale": (f"{Q4}, {K4}", "y = Attention<scale=0.2>(q, k, v)"),
    "flat, shared heads": (FLAT, f"y = Attention<{HEADS}>(q, k, v)"),
    "shared heads": (f"{Q4}, {FEW}", "y = Attention(q, k, v)"),
    "causal": (f"{Q4}, {K4}", "y = Attention<is_causal=1>(q, k, v)"),
    "cap": (f"{Q4}, {K4}", "y = Attention<softcap=2.5>(q, k, v)"),
    "mask": (f"{Q4}, {K4}, float[{S},{T}] m", "y = Attention(q, k, v, m)"),
    "mask per head": (f"{Q4}, {K4}, float[1,4,{S},{T}] m", "y = Attention(q, k, v, m)"),
    "truth, causal": (f"{FLAT}, bool[{B},1,{S},{T}] b",
                      f"y = Attention<{HEADS}, is_causal=1>(q, k, v, b)"),
    "past": (f"{Q4}, {K4}, {PAST}", "y, nk, nv = Attention<is_causal=1>(q, k, v, , pk, pv)"),
    "past and truth": (f"{Q4}, {K4}, {PAST}, bool[{S},{T + 3}] b",
                       "y, nk, nv = Attention(q, k, v, b, pk, pv)"),
    "present": (f"{Q4}, {K4}", "y, nk, nv = Attention(q, k, v)"),
    "rotary": (f"{Q4}, float[{B},{S},3] c, float[{B},{S},3] s", "y = RotaryEmbedding(q, c, s)"),
    "rotary of places": (f"{Q4}, float[9,3] c, float[9,3] s, int64[{B},{S}] p",
                         "y = RotaryEmbedding<interleaved=1>(q, c, s, p)"),
    "rotary in part": (f"{Q4}, float[9,2] c, float[9,2] s, int64[{B},{S}] p",
                       "y = RotaryEmbedding<rotary_embedding_dim=4>(q, c, s, p)"),
    "flat rotary": (f"float[{B},{S},{4 * D}] q, float[{B},{S},3] c, float[{B},{S},3] s",
                    "y = RotaryEmbedding<num_heads=4>(q, c, s)"),
    "root of squares": (f"{Q4}, float[{D}] w", "y = RMSNormalization<epsilon=0.01>(q, w)"),
    "root of squares, two axes": (f"{Q4}, float[{S},{D}] w", "y = RMSNormalization<axis=2>(q, w)"),
}  # fmt: skip


def graph(inputs: str, body: str) -> ir.Model:
    """The results of the last node are the outputs."""
    last = body.rsplit(" = ", 1)[0].rsplit(") ", 1)[-1]
    ranks = {"y": inputs[: inputs.index("]")].count(",") + 1}
    kind = inputs[: inputs.index("[")]
    dims = {name: [f"{name}{n}" for n in range(ranks.get(name, 4))] for name in last.split(", ")}
    outputs = ", ".join(f"{kind}[{','.join(sizes)}] {name}" for name, sizes in dims.items())
    head = '<ir_version: 11, opset_import: ["" : 24]>'
    return model(f"{head} g ({inputs}) => ({outputs}) {{ {body} }}")


def reference(proto: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    with np.errstate(invalid="ignore"):  # rows that see nothing
        return list(onnx.reference.ReferenceEvaluator(proto).run(None, feeds))


def feeds_of(before: ir.Model) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    for number, value in enumerate(before.graph.inputs):
        assert value.shape is not None
        dims = value.shape.numpy()
        if value.dtype == ir.DataType.INT64:
            feeds[value.name or ""] = np.random.default_rng(0).integers(0, 9, dims)
        elif value.dtype == ir.DataType.BOOL:
            seen = random(*dims) > -0.3
            seen[..., 1, :] = False  # a row that sees nothing
            feeds[value.name or ""] = seen
        else:
            feeds[value.name or ""] = random(*dims, seed=number)
    return feeds


@pytest.mark.parametrize("case", CASES)
def test_the_same_answers(case: str) -> None:
    before = graph(*CASES[case])
    feeds = feeds_of(before)
    want = reference(ir.to_proto(before), feeds)
    after = before.clone()
    assert len(write_out(after)) == 1
    assert not has_composed_operators(after)
    proto = ir.to_proto(after)
    onnx.checker.check_model(proto, full_check=True)
    got = reference(proto, feeds)
    session = Session(before, threads=1)
    ours = session.run(feeds)
    for value, wanted, found in zip(before.graph.outputs, want, got, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        np.testing.assert_allclose(ours[value.name or ""], wanted, rtol=0, atol=1e-5)
    assert not [step.op for step in session.explain() if step.dtype == "host"]


def test_attention_is_one_step() -> None:
    before = graph(*CASES["truth, causal"])
    assert "attention" in kernels(before, feeds_of(before))


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        (f"{Q4}, {K4}", "y, nk, nv, qk = Attention(q, k, v)"),
        (f"{Q4}, {K4}, int64[{B}] n", "y = Attention(q, k, v, , , , n)"),
        (f"{Q4}, {K4}, float[{S},4] m", "y = Attention(q, k, v, m)"),  # columns left out
        (Q4.replace("float", "float16") + ", " + K4.replace("float", "float16"),
         "y = Attention(q, k, v)"),
        (f"{Q4}, {K4}, float[{S},6] m", "y = Attention(q, k, v, m, m, m)"),  # the past of rank 2
        ("float[1,6,8] q, float[1,6,8] k, float[1,6,8] v",
         "y = Attention<q_num_heads=1000000000, kv_num_heads=500000000>(q, k, v)"),
    ],
)  # fmt: skip
def test_what_asks_for_more_stays(inputs: str, body: str) -> None:
    before = graph(inputs, body)
    assert write_out(before) == []
    assert ops(before) == ["Attention"]


def test_sizes_that_only_a_run_tells() -> None:
    before = graph("float[b,4,s,6] q, float[b,4,t,6] k, float[b,4,t,6] v",
                   "y = Attention<is_causal=1>(q, k, v)")  # fmt: skip
    session = Session(before, threads=1)
    for rows, columns in ((3, 3), (2, 9)):
        feeds = {"q": random(1, 4, rows, 6), "k": random(1, 4, columns, 6, seed=1)}
        feeds["v"] = random(1, 4, columns, 6, seed=2)
        (want,) = reference(ir.to_proto(before), feeds)
        np.testing.assert_allclose(session.run(feeds)["y"], want, rtol=0, atol=1e-5)


def test_only_those_that_are_asked_for() -> None:
    both = graph(f"{Q4}, {K4}, float[{D}] w", "n = RMSNormalization(q, w) y = Attention(n, k, v)")
    assert len(write_out(both, {"Attention"})) == 1
    assert ops(both)[0] == "RMSNormalization"
    assert "Attention" not in ops(both)


def test_shapes_that_the_file_leaves_out_are_inferred() -> None:
    before = graph(FLAT, f"r = Relu(q) y = Attention<{HEADS}>(r, k, v)")
    assert before.graph[0].outputs[0].shape is None
    assert len(write_out(before)) == 1
