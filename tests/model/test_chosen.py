"""chosen_outputs: which outputs are choices, and what they are chosen from."""

import numpy as np

from q8tool.model.chosen import chosen_outputs
from tests.graphs import f32, i64, model

DETECTOR = """
    g (float[1,8,4] x, float[1,2,8] c) => (int64[n,3] found, float[1,n,4] boxes, float[1,8,4] all) {
        b = Sigmoid(x)  s = Sigmoid(c)  all = Neg(b)
        found = NonMaxSuppression(b, s, most, iou, least)
        column = Gather<axis=1>(found, two)
        boxes = Gather<axis=1>(b, column)
    }
"""
LIMITS = {"most": i64([4]), "iou": f32([0.5]), "least": f32([0.1]), "two": np.asarray(2)}


def test_boxes_are_chosen_from_boxes_and_scores() -> None:
    found = chosen_outputs(model(DETECTOR, 13, **LIMITS))
    assert found.outputs == {"found", "boxes"}
    assert found.sources == {
        "NonMaxSuppression 0, input 0": "b",
        "NonMaxSuppression 0, input 1": "s",
        "Gather 2, input 0": "b",
    }


def test_a_classifier_chooses_nothing() -> None:
    text = "g (float[1,3] x) => (float[1,3] y) { s = Softmax(x) y = Neg(s) }"
    assert not chosen_outputs(model(text)).outputs


def test_behind_layers_an_output_is_no_mere_choice() -> None:
    text = """
        g (float[1,9] x) => (float[1,3] top, int64[1,3] at, float[1,2] y) {
            s = Sigmoid(x)  top, at = TopK(s, k)  y = MatMul(top, w)
        }
    """
    found = chosen_outputs(model(text, 13, k=i64([3]), w=f32(np.ones((3, 2)))))
    assert found.outputs == {"top", "at"}
    assert found.sources == {"TopK 0, input 0": "s"}


def test_what_is_chosen_from_the_input_itself_is_compared_as_it_is() -> None:
    text = "g (float[1,9] x) => (float[1,3] top, int64[1,3] at) { top, at = TopK(x, k) }"
    assert not chosen_outputs(model(text, 13, k=i64([3]))).outputs
