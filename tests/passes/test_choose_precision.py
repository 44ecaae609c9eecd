"""choose_precision: who becomes eight-bit, in which form, and why the others do not."""

import numpy as np
import onnx_ir as ir
import pytest

from q8tool.model.graph import node_name
from q8tool.model.shapes import infer_shapes
from q8tool.passes.choose_precision import UNREAD, Choice, choose_precision
from q8tool.passes.run_time_gain import FEW_PRODUCTS
from tests.graphs import Array, f32, i64, model, random

W = random(4, 4, 1, 1)


def graph_of(body: str, outputs: str = "float y", **weights: Array) -> ir.Model:
    return model(f"g (float[1,4,8,8] x) => ({outputs}) {{ {body} }}", 13, w=W, **weights)


def chosen(graph: ir.Model, known: bool = True) -> Choice:
    return choose_precision(graph, None if known else ())


def forms(choice: Choice) -> dict[str, str]:
    """Delivered value -> operator and form."""
    return {u.output.name or "": f"{u.node.op_type} {u.form}" for u in choice.units}


def reasons(choice: Choice) -> dict[str, str]:
    return {node.outputs[0].name or "": reason for node, reason in choice.kept}


RESIDUAL = "a = Conv(x, w) r = Relu(a) b = Conv(r, w) s = Add(b, x) t = Relu(s) y = Conv(t, w)"


def test_a_residual_block_is_all_eight_bit() -> None:
    choice = chosen(graph_of(RESIDUAL))
    assert forms(choice) == {
        "r": "Conv static", "b": "Conv static", "t": "Add static", "y": "Conv static",
    }  # fmt: skip
    assert choice.wanted == {"x", "r", "b", "t"}
    assert choice.tensors() == ["x", "r", "b", "t"]
    assert choice.kept == []


def test_without_ranges_weights_are_dynamic_and_the_rest_is_float() -> None:
    choice = chosen(graph_of(RESIDUAL), known=False)
    assert forms(choice) == {"r": "Conv dynamic", "b": "Conv dynamic", "y": "Conv dynamic"}
    assert reasons(choice) == {"s": UNREAD}
    assert choice.tensors() == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Conv(x, w) s = Sigmoid(x) m = Mul(a, s) y = Conv(m, w)", "a s m y"),  # SiLU
        (
            "a = Conv(x, w) p = GlobalAveragePool(a) e = Conv(p, w) g = Sigmoid(e) m = Mul(a, g) "
            "y = Conv(m, w)",
            "a p e g m y",  # squeeze and excite
        ),
        ("a = Conv(x, w) s = Sigmoid(a) c = Concat<axis=1>(a, s) y = Conv(c, w8)", "a s c y"),
        ("a = Conv(x, w) t = Transpose<perm=[0,1,3,2]>(a) y = Conv(t, w)", "a t y"),
        ("a = Conv(x, w) m = MaxPool<kernel_shape=[2,2]>(a) y = Conv(m, w)", "a m y"),
        ("m = MaxPool<kernel_shape=[2,2]>(x) y = Relu(m)", ""),
        ("a = Conv(x, w) s = Sigmoid(a) y = Exp(s)", "a"),  # the head stays float
        ("a = Conv(x, w) y = Softmax(a)", "a"),
        ("a = Conv(x, w) m = Mul(a, a) y = Conv(m, w)", "a m y"),
        ("m = Mul(x, k) y = Conv(m, w)", "m y"),
        ("a = MatMul(x, k8) t = Transpose(a) y = MatMul(a, t)", "a t y"),  # two activations
        ("a = MatMul(k8, x) b = MatMul(a, stack) y = MatMul(b, k8)", "a b y"),
    ],
)
def test_what_feeds_eight_bit_operators_follows(body: str, expected: str) -> None:
    graph = graph_of(
        body, w8=random(4, 8, 1, 1), k=random(4, 1, 1), k8=random(8, 8), stack=random(4, 8, 8)
    )
    assert " ".join(forms(chosen(graph))) == expected


