"""What a caller sees of Session: inputs, outputs, errors, observed values, threads, host steps."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import q8tool
from q8tool import Session
from q8tool.engine.session import TensorInfo
from q8tool.errors import InputError, UnsupportedError, UsageError
from tests.build import run_onnxruntime
from tests.graphs import f32, i64, proto, u8

CHAIN = "chain (float[N, 3] x) => (float[N, 3] y) { a = Relu(x) b = Neg(a) y = Exp(b) }"
X = f32([[-1.0, 2.0, 0.5], [3.0, -4.0, 0.0]])
# Unique decides its shape at run time; Exp before and after it can run in C.
HOST = """host (float[6] x) => (float[n] y, float[6] z) {
    a = Exp(x) u = Unique(a) y = Neg(u) z = Neg(a) }"""


def test_session_is_exported() -> None:
    assert q8tool.Session is Session
    with pytest.raises(AttributeError):
        _ = q8tool.Sessions


def test_a_path_a_proto_and_a_graph_give_the_same(tmp_path: Path) -> None:
    model = proto(CHAIN)
    onnx.save(model, tmp_path / "chain.onnx")
    expected = np.exp(-np.maximum(X, 0))
    for source in (
        tmp_path / "chain.onnx",
        str(tmp_path / "chain.onnx"),
        model,
        ir.from_proto(model),
    ):
        np.testing.assert_allclose(Session(source).run({"x": X})["y"], expected, rtol=1e-6)


def test_the_model_is_not_changed() -> None:
    model = ir.from_proto(proto(CHAIN))
    before = ir.to_proto(model).SerializeToString()
    Session(model).run({"x": X})
    assert ir.to_proto(model).SerializeToString() == before


def test_inputs_and_outputs() -> None:
    session = Session(proto(CHAIN))
    real = np.dtype(np.float32)
    assert session.inputs == [TensorInfo("x", real, ("N", 3))]
    assert session.outputs == [TensorInfo("y", real, ("N", 3))]


def test_every_batch_size_is_compiled_for_itself() -> None:
    session = Session(proto(CHAIN))
    for rows in (1, 4, 2, 9, 1, 3, 5):
        x = np.linspace(-2, 2, rows * 3, dtype=np.float32).reshape(rows, 3)
        np.testing.assert_allclose(session.run({"x": x})["y"], np.exp(-np.maximum(x, 0)), rtol=1e-6)


def test_observed_values_come_with_the_outputs() -> None:
    results = Session(proto(CHAIN), observe=["a", "b", "x"]).run({"x": X})
    assert list(results) == ["y", "a", "b", "x"]
    np.testing.assert_array_equal(results["a"], np.maximum(X, 0))
    np.testing.assert_array_equal(results["b"], -np.maximum(X, 0))
    np.testing.assert_array_equal(results["x"], X)


def test_results_belong_to_the_caller() -> None:
    text = """same (float[3] x) => (float[3] y, float[3] z, float[3] c) {
        y = Identity(x) z = Relu(x) c = Identity(k) }"""
    session = Session(proto(text, k=f32([1, 2, 3])), observe=["x"])
    x = f32([1, 2, 3])
    first = session.run({"x": x})
    for array in first.values():
        array += 100
    np.testing.assert_array_equal(x, [1, 2, 3])
    for array in session.run({"x": x}).values():
        np.testing.assert_array_equal(array, [1, 2, 3])


def test_outputs_can_be_chosen() -> None:
    session = Session(proto(HOST))
    assert list(session.run({"x": X.ravel()}, outputs=["z"])) == ["z"]
    with pytest.raises(UsageError, match="no 'q'"):
        session.run({"x": X.ravel()}, outputs=["q"])


@pytest.mark.parametrize(
    ("feeds", "text"),
    [
        ({}, "input 'x' is missing"),
        ({"x": X, "q": X}, "no input 'q'"),
        ({"x": X[0]}, r"shape \[3\], the model takes \['N', 3\]"),
        ({"x": X[:, :2]}, r"shape \[2, 2\]"),
        ({"x": X.astype(complex)}, "complex128, the model takes float32"),
    ],
)
def test_wrong_feeds_are_named(feeds: dict[str, np.ndarray], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Session(proto(CHAIN)).run(feeds)


def test_what_converts_exactly_is_taken() -> None:
    session = Session(proto(CHAIN))
    for x in (X.astype(np.float64), X.astype(np.int64), X.tolist()):
        session.run({"x": x})
    strided = np.repeat(X, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(session.run({"x": strided})["y"], session.run({"x": X})["y"])


def test_unknown_names_and_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="no value 'nothing'"):
        Session(proto(CHAIN), observe=["nothing"])
    with pytest.raises(UsageError, match="0 threads"):
        Session(proto(CHAIN), threads=0)
    with pytest.raises(UsageError, match="mmx"):
        Session(proto(CHAIN), isa="mmx").run({"x": X})


def test_a_missing_file_is_an_input_error() -> None:
    with pytest.raises(InputError):
        Session("no such file.onnx")


def _type_of_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = onnx.TensorProto.UNDEFINED


def _size_of_an_attribute(model: onnx.ModelProto) -> None:
    attribute = model.graph.node[0].attribute.add(name="t", type=onnx.AttributeProto.TENSOR)
    attribute.t.data_type = onnx.TensorProto.FLOAT
    attribute.t.dims.append(-3)


@pytest.mark.parametrize("damage", [_type_of_weights, _size_of_an_attribute])
def test_a_model_that_no_library_reads(damage: Callable[[onnx.ModelProto], None]) -> None:
    made = proto("g (float[2] x) => (float[2] y) { y = Add(x, w) }", w=f32([1, 2]))
    damage(made)
    with pytest.raises(InputError, match=r"^model: is not valid ONNX: "):
        Session(made)


def test_an_initializer_that_is_an_input_may_be_fed() -> None:
    model = proto("k (float[3] x, float[3] k) => (float[3] y) { y = Add(x, k) }", k=f32([1, 2, 3]))
    session = Session(model)
    assert [info.name for info in session.inputs] == ["x"]
    x = f32([10, 20, 30])
    np.testing.assert_array_equal(session.run({"x": x})["y"], [11, 22, 33])
    np.testing.assert_array_equal(session.run({"x": x, "k": f32([0, 0, 1])})["y"], [10, 20, 31])


# ---- host steps ----


def test_what_c_lacks_runs_on_the_host_and_says_so() -> None:
    session = Session(proto(HOST))
    x = f32([1, 2, 2, 1, 0, 3])
    results = session.run({"x": x})
    np.testing.assert_allclose(results["y"], -np.exp(np.unique(x)), rtol=1e-6)
    np.testing.assert_allclose(results["z"], -np.exp(x), rtol=1e-6)
    host = [step for step in session.explain() if step.dtype == "host"]
    assert [step.op for step in host] == ["Unique", "Neg"]
    assert host[0].reason == "Unique has no C kernel"
    assert "only at run time" in host[1].reason


def test_native_steps_stay_together_around_host_steps() -> None:
    text = """far (float[6] x) => (float[6] y) {
        a = Exp(x)  s = Tan(a)  b = Neg(a)  c = Abs(b)  d = Add(s, c)  y = Neg(d) }"""
    kinds = [step.dtype for step in Session(proto(text)).explain()]
    assert kinds == ["f32", "f32", "f32", "host", "f32"]  # Add does what Neg says


def test_strict_refuses_host_steps_by_name() -> None:
    with pytest.raises(UnsupportedError, match="Unique_u"):
        Session(proto(HOST), strict=True)


def test_an_operator_that_nobody_has() -> None:
    node = onnx.helper.make_node("Frobnicate", ["x"], ["y"], name="odd", domain="example.org")
    # The batch size is open: what nobody has must be said before the first run all the same.
    x = onnx.helper.make_tensor_value_info("x", 1, ["N"])
    graph = onnx.helper.make_graph([node], "g", [x], [onnx.ValueInfoProto(name="y")])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("example.org", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    with pytest.raises(UnsupportedError, match=r"'odd'.*Frobnicate.*example\.org is not impl"):
        Session(model)


def test_a_step_that_c_refuses_runs_on_the_host() -> None:
    # Nine dimensions are one more than plans have.
    text = """deep (float[1, 2, 1, 2, 1, 2, 1, 2, 1] x) => (float[1, 2, 1, 2, 1, 2, 1, 2, 1] y) {
        a = Neg(x)  y = Exp(a) }"""
    x = np.arange(16, dtype=np.float32).reshape(1, 2, 1, 2, 1, 2, 1, 2, 1)
    session = Session(proto(text))
    np.testing.assert_allclose(session.run({"x": x})["y"], np.exp(-x), rtol=1e-6)
    assert {step.dtype for step in session.explain()} == {"host"}


def test_nodes_may_stand_in_any_order() -> None:
    model = proto(CHAIN)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    np.testing.assert_allclose(Session(model).run({"x": X})["y"], np.exp(-np.maximum(X, 0)), 1e-6)


def test_a_value_that_nothing_computes_is_named() -> None:
    model = proto(CHAIN)
    model.graph.node[1].input[0] = "ghost"
    with pytest.raises(InputError, match="reads 'ghost'"):
        Session(model)


def test_a_cycle_is_an_input_error() -> None:
    model = proto(CHAIN)
    model.graph.node[0].input[0] = "y"
    with pytest.raises(InputError, match="needs its own result"):
        Session(model)


LOOP = """loop (int64 n, float[3] x) => (float[3] y) {
    yes = Constant <value = bool {1}> ()
    y = Loop (n, yes, x) <body = step (int64 i, bool c, float[3] v) => (bool d, float[3] w) {
        d = Identity(c)  w = Add(v, k) }> }"""
BRANCH = """branch (bool b, float[3] x) => (float[3] y) {
    a = Exp(x)
    y = If (b) <then_branch = one () => (float[3] o) { o = Neg(a) },
                else_branch = two () => (float[3] t) { t = Identity(k) }> }"""


def test_subgraphs_see_outer_values() -> None:
    k, x = f32([1, 10, 100]), f32([0, 1, 2])
    looped = Session(proto(LOOP, 16, k=k)).run({"n": i64(3), "x": x})["y"]
    np.testing.assert_array_equal(looped, x + 3 * k)
    session = Session(proto(BRANCH, 16, k=k))
    np.testing.assert_allclose(session.run({"b": True, "x": x})["y"], -np.exp(x), rtol=1e-6)
    np.testing.assert_array_equal(session.run({"b": False, "x": x})["y"], k)


def test_functions_of_the_model_are_inlined() -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "f": 1]>
        main (float[3] x) => (float[3] y) { y = f.twice(x) }
        <domain: "f", opset_import: ["": 17]> twice (a) => (b) { b = Add(a, a) }"""
    session = Session(onnx.parser.parse_model(text), strict=True)
    np.testing.assert_array_equal(session.run({"x": f32([1, 2, 3])})["y"], [2, 4, 6])


