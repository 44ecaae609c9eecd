"""One row per operator: how it is quantized, what its output range is, whether C runs it.

The quantizer reads `quantization` and `output_range`; a test holds `native` to the lowerings of
the engine. An operator without a row runs on the host, in float.

    weights   constant weights become int8 per channel, the bias int32 (Conv, Gemm, MatMul ...)
    same      data movement and maxima: the output has the input's scale and zero point
    table     one input, elementwise: a table of 256 entries, its output has a scale of its own
    binary    two inputs with a scale each, an output with its own
    concat    like "same", but the inputs may bring different scales
    pool      an average: a scale of its own, never wider than the input's
    none      stays float
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = [
    "OWN_DOMAIN",
    "RANDOM_OPS",
    "OpRow",
    "Quantization",
    "known_range",
    "leaves_range",
    "row",
    "rows",
]

RANDOM_OPS = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Operators that draw at random: what they compute is never constant."""

OWN_DOMAIN = "q8tool"
"""Of operators that only models in memory have: no file that q8tool writes."""

Quantization = Literal["weights", "same", "table", "binary", "concat", "pool", "none"]
Bounds = tuple[float | None, float | None]


class OpRow(NamedTuple):
    """What is known of one operator.

    op_type, domain  its name; domain "" is the standard's
    quantization     see the table above
    output_range     lowest and highest value by what it computes (None: unknown end), or a
                     function of the node that says so
    native           True if the engine has a C lowering for it (which may still decline a node)
    """

    op_type: str
    domain: str
    quantization: Quantization
    output_range: Bounds | Callable[["ir.Node"], Bounds] | None
    native: bool


def row(domain: str, op_type: str) -> OpRow | None:
    """The row of an operator, None if it has none. Domain "ai.onnx" counts as ""."""
    return _ROWS.get(("" if domain == "ai.onnx" else domain, op_type))


def rows() -> list[OpRow]:
    """All rows, in the order of the table."""
    return list(_ROWS.values())


def known_range(node: "ir.Node") -> Bounds:
    """The lowest and highest value of the node's first output that the operator itself implies.

    None for an end that depends on the data. Relu gives (0, None), Softmax (0, 1). Ends are finite.
    """
    found = row(node.domain, node.op_type)
    if found is None or found.output_range is None:
        return None, None
    bounds = found.output_range
    low, high = bounds(node) if callable(bounds) else bounds
    return _if_finite(low), _if_finite(high)


def _if_finite(end: float | None) -> float | None:
    return end if end is not None and math.isfinite(end) else None


def leaves_range(node: "ir.Node") -> bool:
    """True for data movement whose results may lie beyond its input's range: cubic Resize."""
    if node.op_type not in ("Resize", "Upsample"):
        return False
    mode = node.attributes.get_string("mode", "nearest")
    place = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return mode == "cubic" or place == "tf_crop_and_resize"


def _clip_range(node: "ir.Node") -> Bounds:
    """Clip's bounds: attributes up to opset 10, constant inputs from opset 11."""
    import onnx_ir as ir

    ends: list[float | None] = []
    for position, name in ((1, "min"), (2, "max")):
        if name in node.attributes:
            ends.append(node.attributes[name].as_float())
            continue
        value = node.inputs[position] if len(node.inputs) > position else None
        tensor = None if value is None else ir.convenience.get_const_tensor(value)
        ends.append(None if tensor is None or tensor.size != 1 else float(tensor.numpy().item()))
    low, high = ends
    # By the standard all is the upper end where the lower one is above it.
    return (high if low is not None and high is not None and low > high else low), high


def _elu_range(node: "ir.Node") -> Bounds:
    """-alpha upwards."""
    alpha = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 1.0
    return -alpha, None


_RANGES: dict[str, Bounds | Callable[["ir.Node"], Bounds]] = {
    "Relu": (0.0, None),
    "Clip": _clip_range,
    "Elu": _elu_range,
    "Sigmoid": (0.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "LogSoftmax": (None, 0.0),
    "Tanh": (-1.0, 1.0),
    "Erf": (-1.0, 1.0),
    "Sin": (-1.0, 1.0),
    "Cos": (-1.0, 1.0),
    "Softsign": (-1.0, 1.0),
    "Exp": (0.0, None),
    "Sqrt": (0.0, None),
    "Abs": (0.0, None),
    "Softplus": (0.0, None),
    "HardSwish": (-0.375, None),
    "Gelu": (-0.17, None),
    "Mish": (-0.309, None),
    "ReduceSumSquare": (0.0, None),
}

# Operators by how they are quantized; those before the bar have a C lowering.
_NAMES: dict[Quantization, str] = {
    "weights": "Conv ConvTranspose Gemm MatMul |",
    "same": (
        "MaxPool Reshape Flatten Squeeze Unsqueeze Identity Dropout Transpose Slice Split Pad "
        "Expand Tile Gather DepthToSpace SpaceToDepth Resize Upsample GlobalMaxPool "
        "ReverseSequence |"
    ),
    "table": (
        "Relu Clip Sigmoid Tanh HardSigmoid HardSwish LeakyRelu Elu Gelu Erf Exp Log Sqrt Neg Abs "
        "Reciprocal Softplus Floor Ceil Round Swish "
        "Selu Celu Mish Softsign ThresholdedRelu Sin Cos Sign |"
    ),
    "binary": "Add Sub Mul PRelu |",
    "concat": "Concat |",
    "pool": "AveragePool GlobalAveragePool ReduceMean |",
    "none": (
        "Div Pow Min Max Sum Mean Softmax LogSoftmax LayerNormalization BatchNormalization "
        "InstanceNormalization GroupNormalization LRN "
        "ReduceSum ReduceMax ReduceMin ReduceSumSquare ArgMax Cast "
        "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul "
        "ConvInteger MatMulInteger LSTM GRU RNN "
        "CumSum GridSample ArgMin ReduceL1 ReduceL2 ReduceLogSum TopK GatherElements GatherND "
        "Scatter ScatterElements ScatterND Where Trilu Equal Less LessOrEqual Greater "
        "GreaterOrEqual And Or Xor Not IsNaN CastLike Mod BitwiseAnd BitwiseOr BitwiseXor "
        "BitwiseNot |"
    ),
}


def _table() -> dict[tuple[str, str], OpRow]:
    """Both tables above as rows."""
    table = {}
    for quantization, names in _NAMES.items():
        for native, part in zip((True, False), names.split("|"), strict=True):
            for name in part.split():
                bounds = _RANGES.get(name)
                table["", name] = OpRow(name, "", quantization, bounds, native)
    for name in ("Ends", "Histogram"):
        table[OWN_DOMAIN, name] = OpRow(name, OWN_DOMAIN, "none", None, native=True)
    return table


_ROWS = _table()