def test_an_output_in_the_middle_and_several_readers() -> None:
    body = "a = Conv(x, w) r = Relu(a) y = Conv(r, w) z = Exp(r)"
    choice = chosen(graph_of(body, "float y, float a, float z"))
    # a is an output: the Relu behind it is a unit of its own.
    assert forms(choice) == {"a": "Conv static", "r": "Relu static", "y": "Conv static"}


def test_a_clamp_with_another_reader_before_it_is_its_own_unit() -> None:
    body = "a = Conv(x, w) r = Relu(a) s = Add(r, a) y = Conv(s, w) z = Exp(r)"
    assert list(forms(chosen(graph_of(body, "float y, float z")))) == ["a", "r", "s", "y"]


def test_only_the_outputs_that_are_wanted() -> None:
    body = "c = Conv(x, w) a, b = Split<axis=1>(c, k) y = Conv(b, w2)"
    choice = chosen(graph_of(body, "float y, float a", k=i64([2, 2]), w2=random(2, 2, 1, 1)))
    assert choice.wanted == {"x", "c", "b"}
    assert choice.tensors() == ["x", "c"]  # b has the range of c


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("k = Neg(w) y = Conv(x, k)", "its weights are not constant"),
        ("n = Neg(b) y = Conv(x, w, n)", "its bias is not constant"),
        ("y = Conv(x, bad)", "its weights hold NaN or infinity"),
        ("y = Gemm<transA=1>(v, m)", "its left side is transposed"),
        ("y = Gemm(v, m, column)", "its bias differs from row to row"),
        ("y = MatMul(x, endless)", "its weights hold NaN or infinity"),
        ("h = Cast<to=10>(x) y = Conv(h, half)", "it does not compute in float32"),
        ("p = Pad(x, pads, six) y = Conv(p, w)", "it pads with something else than 0"),
        ("p, i = MaxPool<kernel_shape=[1,1]>(x) j = Neg(i) y = Conv(p, w)", "its indices are read"),
    ],
)
def test_reasons(body: str, reason: str) -> None:
    column = np.ones((8, 1), np.float32)
    graph = model(
        f"g (float[1,4,8,8] x, float[8,8] v) => (float y) {{ {body} }}", 13,
        w=W, b=random(4), bad=f32(np.full((4, 4, 1, 1), np.inf)), m=random(8, 8), column=column,
        endless=f32(np.full((4, 8, 8), np.inf)), half=W.astype(np.float16), six=f32(6),
        pads=i64([0, 0, 1, 1, 0, 0, 1, 1]),
    )  # fmt: skip
    assert reason in reasons(chosen(graph)).values()


@pytest.mark.parametrize(
    ("source", "first", "range_of"),
    [
        ("n = Softmax(x)", "Gather<axis=1>(n, i)", "p"),
        ("t = Softmax(x) n = Transpose<perm=[0,2,1,3]>(t)", "Gather<axis=2>(n, i)",
         "p"),
        ("n = Softmax(x)", "Gather<axis=1>(n, all)", "n"),
        ("a = Conv(x, w) n = Relu(a)", "Gather<axis=2>(n, i)", "n"),
    ],
)  # fmt: skip
def test_a_part_of_floats_is_rounded_by_its_own_range(
    source: str, first: str, range_of: str
) -> None:
    """Rounding all of a softmax to read one row would use the range of all tokens."""
    graph = graph_of(
        f"{source} p = {first} y = MatMul(p, m)",
        m=random(8, 2), i=i64([0]), all=i64(range(4)),
    )  # fmt: skip
    infer_shapes(graph)
    assert range_of in chosen(graph).tensors()


def test_a_convtranspose_has_no_dynamic_form() -> None:
    graph = graph_of("y = ConvTranspose(x, w)")
    assert forms(chosen(graph)) == {"y": "ConvTranspose static"}
    assert reasons(chosen(graph, known=False)) == {
        "y": "the range of its input is not known before run time"
    }


def test_a_depthwise_convolution_is_static_or_float() -> None:
    graph = graph_of("a = Conv<group=4>(x, d) y = Relu(a)", d=random(4, 1, 3, 3))
    assert forms(chosen(graph)) == {"y": "Conv static"}
    (reason,) = reasons(chosen(graph, known=False)).values()
    assert "at run time would cost more" in reason


