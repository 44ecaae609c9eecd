"""Which outputs of a model are probabilities, as its operators say."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["gives_probabilities", "is_probability"]

_PROBABILITY_OPS = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
# What may stand between the operator that makes probabilities and the output.
_PASSING_OPS = frozenset(
    {
        "Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip

Value = TypeVar("Value")


def gives_probabilities(output: "ir.Value") -> bool:
    """is_probability for a value of a model."""

    def maker(value: "ir.Value") -> "tuple[str, ir.Value | None] | None":
        node = value.producer()
        if node is None:
            return None
        return node.op_type, node.inputs[0] if node.inputs else None

    return is_probability(output, maker)


def is_probability(
    output: Value, maker: Callable[[Value], tuple[str, Value | None] | None]
) -> bool:
    """Whether the value comes from Softmax or a sigmoid, through data movement or conversions.

    maker  gives the operator that computes a value and its first input, None if none does

    The numbers alone do not tell: rounded to eight bits, a thousand small ones may sum to 0.6.
    """
    made = maker(output)
    while made is not None and made[0] in _PASSING_OPS:
        made = None if made[1] is None else maker(made[1])
    return made is not None and made[0] in _PROBABILITY_OPS
