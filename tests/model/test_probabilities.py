"""Which outputs are probabilities: what operators say, not what numbers look like."""

import pytest

from q8tool.model.probabilities import gives_probabilities
from tests.graphs import f32, i64, model, u8

HEAD = "g (float[1,3] x) => (float[1,3] y) { "


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Softmax(x)", True),
        ("y = Sigmoid(x)", True),
        ("y = HardSigmoid(x)", True),
        ("s = Softmax(x) r = Reshape(s, shape) y = Identity(r)", True),
        ("s = Softmax(x) q = QuantizeLinear(s, scale, zero) y = DequantizeLinear(q, scale, zero)",
         True),
        ("y = LogSoftmax(x)", False),
        ("s = Softmax(x) y = Neg(s)", False),
        ("s = Softmax(x) y = Add(s, x)", False),
        ("y = Identity(x)", False),
    ],
)  # fmt: skip
def test_which_outputs_are_probabilities(nodes: str, expected: bool) -> None:
    weights = {"shape": i64([1, 3]), "scale": f32(1 / 256), "zero": u8(0)}
    graph = model(f"{HEAD}{nodes} }}", **{k: v for k, v in weights.items() if k in nodes})
    assert gives_probabilities(graph.graph.outputs[0]) is expected