def test_shape_arithmetic_is_folded_away() -> None:
    text = """shape (float[N, 4, 6] x) => (float[a, b] y) {
        s = Shape(x)  n = Gather(s, zero)  m = Unsqueeze(n, axes)  t = Concat<axis=0>(m, rest)
        y = Reshape(x, t) }"""
    model = proto(text, zero=i64(0), axes=i64([0]), rest=i64([-1]))
    session = Session(model, strict=True)
    x = np.arange(72, dtype=np.float32).reshape(3, 4, 6)
    np.testing.assert_array_equal(session.run({"x": x})["y"], x.reshape(3, 24))
    assert len(session.explain()) <= 1


def test_unread_nodes_cost_nothing() -> None:
    text = "dead (float[3] x) => (float[3] y) { y = Neg(x) d = Sin(x) e = Exp(d) }"
    assert [step.op for step in Session(proto(text)).explain()] == ["Neg"]


# ---- reports ----


def test_explain_says_what_was_fused_and_why_steps_are_float() -> None:
    text = """quant (float[1, 4, 5, 5] x) => (float[1, 4, 5, 5] y) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
        w = DequantizeLinear(wq, s, wz)  c = Conv(d, w)  r = Relu(c)
        e = QuantizeLinear(r, s, z)  f = DequantizeLinear(e, s, z)  y = Softmax<axis=1>(f) }"""
    weights = {
        "s": f32(0.1),
        "z": np.asarray(7, np.uint8),
        "wq": np.ones((4, 4, 1, 1), np.int8),
        "wz": np.asarray(0, np.int8),
    }
    steps = Session(proto(text, **weights)).explain()
    ops = [step.op for step in steps]
    assert "Conv+Relu+QuantizeLinear" in ops
    conv = steps[ops.index("Conv+Relu+QuantizeLinear")]
    assert conv.dtype == "u8"
    assert conv.macs == 4 * 4 * 25
    assert steps[ops.index("Softmax")].reason == "Softmax works in float"


