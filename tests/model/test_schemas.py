"""The table of operators against the standard's own library."""

from collections.abc import Sequence

import onnx
import pytest

from q8tool.model.schema_table import TABLE
from q8tool.model.schemas import Schema, is_regular, schema

KINDS = {"FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "FLOATS": "F", "INTS": "I",
         "STRINGS": "S"}  # fmt: skip
OPTIONS = {"Single": "x", "Optional": "?", "Variadic": "*"}
OPERATORS = sorted({line.split()[0] for line in TABLE.strip().splitlines() if line[0] != " "})


def options(parameters: "Sequence[onnx.defs.OpSchema.FormalParameter]") -> str:
    return "".join(OPTIONS[str(parameter.option).split(".")[-1]] for parameter in parameters)


def kind_of(attribute: "onnx.defs.OpSchema.Attribute") -> str:
    return KINDS.get(str(attribute.type).split(".")[-1], "-")


@pytest.mark.parametrize("op_type", OPERATORS)
def test_every_version_is_as_onnx_has_it(op_type: str) -> None:
    for opset in range(7, onnx.defs.onnx_opset_version() + 1):
        found = schema(op_type, opset)
        if not onnx.defs.has(op_type, opset):
            assert found is None
            continue
        known = onnx.defs.get_schema(op_type, opset)
        if known.deprecated:
            assert found is None
            continue
        attributes = known.attributes.items()
        assert found == Schema(
            options(known.inputs), known.min_input, options(known.outputs), known.min_output,
            {name: kind_of(attribute) for name, attribute in attributes},
            frozenset(name for name, attribute in attributes if attribute.required),
        )  # fmt: skip


def test_an_operator_that_nobody_knows() -> None:
    assert schema("Frobnicate", 17) is None
    assert schema("Mish", 17) is None  # since 18


@pytest.mark.parametrize(
    ("op_type", "inputs", "outputs", "attributes", "expected"),
    [
        ("Conv", ["x", "w"], ["y"], [("strides", "I")], True),
        ("Conv", ["x"], ["y"], [], False),
        ("Conv", ["x", ""], ["y"], [], False),
        ("Conv", ["x", "w", "b", "c"], ["y"], [], False),
        ("Conv", ["x", "w"], ["y"], [("strides", "i")], False),
        ("Conv", ["x", "w"], ["y"], [("stride", "I")], False),
        ("Conv", ["x", "w"], [""], [], False),
        ("Clip", ["x", "", "high"], ["y"], [], True),
        ("Concat", ["a", "b", "c"], ["y"], [("axis", "i")], True),
        ("Concat", ["a", "b"], ["y"], [], False),
        ("Concat", ["a", ""], ["y"], [("axis", "i")], False),
        ("Split", ["x"], ["a", "b", "c"], [], True),
        ("Dropout", ["x"], ["y", "mask"], [], False),
    ],
)
def test_nodes(
    op_type: str,
    inputs: list[str],
    outputs: list[str],
    attributes: list[tuple[str, str]],
    expected: bool,
) -> None:
    known = schema(op_type, 13)
    assert known is not None
    assert is_regular(known, inputs, outputs, attributes) is expected
