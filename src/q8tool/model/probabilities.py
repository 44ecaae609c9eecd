"""Which outputs of a model are probabilities, as its operators say."""

import onnx_ir as ir

__all__ = ["gives_probabilities"]

_PROBABILITY_OPS = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
# What may stand between the operator that makes probabilities and the output.
_PASSING_OPS = frozenset(
    {
        "Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip


def gives_probabilities(output: ir.Value) -> bool:
    """Whether the value comes from Softmax or a sigmoid, through data movement or conversions.

    The numbers alone do not tell: rounded to eight bits, a thousand small ones may sum to 0.6.
    """
    node = output.producer()
    while node is not None and node.op_type in _PASSING_OPS:
        source = node.inputs[0] if node.inputs else None
        node = source.producer() if source is not None else None
    return node is not None and node.op_type in _PROBABILITY_OPS
