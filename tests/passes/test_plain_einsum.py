"""Plain Einsum: letters become a MatMul with Transposes, with the answers of onnxruntime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from q8tool.passes.plain_einsum import plain_einsum
from tests.graphs import assert_same, model, ops, random

SIZES = dict(zip("abcdhkq", (2, 3, 4, 5, 2, 6, 7), strict=True))


def pair(equation: str) -> tuple[str, dict[str, np.ndarray]]:
    terms, _, result = equation.partition("->")
    shapes = [[SIZES[letter] for letter in term] for term in (*terms.split(","), result)]
    text = [",".join(map(str, shape)) for shape in shapes]
    graph = (
        f"g (float[{text[0]}] x, float[{text[1]}] z) => (float[{text[2]}] y) "
        f'{{ y = Einsum<equation="{equation}">(x, z) }}'
    )
    return graph, {"x": random(*shapes[0]), "z": random(*shapes[1], seed=1)}


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("ab,bc->ac", ["MatMul"]),
        ("bqhd,bkhd->bhqk", ["Transpose", "Transpose", "MatMul"]),
        ("bhqk,bkhd->bqhd", ["Transpose", "MatMul", "Transpose"]),
        ("abc,cd->abd", ["MatMul"]),
        ("dc,abc->abd", ["Transpose", "MatMul"]),
        ("ab,bc->ca", ["MatMul", "Transpose"]),
        ("bqc,bchk->bqhk", ["Reshape", "MatMul", "Shape", "Gather", "Concat", "Reshape"]),
        ("bcqhk,bdc->bdqhk", ["Reshape", "MatMul", "Shape", "Gather", "Concat", "Reshape"]),
        ("ab,ab->a", ["Einsum"]),
        ("ab,cd->abcd", ["Einsum"]),
        ("abc,abc->ab", ["Einsum"]),
        ("ab,c->ac", ["Einsum"]),
        ("abcd,bcd->a", ["Einsum"]),
    ],
)
def test_what_becomes_a_matmul(equation: str, expected: list[str]) -> None:
    graph, feeds = pair(equation)
    before = model(graph)
    before.graph[0].name = "named"
    after = before.clone()
    plain_einsum(after)
    assert ops(after) == expected
    assert "named" in {node.name for node in after.graph}
    assert_same(before, after, 1e-5, **feeds)
    assert plain_einsum(after) == []


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("...si,...id->...sd", ([2, 3, 4], [2, 4, 5]), ["MatMul"]),
        ("...si,...id->...sd", ([2, 6, 3, 4], [2, 6, 4, 5]), ["MatMul"]),
        ("...si,...id->...ds", ([2, 3, 4], [2, 4, 5]), ["MatMul", "Transpose"]),
        ("...si,...id->...sd", ([3, 4], [4, 5]), ["MatMul"]),
        ("...si,id->...sd", ([2, 3, 4], [4, 5]), ["Einsum"]),
    ],
)
def test_dimensions_of_which_nothing_is_said(
    equation: str, shapes: tuple[list[int], list[int]], expected: list[str]
) -> None:
    feeds = {"x": random(*shapes[0]), "z": random(*shapes[1], seed=1)}
    dims = ",".join(f"d{n}" for n in range(max(map(len, shapes))))
    before = model(
        f"g (float{shapes[0]} x, float{shapes[1]} z) => (float[{dims}] y) "
        f'{{ y = Einsum<equation="{equation}">(x, z) }}'
    )
    after = before.clone()
    plain_einsum(after)
    assert ops(after) == expected
    assert_same(before, after, 1e-5, **feeds)


def test_sizes_that_only_a_run_tells() -> None:
    before = model(
        "g (float[b,q,4] x, float[b,4,h,w] z) => (float[b,q,h,w] y) "
        '{ y = Einsum<equation="bqc,bchw->bqhw">(x, z) }'
    )
    after = before.clone()
    assert len(plain_einsum(after)) == 1
    assert_same(before, after, 1e-5, x=random(2, 3, 4), z=random(2, 4, 5, 6))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_equation_of_two(data: st.DataObject) -> None:
    letters = st.lists(st.sampled_from("abcdh"), min_size=1, max_size=4, unique=True)
    left, right = ("".join(data.draw(letters)) for _ in range(2))
    both = sorted({*left, *right})
    wanted = "".join(data.draw(st.lists(st.sampled_from(both), unique=True, min_size=1)))
    graph, feeds = pair(f"{left},{right}->{wanted}")
    before = model(graph)
    after = before.clone()
    plain_einsum(after)
    assert_same(before, after, 1e-5, **feeds)


@pytest.mark.parametrize("equation", ["ij,jk", "ii,ij->ij"])
def test_other_forms_stay(equation: str) -> None:
    before = model(
        "g (float[3,3] x, float[3,3] z) => (float[3,3] y) "
        f'{{ y = Einsum<equation="{equation}">(x, z) }}'
    )
    assert plain_einsum(before) == []