def test_profile_times_every_step() -> None:
    session = Session(proto(HOST))
    steps = session.profile({"x": X.ravel()})
    assert [step.op for step in steps] == [step.op for step in session.explain()]
    assert all(step.nanoseconds > 0 for step in steps)
    assert len(Session(proto(CHAIN)).profile()) == 3


# ---- many callers ----


def test_callers_in_several_threads_get_their_own_answers() -> None:
    session = Session(proto(CHAIN), threads=2)
    start = threading.Barrier(4)

    def work(seed: int) -> bool:
        generator = np.random.default_rng(seed)
        start.wait()
        for _ in range(50):
            x = generator.normal(size=(int(generator.integers(1, 4)), 3)).astype(np.float32)
            y = session.run({"x": x})["y"]
            if not np.allclose(y, np.exp(-np.maximum(x, 0)), rtol=1e-5):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_int8_and_bool_cross_the_boundary() -> None:
    text = """edge (int8[4] q, bool[4] b) => (int8[4] r, bool[4] c, int8[4] m) {
        t = Reshape(q, four)  r = Transpose(t)  c = Identity(b)  m = Abs(q) }"""
    q, b = np.asarray([-128, -1, 0, 127], np.int8), np.asarray([True, False, True, True])
    model = proto(text, four=i64([4]))
    results = Session(model).run({"q": q, "b": b})
    for result, wanted in zip(
        results.values(), run_onnxruntime(model, {"q": q, "b": b}), strict=True
    ):
        assert result.dtype == wanted.dtype
        np.testing.assert_array_equal(result, wanted)