WIDE = random(64, 32, 1, 1)


@pytest.mark.parametrize(
    ("product", "weights", "form"),
    [
        ("Conv", random(32, 32, 1, 1), "dynamic"),  # 32 * 32 / (32 + 32) = 16 products per number
        ("Conv", random(31, 32, 1, 1), "float"),
        ("Conv<strides=[2,2]>", random(32, 32, 1, 1), "float"),  # reads four times as much
        ("Conv<strides=[2,2], pads=[1,1,1,1]>", random(32, 32, 3, 3), "dynamic"),
        ("Conv<group=4>", random(32, 8, 1, 1), "float"),  # 8 * 32 / (32 + 32)
        ("Conv<group=4, pads=[1,1,1,1]>", random(32, 8, 3, 3), "dynamic"),
    ],
)
def test_a_range_at_run_time_has_to_pay(product: str, weights: Array, form: str) -> None:
    text = f"""g (float[1,32,8,8] x) => (float y, float z) {{
        z = Conv(x, wide) y = {product}(x, w) }}"""
    choice = chosen(model(text, 13, w=weights, wide=WIDE), known=False)
    assert forms(choice)["z"] == "Conv dynamic"
    assert forms(choice).get("y", "Conv float") == f"Conv {form}"
    assert reasons(choice) == ({"y": FEW_PRODUCTS} if form == "float" else {})


@pytest.mark.parametrize(("columns", "form"), [(64, "dynamic"), (16, "float")])
def test_a_narrow_matmul_stays_float(columns: int, form: str) -> None:
    text = "g (float[5,32] x) => (float y, float z) { z = MatMul(x, wide) y = MatMul(x, w) }"
    choice = chosen(model(text, 13, w=random(32, columns), wide=random(32, 64)), known=False)
    assert forms(choice).get("y", "MatMul float") == f"MatMul {form}"


def test_a_known_range_of_the_result_lets_narrow_products_gain() -> None:
    """They write codes: 32 * 16 / (32 + 16 / 4) = 14, 48 * 16 / (16 + 48 / 4) = 27."""
    text = """g (float[1,32,8,8] x) => (float y) {
        n = Conv(x, narrow) r = Clip(n, zero, six)
        e = Conv(r, expand) c = Clip(e, zero, six) y = Conv(c, wide) }"""
    weights = {
        "narrow": random(16, 32, 1, 1), "expand": random(48, 16, 1, 1),
        "wide": random(64, 48, 1, 1), "zero": f32(0), "six": f32(6),
    }  # fmt: skip
    known = {"c", "y"}
    choice = choose_precision(model(text, 13, **weights), known)
    assert forms(choice) == {"c": "Conv dynamic", "y": "Conv static"}
    assert reasons(choice) == {"n": FEW_PRODUCTS}


@pytest.mark.parametrize("function", ["s = Sigmoid(e) a = Mul(e, s)", "a = Relu(e)"])
@pytest.mark.parametrize(
    ("window", "strides", "form"),
    [(3, "1, 1", "dynamic"), (5, "2, 2", "dynamic"), (7, "1, 1", "float"), (3, "3, 3", "float")],
)
def test_what_a_depthwise_convolution_reads_lets_narrow_products_gain(
    function: str, window: int, strides: str, form: str
) -> None:
    """Lines stay in the cache: 16 * 96 / (16 + 96) = 13.7, 16 * 96 / (16 + 96 / 2) = 24."""
    text = f"""g (float[1,16,32,32] x) => (float y, float z) {{
        e = Conv(x, expand) {function}
        y = Conv<group=96, strides=[{strides}]>(a, depthwise) z = Conv(x, wide) }}"""
    weights = {
        "expand": random(96, 16, 1, 1), "depthwise": random(96, 1, window, window),
        "wide": random(64, 16, 3, 3),
    }  # fmt: skip
    choice = chosen(model(text, 13, **weights), known=False)
    assert forms(choice)["z"] == "Conv dynamic"
    assert (FEW_PRODUCTS in reasons(choice).values()) == (form == "float")


