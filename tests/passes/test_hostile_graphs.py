"""Graphs that make no sense: the passes leave them or refuse them, and never crash or hang."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest

from q8tool.errors import InputError
from q8tool.model import io
from q8tool.model.check import check
from q8tool.passes.set_inference_mode import set_inference_mode
from q8tool.passes.simplify import simplify
from tests.graphs import f32, i64, proto, random

TEXT = """g (float[N,3,8,8] x) => (float[N,K] y) {
    c = Conv<pads=[1,1,1,1]>(x, w)  n = BatchNormalization(c, s, b, m, v)
    u = ConvTranspose<strides=[2,2]>(n, t)  p = Mul(u, k)  r = Relu(p)  d = Dropout(r, h)
    a = Shape(d)  f = Gather(a, zero)  e = Concat<axis=0>(f, rest)  q = Reshape(d, e)
    o = ConstantOfShape<value=float[1]{2.0}>(big)  j = Expand(h, f)  g = Gemm(q, l, o)
    y = Identity(g) }"""
OPS = ["Conv", "Gemm", "Reshape", "Shape", "Concat", "Expand", "Slice", "Split", "Identity",
       "Dropout", "Transpose", "Cast", "QuantizeLinear", "ConvTranspose", "Unsqueeze"]  # fmt: skip
NUMBERS = [-1, 0, 1, 7, 2**31, 2**62, -(2**63)]


def seed_model() -> onnx.ModelProto:
    return proto(
        TEXT, w=random(4, 3, 3, 3), s=random(4), b=random(4), m=random(4), v=random(4, low=0.5),
        t=random(4, 5, 2, 2), k=f32(2), h=f32(0.5), zero=i64([0]), rest=i64([-1]), big=i64([6]),
        l=random(1280, 6),
    )  # fmt: skip


def mutate(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    node = model.graph.node[generator.integers(len(model.graph.node))]
    names = [value.name for value in model.graph.initializer] + ["x", "", "c", "a", "d", "e"]
    kind = generator.integers(5)
    if kind == 0:
        node.op_type = str(generator.choice(OPS))
    elif kind == 1 and node.input:
        node.input[generator.integers(len(node.input))] = str(generator.choice(names))
    elif kind == 2 and node.input:
        del node.input[-1]
    elif kind == 3:
        for attribute in node.attribute:
            attribute.i = int(generator.choice(NUMBERS))
            for index in range(len(attribute.ints)):
                attribute.ints[index] = int(generator.choice(NUMBERS))
    else:
        weight = model.graph.initializer[generator.integers(len(model.graph.initializer))]
        weight.raw_data = generator.bytes(len(weight.raw_data))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("seed", range(60))
def test_mutated_graphs(seed: int, tmp_path: Path) -> None:
    made, generator = seed_model(), np.random.default_rng(seed)
    for _ in range(generator.integers(1, 4)):
        mutate(made, generator)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    with suppress(InputError):
        graph = io.load(tmp_path / "m.onnx")
        set_inference_mode(graph)
        simplify(graph)
        check(graph)