def test_long_chains_of_functions_of_codes() -> None:
    """Each is a table until a float is asked for in the end; no call goes as deep as the chain."""
    links = " ".join(f"t{i + 1} = Tanh(t{i})" for i in range(600))
    model = proto(
        f"""chain (uint8[3] c) => (float[3] y) {{
            t0 = DequantizeLinear(c, s, z) {links} y = Neg(t600) }}""",
        s=f32(0.1),
        z=u8(3),
    )
    codes = np.asarray([0, 13, 255], np.uint8)
    np.testing.assert_allclose(
        Session(model).run({"c": codes})["y"],
        run_onnxruntime(model, {"c": codes})[0],
        rtol=1e-4,
    )


@pytest.mark.parametrize("link", ["c{} = Add(c{}, c{})", "c{} = Mul(c{}, half)"])
def test_constants_made_of_constants(link: str) -> None:
    """Neither computed again for every way through them, nor as deep as the chain."""
    links = " ".join(link.format(i, i - 1, i - 2) for i in range(2, 400))
    large = np.zeros(2000, np.float32)
    model = proto(
        f"g (float[2000] x) => (float[2000] y) {{ {links} y = Add(x, c399) }}",
        c0=large,
        c1=large,
        half=f32([0.5]),
    )
    x = np.arange(2000, dtype=np.float32)
    np.testing.assert_array_equal(Session(model).run({"x": x})["y"], x)