def test_lines_that_somebody_else_reads_are_written_as_well() -> None:
    text = """g (float[1,16,32,32] x) => (float e, float y, float z) {
        e = Conv(x, expand) y = Conv<group=96>(e, depthwise) z = Conv(x, wide) }"""
    weights = {
        "expand": random(96, 16, 1, 1), "depthwise": random(96, 1, 3, 3),
        "wide": random(64, 16, 3, 3),
    }  # fmt: skip
    assert reasons(chosen(model(text, 13, **weights), known=False))["e"] == FEW_PRODUCTS


@pytest.mark.parametrize(("pixels", "form"), [("1,1", "dynamic"), ("8,8", "float")])
def test_a_picture_times_a_number_per_channel_becomes_codes_on_the_way(
    pixels: str, form: str
) -> None:
    """Nothing is read for it: 32 * 16 / 16 = 32 instead of 32 * 16 / (32 + 16) = 11."""
    text = f"""g (float[1,32,8,8] x, float[1,32,{pixels}] gate) => (float y, float z) {{
        m = Mul(x, gate) y = Conv(m, narrow) z = Conv(x, wide) }}"""
    weights = {"narrow": random(16, 32, 1, 1), "wide": random(64, 32, 3, 3)}
    choice = chosen(model(text, 13, **weights), known=False)
    assert forms(choice).get("y", "Conv float") == f"Conv {form}"


def test_where_nothing_gains_narrow_products_are_eight_bit_all_the_same() -> None:
    assert forms(chosen(graph_of("y = Conv(x, w)"), known=False)) == {"y": "Conv dynamic"}


def test_a_range_that_nothing_knows_stops_what_hangs_on_it() -> None:
    graph = graph_of("a = Conv(x, w) s = Add(a, x) y = Conv(s, w)")
    choice = choose_precision(graph, ("x", "s"))
    assert forms(choice) == {"a": "Conv static", "y": "Conv static"}
    assert reasons(choice) == {"s": "a range is not known before run time"}


def test_excluded_nodes_stay_float_and_want_no_codes() -> None:
    graph = graph_of("a = Conv(x, w) r = Relu(a) y = Conv(r, w)")
    choice = choose_precision(graph, None, [node_name(list(graph.graph)[-1])])
    assert forms(choice) == {"r": "Conv static"}
    assert choice.wanted == {"x"}
    assert reasons(choice) == {"y": "excluded"}


def test_subgraphs_and_empty_graphs_are_left_alone() -> None:
    assert chosen(model("g (float[2] x) => (float[2] x) { }")).units == []
    body = """c = Cast<to=9>(k) y = If(c)<
        then_branch = t () => (float[1,4,8,8] p) { p = Conv(x, w) },
        else_branch = e () => (float[1,4,8,8] q) { q = Neg(x) }>"""
    assert chosen(graph_of(body, k=f32(1))).units == []


@pytest.mark.parametrize(
    "gate",
    [
        "g = Sigmoid(a) t = Mul(a, g)",
        "g = Sigmoid(a) t = Mul(g, a)",
        "b = Add(a, k) c = Clip(b, k, k) g = Div(c, k) t = Mul(a, g)",
        "b = Softplus(a) g = Tanh(b) t = Mul(a, g)",
    ],
)
def test_a_value_times_a_function_of_it_is_one_table(gate: str) -> None:
    choice = chosen(graph_of(f"a = Conv(x, w) {gate} y = Conv(t, w)", k=f32(6)))
    assert forms(choice) == {"a": "Conv static", "t": "Mul static", "y": "Conv static"}
    assert choice.wanted == {"x", "a", "t"}
    assert choice.kept == []


@pytest.mark.parametrize(
    "gate",
    [
        "g = Sigmoid(x) t = Mul(a, g)",
        "b = Mul(a, x) g = Sigmoid(b) t = Mul(a, g)",
        "g = Sigmoid(a) h = Exp(g) i = Mul(h, g) t = Mul(a, i)",
        "p = GlobalAveragePool(a) g = Sigmoid(p) t = Mul(a, g)",
    ],
)
def test_gates_that_are_no_function_of_one_element_keep_their_codes(gate: str) -> None:
    choice = chosen(graph_of(f"a = Conv(x, w) {gate} y = Conv(t, w)"))
    assert "t" in forms(choice)
    assert len(next(u for u in choice.units if u.output.name == "t").activations) == 2


