"""The part of docs/ops.md on the operators of onnxruntime: what each becomes, whether C runs it.

A test holds the table to what q8tool.model.foreign reads; that answers are onnxruntime's is for
tests/engine/test_foreign_*.py.
"""

from q8tool.ops.registry import row

__all__ = ["BECOMES", "foreign_section"]

_CODES = "DequantizeLinear {} QuantizeLinear"
_NORMALIZED = "ReduceMean Sub Mul Add Sqrt Div"
_ATTENTION = "MatMul Mul Add Softmax Transpose Reshape"

BECOMES: dict[str, str] = {
    "Attention": _ATTENTION,
    "BiasGelu": "Add Erf Mul",
    "DequantizeLinear": "DequantizeLinear",
    "DynamicQuantizeLSTM": "DequantizeLinear LSTM",
    "DynamicQuantizeMatMul": "DynamicQuantizeLinear MatMulInteger Cast Mul Add",
    "EmbedLayerNormalization": f"Gather Add {_NORMALIZED}",
    "FastGelu": "Add Tanh Mul",
    "FusedConv": "Conv Add Relu",
    "FusedGemm": "Gemm Relu",
    "FusedMatMul": "Transpose MatMul Mul",
    "GatherBlockQuantized": "Gather DequantizeLinear",
    "Gelu": "Erf Mul Add",
    "MatMulBnb4": "MatMul",
    "MatMulIntegerToFloat": "MatMulInteger Cast Mul Add",
    "MatMulNBits": "DequantizeLinear MatMul",
    "QAttention": f"DynamicQuantizeLinear MatMulInteger Cast {_ATTENTION}",
    "QEmbedLayerNormalization": f"Gather DequantizeLinear Add {_NORMALIZED}",
    "QGemm": _CODES.format("Gemm"),
    "QLinearAdd": _CODES.format("Add"),
    "QLinearAveragePool": _CODES.format("AveragePool"),
    "QLinearConcat": _CODES.format("Concat"),
    "QLinearGlobalAveragePool": _CODES.format("GlobalAveragePool"),
    "QLinearLeakyRelu": _CODES.format("LeakyRelu"),
    "QLinearMul": _CODES.format("Mul"),
    "QLinearSigmoid": _CODES.format("Sigmoid"),
    "QLinearSoftmax": _CODES.format("Softmax"),
    "QLinearWhere": _CODES.format("Where"),
    "QuantizeLinear": "QuantizeLinear",
    "QuickGelu": "Mul Sigmoid",
    "SkipLayerNormalization": f"Add {_NORMALIZED}",
}
"""Operator of com.microsoft -> the standard's operators that stand for it."""


def foreign_section() -> str:
    """Heading, what it is about, the table."""
    lines = [
        "## Operators of onnxruntime (com.microsoft)",
        "",
        "Its quantizer and its graph optimizer write them. Each is read as the operators of the",
        "standard that mean the same, and runs as those do: codes in the eight-bit kernels.",
        "Forms with `channels_last` are not read. QLinearConv, QLinearMatMul, MatMulInteger and",
        "ConvInteger are the standard's own, above.",
        "",
        "| operator | is read as | runs |",
        "|---|---|---|",
    ]
    for name, standard in sorted(BECOMES.items()):
        left = [op for op in standard.split() if not _is_native(op)]
        runs = "C" if not left else f"C, but {', '.join(left)} on the host"
        lines.append(f"| {name} | {standard.replace(' ', ', ')} | {runs} |")
    return "\n".join(lines)


def _is_native(operator: str) -> bool:
    known = row("", operator)
    return known is not None and known.native
