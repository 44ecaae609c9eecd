"""All lowerings by operator, and the walk from a graph to steps.

A family's module is imported when the first of its operators is lowered: most models have few.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence

from q8tool.engine.facts import Fact
from q8tool.engine.graph import Graph, Node
from q8tool.engine.lowering import Lowering, LoweringFunction
from q8tool.ops.registry import OWN_DOMAIN

__all__ = ["COMPUTING", "LOWERINGS", "MOVING", "new_lowering"]

# The operators of each module lower_<family>.py; a test holds them to its LOWERINGS.
_FAMILIES = {
    "arithmetic": "Mod BitwiseAnd BitwiseOr BitwiseXor BitwiseNot",
    "choice": "Where Trilu",
    "comparison": ("Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor Not IsNaN"),
    "concat": "Concat",
    "conv": "Conv ConvTranspose",
    "elementwise": (
        "Sigmoid Tanh Exp Log Sqrt Neg Abs Erf Reciprocal LeakyRelu Elu HardSigmoid HardSwish "
        "Softplus Floor Ceil Round Sin Cos Relu Clip Gelu Swish Selu Celu Mish Softsign Sign "
        "ThresholdedRelu Add Sub Mul Div Pow Min Max Sum Mean BatchNormalization PRelu"
    ),
    "float": (
        "Softmax LogSoftmax LayerNormalization ReduceSum ReduceMean ReduceMax ReduceMin "
        "ReduceSumSquare ReduceL1 ReduceL2 ReduceLogSum ArgMax ArgMin Cast CastLike"
    ),
    "integer": "QLinearConv QLinearMatMul ConvInteger MatMulInteger",
    "lookup": "GatherElements GatherND Scatter ScatterElements ScatterND",
    "matmul": "Gemm MatMul",
    "movement": (
        "Reshape Flatten Squeeze Unsqueeze Identity Dropout Transpose Slice Split Pad Expand Tile "
        "Gather DepthToSpace SpaceToDepth"
    ),
    "normalization": "InstanceNormalization GroupNormalization LRN",
    "pool": "MaxPool GlobalMaxPool AveragePool GlobalAveragePool",
    "quantize": "QuantizeLinear DequantizeLinear DynamicQuantizeLinear",
    "recurrent": "LSTM GRU RNN",
    "resize": "Resize Upsample",
    "sampling": "GridSample",
    "sequence": "ReverseSequence",
    "top": "CumSum TopK",
}
_FAMILY_OF = {
    ("", op_type): family for family, names in _FAMILIES.items() for op_type in names.split()
}
_FAMILY_OF.update({(OWN_DOMAIN, op_type): "float" for op_type in ("Ends", "Histogram")})


class _Lowerings(Mapping[tuple[str, str], LoweringFunction]):
    """Domain and name of an operator -> its lowering, whose module is imported for it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], LoweringFunction] = {}

    def __getitem__(self, operator: tuple[str, str]) -> LoweringFunction:
        if operator not in self._found:
            module = importlib.import_module(f"q8tool.engine.lower_{_FAMILY_OF[operator]}")
            self._found[operator] = module.LOWERINGS[operator[1]]
        return self._found[operator]

    def __contains__(self, operator: object) -> bool:
        return operator in _FAMILY_OF

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(_FAMILY_OF)

    def __len__(self) -> int:
        return len(_FAMILY_OF)


LOWERINGS = _Lowerings()
# Softmax rounds after each of its steps where it works in half floats; Cast is what others need.
COMPUTING = LOWERINGS.keys() - {
    ("", "Cast"), ("", "CastLike"), ("", "Softmax"), ("", "LogSoftmax"), (OWN_DOMAIN, "Ends"),
    (OWN_DOMAIN, "Histogram"),
}  # fmt: skip
"""Operators that do in float32 what they do in half floats, but for one rounding at the end."""
MOVING = frozenset(
    operator
    for operator, family in _FAMILY_OF.items()
    if family in ("choice", "concat", "lookup", "movement", "sequence")
)
"""Operators that give the values of their inputs, unchanged."""


def new_lowering(
    graph: Graph, facts: Mapping[str, Fact], kept: Sequence[str], refused: Mapping[Node, str]
) -> Lowering:
    """A lowering that is ready to run; nodes in `refused` go to the host for the reason given."""
    lowering = Lowering(graph, facts, kept, LOWERINGS, refused)
    if any(node.op_type == "DequantizeLinear" for node in graph.nodes):
        from q8tool.engine.lower_quantize import note_quantized_constants

        note_quantized_constants(lowering)
    return lowering
