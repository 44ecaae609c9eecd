"""LSTM, GRU and RNN in C, against onnxruntime and, where that refuses them, our host operators."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from q8tool import Session
from q8tool.errors import InputError
from q8tool.ops.recurrent import GRU, LSTM, RNN
from tests.graphs import run
from tests.native.one_step import ISAS
from tests.recurrent import (
    BACK,
    BOTH,
    GATES,
    SIZES,
    lengths_of,
    recurrent,
    sequences,
    with_codes,
)

Sizes = tuple[int, int, int, int]


@st.composite
def cases(draw: st.DrawFn) -> tuple[onnx.ModelProto, Sizes]:
    """Any options and attributes that onnxruntime takes."""
    op = draw(st.sampled_from(sorted(GATES)))
    steps, batch, inputs, hidden = (draw(st.integers(1, most)) for most in (5, 30, 6, 140))
    sizes = (steps, batch, inputs, hidden)
    options = "".join(draw(st.lists(st.sampled_from("blhp"), unique=True, max_size=4)))
    attributes: dict[str, Any] = draw(st.sampled_from([{}, BOTH, BACK]))
    if op == "GRU":
        attributes = {**attributes, "linear_before_reset": draw(st.integers(0, 1))}
    if op == "LSTM":
        attributes = {**attributes, "input_forget": draw(st.integers(0, 1))}
    if draw(st.booleans()):
        attributes = {**attributes, "clip": draw(st.sampled_from([0.3, 2.0]))}
    options = options if op == "LSTM" else options.replace("p", "")
    return recurrent(op, options, sizes, **attributes), sizes


@given(cases(), st.sampled_from(ISAS))
@settings(max_examples=120, deadline=None, derandomize=True)
def test_any_options(case: tuple[onnx.ModelProto, Sizes], isa: str) -> None:
    model, sizes = case
    x = sequences(sizes)
    found = Session(model, isa=isa, strict=True).run({"x": x})
    for value, wanted in zip(found.values(), run(model, x=x), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-5)


@given(cases(), st.sampled_from(ISAS))
@settings(max_examples=120, deadline=None, derandomize=True)
def test_weights_of_eight_bits(case: tuple[onnx.ModelProto, Sizes], isa: str) -> None:
    """Integer products, of states in two digits: next to nothing is lost beside the weights."""
    model, sizes = with_codes(case[0]), case[1]
    x = sequences(sizes)
    session = Session(model, isa=isa, strict=True)
    assert " s8 " in session.explain()[-1].kernel
    for value, wanted in zip(session.run({"x": x}).values(), run(model, x=x), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=5e-4)


@pytest.mark.parametrize(
    ("op", "activations"),
    [
        ("LSTM", ["HardSigmoid", "Relu", "Softplus"]),
        ("LSTM", ["sigmoid", "TANH", "Tanh"]),
        ("GRU", ["HardSigmoid", "LeakyRelu"]),
        ("GRU", ["HardSigmoid", "Elu"]),
        ("RNN", ["Affine"]),
        ("RNN", ["Relu"]),
    ],
)
def test_activations(op: str, activations: list[str]) -> None:
    numbers: dict[str, Any] = {"activation_alpha": [0.3, 0.4], "activation_beta": [0.2, 0.1]}
    given_ = {} if activations[0].lower() in ("sigmoid", "relu") else numbers
    model = recurrent(op, "b", activations=activations, **given_)
    found = Session(model, strict=True).run({"x": sequences()})
    for value, wanted in zip(found.values(), run(model, x=sequences()), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("options", ["b", "blh"])
@pytest.mark.parametrize("direction", [{}, BOTH, BACK], ids=["forward", "both", "back"])
def test_the_batch_may_come_first(op: str, options: str, direction: dict[str, Any]) -> None:
    """onnxruntime refuses layout 1."""
    model = recurrent(op, options, layout=1, **direction)
    x = sequences().swapaxes(0, 1).copy()
    found = Session(model, strict=True).run({"x": x})
    wanted: Any = ReferenceEvaluator(model, new_ops=[GRU, LSTM, RNN]).run(None, {"x": x})
    for value, expected in zip(found.values(), wanted, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [7, 13, 22])
@pytest.mark.parametrize("op", GATES)
def test_opsets(op: str, opset: int) -> None:
    model = recurrent(op, "bl", opset=opset)
    found = Session(model, strict=True).run({"x": sequences()})
    wanted = run(recurrent(op, "bl"), x=sequences())
    np.testing.assert_allclose(found["y"], wanted[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_code", [False, True])
@pytest.mark.parametrize(("op", "late"), [("LSTM", 0), ("GRU", 0), ("GRU", 1), ("RNN", 0)])
def test_same_bytes_everywhere(op: str, late: int, is_code: bool) -> None:
    """Whatever the instruction set and the number of threads."""
    sizes = (6, 40, 9, 150)
    attributes = {"linear_before_reset": 1} if late else {}
    model = recurrent(op, "blh", sizes, **BOTH, **attributes)
    model = with_codes(model) if is_code else model
    x = sequences(sizes)
    wanted = Session(model, isa="scalar", threads=1).run({"x": x})
    for isa in ISAS:
        for threads in (1, 2, 5):
            found = Session(model, isa=isa, threads=threads).run({"x": x})
            for name, value in found.items():
                np.testing.assert_array_equal(value, wanted[name])


def with_lengths_as_input(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    kept = [item for item in model.graph.initializer if item.name != "l"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    info = onnx.helper.make_tensor_value_info("l", onnx.TensorProto.INT32, [batch])
    model.graph.input.append(info)
    return model


def test_lengths_of_the_run() -> None:
    model = with_lengths_as_input(recurrent("LSTM", "bl", **BOTH), SIZES[1])
    session = Session(model, strict=True)
    lengths = lengths_of(SIZES[0], SIZES[1])
    found = session.run({"x": sequences(), "l": lengths})
    wanted = run(recurrent("LSTM", "bl", **BOTH), x=sequences())
    np.testing.assert_allclose(found["y"], wanted[0], rtol=1e-4, atol=1e-5)
    for wrong in (-1, SIZES[0] + 1):
        with pytest.raises(InputError, match="length of a sequence"):
            session.run({"x": sequences(), "l": np.full(SIZES[1], wrong, np.int32)})
    empty = session.run({"x": sequences(), "l": np.zeros(SIZES[1], np.int32)})
    assert not any(value.any() for value in empty.values())


def test_the_number_of_steps_may_change() -> None:
    model = recurrent("GRU", "b")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "time"
    session = Session(model)
    for steps in (1, 7, 4):
        x = sequences((steps, *SIZES[1:]))
        wanted = run(model, x=x)
        np.testing.assert_allclose(session.run({"x": x})["y"], wanted[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_outputs_may_be_left_out(position: int) -> None:
    model = recurrent("LSTM", "bl")
    outputs = list(model.graph.node[0].output)
    wanted = run(model, x=sequences())[position]
    kept = outputs[position]
    model.graph.node[0].output[:] = [name if name == kept else "" for name in outputs]
    results = [item for item in model.graph.output if item.name == kept]
    del model.graph.output[:]
    model.graph.output.extend(results)
    found = Session(model, strict=True).run({"x": sequences()})
    np.testing.assert_allclose(found[kept], wanted, rtol=1e-4, atol=1e-5)


def test_half_floats_are_computed_in_float() -> None:
    model = recurrent("LSTM", "b")
    wanted = run(model, x=sequences())[0]
    for item in model.graph.initializer:
        half = onnx.numpy_helper.to_array(item).astype(np.float16)
        item.CopyFrom(onnx.numpy_helper.from_array(half, item.name))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    found = Session(model, strict=True).run({"x": sequences().astype(np.float16)})
    np.testing.assert_allclose(found["y"], wanted, atol=0.01)


def test_what_c_does_not_do_runs_on_the_host() -> None:
    """An activation without a kernel."""
    model = recurrent("RNN", "b", activations=["Softsign"])
    found = Session(model).run({"x": sequences()})
    np.testing.assert_allclose(found["y"], run(model, x=sequences())[0], rtol=1e-4, atol=1e-5)
