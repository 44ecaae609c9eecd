"""The head: what it can tell apart, how it is chosen, that its numbers are what the nodes get."""

import numpy as np
import pytest
from numpy.typing import NDArray

from q8tool.model.head import Head
from q8tool.train.head import HeadOptions, Trained, train_head

Array = NDArray[np.float64]


def answers(head: Head, x: Array) -> Array:
    """The formula of model/head.py in float64."""
    t = np.sqrt(np.maximum(x, 0)) if head.is_root else x
    if head.hidden is not None:
        p = t @ head.hidden.projection + head.hidden.offset
        z = head.hidden.landmarks.T
        squared = ((p[:, None] - z[None]) ** 2).sum(2)
        t = np.exp(-head.hidden.narrowness * squared)
    powers = np.exp(t @ head.weights + head.bias)
    return np.asarray(powers / powers.sum(1, keepdims=True))


def rings(rng: np.random.Generator, count: int) -> tuple[Array, NDArray[np.int64]]:
    """A disk inside a ring: no plane divides them."""
    classes = np.arange(count) % 2
    angle = rng.uniform(0, 2 * np.pi, count)
    radius = np.where(classes == 0, rng.uniform(0, 1, count), rng.uniform(1.6, 2.4, count))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), classes


def trained(x: Array, classes: NDArray[np.int64], hidden: int = 1024) -> Trained:
    is_validation = np.arange(len(x)) % 5 == 0
    count = int(classes.max()) + 1
    return train_head(x.astype(np.float32), classes, is_validation, count, HeadOptions(hidden))


def test_hidden_units_tell_apart_what_no_plane_does(rng: np.random.Generator) -> None:
    x, classes = rings(rng, 300)
    new, truth = rings(rng, 200)
    bent, straight = trained(x, classes), trained(x, classes, hidden=0)
    assert (answers(bent.head, new).argmax(1) == truth).mean() > 0.97
    assert (answers(straight.head, new).argmax(1) == truth).mean() < 0.7
    assert bent.head.hidden is not None
    assert straight.head.hidden is None
    assert not bent.head.is_root


@pytest.mark.parametrize("hidden", [0, 40, 1024])
def test_the_heads_numbers_are_those_that_were_fitted(
    rng: np.random.Generator, hidden: int
) -> None:
    classes = np.arange(150) % 3
    x = np.abs(rng.normal(size=(150, 20)) + np.eye(3)[classes] @ rng.normal(size=(3, 20)))
    found = trained(x, classes, hidden=hidden)
    assert found.head.is_root
    if hidden:
        assert found.head.hidden is not None
        assert found.head.hidden.codes.shape == (20, min(hidden, 150))
        assert found.head.hidden.codes.dtype == np.int8
    # The cross-entropy that was minimized is that of the head as it is written.
    said = answers(found.head, x)
    assert (said.argmax(1) == classes).mean() > 0.8
    assert found.choice in found.tried
    assert found.choice.scores == min(choice.scores for choice in found.tried if choice.scores)


def test_left_out_answers_are_close_to_really_leaving_out(rng: np.random.Generator) -> None:
    classes = np.arange(90) % 3
    x = rng.normal(size=(90, 5)) + np.eye(3, 5)[classes] * 1.5
    nobody = np.zeros(90, bool)
    found = train_head(x, classes, nobody, 3, HeadOptions(hidden=0))
    for index in (0, 10, 20, 30):
        rest = np.arange(90) != index
        without = train_head(x[rest], classes[rest], nobody[rest], 3, HeadOptions(hidden=0))
        np.testing.assert_allclose(
            found.unseen[index], answers(without.head, x[index : index + 1])[0], atol=0.03
        )


def test_the_same_photos_give_the_same_bytes(rng: np.random.Generator) -> None:
    x, classes = rings(rng, 120)
    one, two = trained(x, classes).head, trained(x, classes).head
    assert one.weights.tobytes() == two.weights.tobytes()
    assert one.hidden is not None
    assert two.hidden is not None
    assert one.hidden.codes.tobytes() == two.hidden.codes.tobytes()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_very_few_photos_and_equal_ones(count: int) -> None:
    """One photo per class, and features that never move, must not divide by zero."""
    x = np.zeros((count, 6))
    x[:, 0] = np.arange(count)
    found = train_head(x, np.arange(count), np.zeros(count, bool), count, HeadOptions())
    assert np.isfinite(found.head.weights).all()
    assert (answers(found.head, x).argmax(1) == np.arange(count)).all()
    same = train_head(np.ones((4, 6)), np.arange(4) % 2, np.zeros(4, bool), 2, HeadOptions())
    np.testing.assert_allclose(answers(same.head, np.ones((1, 6))), 0.5, atol=0.01)


def test_a_small_class_is_not_drowned(rng: np.random.Generator) -> None:
    """Five to one: without weights the border would move into the small class."""
    classes = np.array([0] * 250 + [1] * 50)
    x = rng.normal(size=(300, 2)) + classes[:, None] * 1.0
    truth = np.arange(400) % 2
    new = rng.normal(size=(400, 2)) + truth[:, None] * 1.0
    said = answers(trained(x, classes, hidden=0).head, new).argmax(1)
    recalls = [(said[truth == label] == label).mean() for label in (0, 1)]
    assert min(recalls) > 0.65


def test_moments_are_kept_where_asked_for(rng: np.random.Generator) -> None:
    x, classes = rings(rng, 100)
    options = HeadOptions(hidden=0, noted=[2], most_steps=6)
    found = train_head(x, classes, np.zeros(100, bool), 2, options)
    assert [moment.step for moment in found.moments] == [2, 4, 6][: len(found.moments)]
    assert found.moments