NORM = (
    "q = Pow(x, two) m = ReduceMean<axes=[2]>(q) e = Add(m, tiny) d = Sqrt(e) {} y = MatMul(n, w)"
)


@pytest.mark.parametrize(
    "ending",
    [
        "r = Reciprocal(d) n = Mul(x, r)",
        "r = Div(one, d) n = Mul(r, x)",
        "r = Pow(e, negative) n = Mul(x, r)",
        "r = Reciprocal(d) t = Mul(x, r) n = Mul(t, k)",
    ],
)
def test_a_normalization_that_is_spelled_out_stays_float(ending: str) -> None:
    numbers = {"two": f32(2), "tiny": f32(1e-6), "one": f32(1), "negative": f32(-0.5)}
    text = f"g (float[1,5,4] x) => (float y) {{ {NORM.format(ending)} }}"
    choice = chosen(model(text, 13, w=random(4, 6), k=random(4), **numbers))
    assert forms(choice) == {"y": "MatMul static"}
    assert choice.wanted == {"n"}


def test_a_gate_of_means_stays_eight_bit() -> None:
    gate = "m = ReduceMean<axes=[2]>(x) g = Sigmoid(m) n = Mul(x, g) y = MatMul(n, w)"
    text = f"g (float[1,5,4] x) => (float y) {{ {gate} }}"
    assert "n" in forms(chosen(model(text, 13, w=random(4, 6))))


def test_what_scales_floats_is_rounded_once_behind_it() -> None:
    """A group normalization: its scale and bias are arithmetic of floats that nobody rounded."""
    text = """
        g (float[1,4,6] x) => (float[1,3,6] y) {
            parts = Reshape(x, groups)  n = InstanceNormalization(parts, ones, zeros)
            whole = Reshape(n, shape)  scaled = Mul(whole, gamma)  shifted = Add(scaled, beta)
            y = Conv(shifted, w)
        }
    """
    weights = {
        "groups": i64([1, 2, -1]), "shape": i64([1, 4, 6]),
        "ones": f32([1, 1]), "zeros": f32([0, 0]),
        "gamma": random(4, 1), "beta": random(4, 1, seed=1), "w": random(3, 4, 1),
    }  # fmt: skip
    choice = choose_precision(model(text, 13, **weights), None)
    assert [unit.node.op_type for unit in choice.units] == ["Conv"]
    assert choice.tensors() == ["shifted"]
    reasons = {node.op_type: reason for node, reason in choice.kept}
    assert "rounded once" in reasons["Add"]


def test_a_function_of_floats_is_rounded_once_behind_it() -> None:
    """SiLU of what a normalization delivers: nothing is rounded before it."""
    text = """
        g (float[1,4,6] x) => (float[1,3,6] y) {
            n = InstanceNormalization(x, ones, zeros)  scaled = Mul(n, gamma)
            gate = Sigmoid(scaled)  s = Mul(scaled, gate)  y = Conv(s, w)
        }
    """
    weights = {
        "ones": np.ones(4, np.float32), "zeros": np.zeros(4, np.float32),
        "gamma": random(4, 1), "w": random(3, 4, 1),
    }  # fmt: skip
    choice = choose_precision(model(text, 13, **weights), None)
    assert [unit.node.op_type for unit in choice.units] == ["Conv"]
    assert choice.tensors() == ["s"]
    reasons = {node.outputs[0].name: reason for node, reason in choice.kept}
    assert reasons["s"] == "it is a function of floats: they are rounded once, behind it"


def test_what_scales_codes_stays_eight_bit() -> None:
    text = """
        g (float[1,4,6] x) => (float[1,3,6] y) {
            c = Conv(x, v)  scaled = Mul(c, gamma)  y = Conv(scaled, w)
        }
    """
    weights = {"gamma": random(4, 1), "v": random(4, 4, 1), "w": random(3, 4, 1)}
    choice = choose_precision(model(text, 13, **weights), None)
    assert [unit.node.op_type for unit in choice.units] == ["Conv", "Mul", "Conv"]
