"""Judging: what a trained head says of photos that it did not learn from, and that files agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from q8tool.engine.session import Session
from q8tool.errors import Q8Error
from q8tool.image.load import decode_photo
from q8tool.model.head import Head
from q8tool.passes.attach_head import attach_head
from q8tool.passes.cut_at_features import FEATURES
from q8tool.pipelines.backbone import Backbone
from q8tool.pipelines.preprocessing import first_of_batch, photo_feeds
from q8tool.pipelines.retrain_photos import DataSet
from q8tool.pipelines.retrain_report import Verdict
from q8tool.train.scores import Scores, doubtful_labels, score_answers

__all__ = ["Judged", "find_doubts", "judge", "prove"]

Array = NDArray[Any]

# Of a head that stands alone; any from 13 on will do.
OPSET, IR_VERSION = 17, 8
MOST_DOUBTS = 50
# Photos on which the whole model must say what its parts said.
PROVEN_PHOTOS = 3
PROVEN_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Judged:
    """What one form says of the test photos, float32 (N, K), and how good that is.

    scores   None without test photos
    wrong    photos with another answer than their label, the one with the greatest loss first
    """

    indices: Sequence[int]
    answers: Array
    scores: Scores | None
    wrong: Sequence[Verdict]


def judge(data: DataSet, features: Array, head: Head, is_eight_bit: bool, most: int) -> Judged:
    """The head on the test photos' features, float32 (N, D), run by our own engine.

    most   so many photos at most judge, those whose contents hash lowest; below 0: all
    """
    indices = data.indices("test")
    if 0 <= most < len(indices):
        places = sorted(range(len(indices)), key=lambda place: data.digests[indices[place]])
        chosen = sorted(places[: max(1, most)])
        indices, features = [indices[place] for place in chosen], features[chosen]
    if not indices:
        return Judged([], np.empty((0, len(data.labels)), np.float32), None, [])
    model = _head_alone(head, features.shape[1], len(data.labels), is_eight_bit)
    answers = Session(model).run({FEATURES: features})["head"]
    truth = np.array([data.photos[index].label for index in indices])
    loss = -np.log(np.maximum(answers[np.arange(len(truth)), truth], 1e-30))
    wrong = [
        _verdict(data, indices[place], answers[place])
        for place in np.argsort(-loss, kind="stable")
        if answers[place].argmax() != truth[place]
    ]
    return Judged(indices, answers, score_answers(answers, truth, data.labels), wrong)


def find_doubts(data: DataSet, unseen: Array, judged: Judged) -> list[Verdict]:
    """Photos of all parts that may be in the wrong folder, surest first.

    unseen   probabilities of the training and then the validation photos, as if left out
    """
    used = [*data.indices("training"), *data.indices("validation")]
    indices = [*used, *judged.indices]
    answers = np.concatenate([unseen[: len(used)], judged.answers])
    truth = np.array([data.photos[index].label for index in indices])
    found = doubtful_labels(answers, truth)[:MOST_DOUBTS]
    return [_verdict(data, indices[place], answers[place]) for place in found]


def prove(model: ir.Model, judged: Judged, data: DataSet, backbone: Backbone) -> None:
    """The whole model must say what backbone and head said one after the other.

    Raises Q8Error, naming a photo, if it does not.
    """
    session = Session(model, threads=1)
    for index, wanted in list(zip(judged.indices, judged.answers, strict=True))[:PROVEN_PHOTOS]:
        content = data.photos[index].path.read_bytes()
        photo = decode_photo(content, data.file(index), backbone.spec.size)
        feeds = photo_feeds(photo, backbone.input, backbone.spec)
        actual = first_of_batch(next(iter(session.run(feeds).values())), backbone.input)
        if not np.allclose(actual, wanted, atol=PROVEN_TOLERANCE):
            raise Q8Error(
                f"{data.file(index)}: the model says something else than its parts did; nothing "
                "was written",
                "this is a bug of q8tool; please report it with the base",
            )


def _head_alone(head: Head, width: int, count: int, is_eight_bit: bool) -> ir.Model:
    """The head as a model of its own, from features to probabilities."""
    value = ir.Value(
        name=FEATURES, shape=ir.Shape(["N", width]), type=ir.TensorType(ir.DataType.FLOAT)
    )
    graph = ir.Graph([value], [value], nodes=[], opset_imports={"": OPSET}, name="head")
    model = ir.Model(graph, ir_version=IR_VERSION)
    attach_head(model, head, "head", count, is_eight_bit=is_eight_bit)
    return model


def _verdict(data: DataSet, index: int, answer: Array) -> Verdict:
    label, best = data.photos[index].label, int(answer.argmax())
    return Verdict(
        data.file(index), data.labels[label], data.labels[best],
        float(answer[best]), float(answer[label]), data.parts[index],
    )  # fmt: skip
