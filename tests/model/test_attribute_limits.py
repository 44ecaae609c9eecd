"""What no node can have, and what each of onnx's own cases has."""

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases

from q8tool.model.attribute_limits import absurd_attribute, has_absurd_attribute


@pytest.mark.parametrize(
    ("op_type", "attributes", "outputs", "absurd"),
    [
        ("Softmax", {"axis": -4}, 1, False),
        ("Softmax", {"axis": 2**31}, 1, True),
        ("Transpose", {"perm": (1, 0)}, 1, False),
        ("Transpose", {"perm": [1, -(2**63)]}, 1, True),
        ("GatherND", {"batch_dims": 2}, 1, False),
        ("GatherND", {"batch_dims": -1}, 1, True),
        ("Einsum", {"equation": "b...i, ij -> b...j"}, 1, False),
        ("Einsum", {"equation": "...."}, 1, True),
        ("Split", {"num_outputs": 3}, 3, False),
        ("Split", {"num_outputs": 2}, 3, True),
        ("Split", {"num_outputs": 2**31}, 3, True),
        ("Split", {"num_outputs": [3]}, 3, True),
        ("Scan", {"num_scan_inputs": 2}, 1, False),
        ("Scan", {"num_scan_inputs": 3}, 1, True),
        ("Scan", {"num_scan_inputs": 0}, 1, True),
    ],
)
def test_single_attributes(
    op_type: str, attributes: dict[str, Any], outputs: int, absurd: bool
) -> None:
    found = absurd_attribute(op_type, attributes, 2, outputs)
    assert found == (next(iter(attributes)) if absurd else None)


def test_no_case_of_the_standard_is_absurd() -> None:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases: list[Any] = collect_testcases(None)
    models = [case.model for case in cases if case.model is not None]
    assert len(models) > 1000
    assert not [model.graph.name for model in models if has_absurd_attribute(model)]


def test_nodes_inside_of_bodies_count() -> None:
    body = onnx.parser.parse_graph("b () => (float y) { y = Softmax<axis = 99>(x) }")
    node = onnx.helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
    graph = onnx.helper.make_graph([node], "g", [], [])
    assert has_absurd_attribute(onnx.helper.make_model(graph))
