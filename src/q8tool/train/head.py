"""Head: a classifier on features, its settings chosen by photos that it did not learn from.

    features -> square roots (if none is negative) -> main components -> nearness to landmarks
        -> whitened -> softmax regression

The hidden units are Gaussian kernels around training photos, so the regression can draw borders
that no plane through the features can. In whitened coordinates its penalty is the kernel's own
(Nystroem's approximation; Williams and Seeger, 2001), and the search converges in few steps. Then
the whitening is multiplied into the weights.

How strong the penalty is, is chosen by the cross-entropy on the validation photos; the last fit
learns from training and validation photos. What a photo looks like is known of both beforehand, so
that landmarks come from both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q8tool.model.head import Head, Hidden
from q8tool.train.softmax import (
    Descent,
    Step,
    balanced_weights,
    fit_softmax,
    probabilities,
)

__all__ = ["Choice", "HeadOptions", "Moment", "Trained", "train_head"]

Array = NDArray[Any]

MOST_LANDMARKS = 2048
MOST_COMPONENTS = 128
# Of the units, by twice the mean squared length of what they see.
NARROWNESS = 2.0
# Of the sum of the photos' losses, from strong to weak: each fit begins where the last ended.
PENALTIES = (0.1, 0.03, 0.01, 0.003)
# Softmax regression on the features themselves, whose deviation is 1.
LINEAR_PENALTIES = (300.0, 100.0, 30.0, 10.0)
# Taken where there is no photo to choose by.
USUAL_PENALTY, USUAL_LINEAR_PENALTY = 0.03, 100.0
JITTER = 1e-5


@dataclass(frozen=True)
class HeadOptions:
    """How the head is to be trained.

    hidden      most hidden units; 0: softmax regression on the features
    most_steps  of the search; None: until it converges
    descent     mini-batches instead of L-BFGS
    noted       steps of the last fit whose numbers belong to these multiples are kept
    """

    hidden: int = MOST_LANDMARKS
    most_steps: int | None = None
    descent: Descent | None = None
    noted: Sequence[int] = ()


@dataclass(frozen=True)
class Moment:
    """How far the last fit was after a step: loss, accuracy on what it learns from, the head."""

    step: int
    loss: float
    accuracy: float
    head: Head


@dataclass(frozen=True)
class Choice:
    """A penalty, and the cross-entropy and accuracy that it had on the validation photos.

    scores      None without validation photos
    """

    penalty: float
    scores: tuple[float, float] | None


@dataclass(frozen=True)
class Trained:
    """The head; the choice among all that were tried.

    unseen  probabilities float64 (N, K) of the photos learnt from as if each had not been there
    moments the steps of the last fit that the options ask for
    """

    head: Head
    choice: Choice
    tried: Sequence[Choice]
    unseen: Array
    moments: Sequence[Moment]


def train_head(
    features: Array,
    classes: Array,
    is_validation: Array,
    count: int,
    options: HeadOptions,
) -> Trained:
    """The head for features, float32 (N, D), of photos of `classes`, int (N,), below count.

    is_validation  bool (N,): which photos choose the settings

    Class weights make all classes weigh the same.
    """
    x = features.astype(np.float64)
    space = _Space.of(x, classes, options.hidden)
    z = space.coordinates(x)
    choice, tried, start = _chosen(z, classes, is_validation, count, options)
    moments: list[Moment] = []

    def seen(step: int, theta: Array, loss: float) -> None:
        if any(step % every == 0 for every in options.noted):
            accuracy = float((probabilities(z, theta).argmax(1) == classes).mean())
            moments.append(Moment(step, loss, accuracy, space.head(theta)))

    theta = _fit(z, classes, count, choice.penalty, start, options, seen)
    unseen = _left_out(z, classes, count, theta, choice)
    return Trained(space.head(theta), choice, tried, unseen, moments)


# ---- choosing ----


def _chosen(
    z: Array, classes: Array, is_validation: Array, count: int, options: HeadOptions
) -> tuple[Choice, list[Choice], Array | None]:
    """The best penalty, all that were tried, and where the last fit may begin."""
    learning, judging = ~is_validation, is_validation
    if not judging.any():
        return Choice(USUAL_PENALTY if options.hidden else USUAL_LINEAR_PENALTY, None), [], None
    tried, fits = [], []
    theta = None
    for penalty in PENALTIES if options.hidden else LINEAR_PENALTIES:
        theta = _fit(z[learning], classes[learning], count, penalty, theta, options)
        scores = _judged(probabilities(z[judging], theta), classes[judging], count)
        tried.append(Choice(penalty, scores))
        fits.append(theta)
    best = min(range(len(tried)), key=lambda index: tried[index].scores or ())
    return tried[best], tried, None if options.descent else fits[best]


def _fit(
    z: Array,
    classes: Array,
    count: int,
    penalty: float,
    start: Array | None,
    options: HeadOptions,
    seen: Step = lambda step, theta, loss: None,
) -> Array:
    weights = balanced_weights(classes, count)
    steps = {} if options.most_steps is None else {"most_steps": options.most_steps}
    return fit_softmax(
        z, classes, weights, count, penalty / len(z), start,
        descent=options.descent, seen=seen, **steps,
    )  # fmt: skip


def _judged(answers: Array, classes: Array, count: int) -> tuple[float, float]:
    """Cross-entropy, all classes weighing the same, and accuracy."""
    given = np.maximum(answers[np.arange(len(classes)), classes], 1e-30)
    weights = balanced_weights(classes, count)
    right = answers.argmax(1) == classes
    return float(-(weights * np.log(given)).mean()), float(right.mean())


def _left_out(z: Array, classes: Array, count: int, theta: Array, choice: Choice) -> Array:
    """Probabilities of each photo by a head that did not learn from it, nearly.

    Leaving one photo out moves its own scores by leverage / (1 - leverage) of its residual, in the
    closed form of ridge regression; here the bound p (1 - p) <= 1/4 stands for the curvature of the
    cross-entropy. Source: Pregibon, Logistic regression diagnostics, 1981, section 4.
    """
    curvature = 0.25 * balanced_weights(classes, count)
    scaled = z * np.sqrt(curvature).astype(np.float32)[:, None]
    hessian = scaled.T @ scaled + np.float32(choice.penalty) * np.eye(z.shape[1], dtype=np.float32)
    halves = scaled @ _inverse_of_lower(np.linalg.cholesky(hessian)).T
    leverage = np.minimum((halves**2).sum(1), 0.99)
    residual = np.eye(count)[classes] - probabilities(z, theta)
    moved = (leverage / (1.0 - leverage) / 0.25)[:, None] * residual
    scores = z @ theta[:-1] + theta[-1] - moved
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


# ---- the space of the regression ----


@dataclass(frozen=True)
class _Space:
    """From features to the coordinates in which softmax regression happens, and back to a head.

    is_root     whether square roots are taken
    hidden      None: features with mean `shift` and deviation 1 / `scale` are the coordinates
    whitening   float32 (M, M): kernels times it are the coordinates
    """

    is_root: bool
    shift: Array
    scale: Array
    hidden: Hidden | None = None
    whitening: Array | None = None

    @staticmethod
    def of(x: Array, classes: Array, most: int) -> "_Space":
        """The space that these photos (float64 (N, D)) span, with so many landmarks at most."""
        is_root = bool((x >= 0).all())
        t = np.sqrt(x) if is_root else x
        shift, deviation = t.mean(0), t.std(0)
        # Features that hardly ever move are no more than noise.
        scale = 1.0 / (deviation + 1e-3 * deviation.max() + 1e-12)
        space = _Space(is_root, shift, scale)
        if not most:
            return space
        projection, offset = _main_components(space.standard(x), shift, scale)
        p = t @ projection + offset
        landmarks = p[_spread_out(classes, min(most, len(p)))]
        steps = np.maximum(np.abs(landmarks).max(1), 1e-12) / 127.0
        hidden = Hidden(
            projection=projection.astype(np.float32),
            offset=offset.astype(np.float32),
            codes=np.rint(landmarks / steps[:, None]).T.astype(np.int8),
            steps=steps.astype(np.float32),
            narrowness=float(np.float32(NARROWNESS / (2.0 * (p**2).sum(1).mean() + 1e-12))),
        )
        near = _nearness(hidden.landmarks.T.astype(np.float64), hidden)
        lower = np.linalg.cholesky(near + JITTER * np.eye(len(near)))
        whitening = _inverse_of_lower(lower.astype(np.float32)).T
        return replace(space, hidden=hidden, whitening=whitening)

    def standard(self, x: Array) -> Array:
        """Features, or their square roots, with mean 0 and deviation 1."""
        t = np.sqrt(np.maximum(x, 0.0)) if self.is_root else x
        return np.asarray((t - self.shift) * self.scale)

    def coordinates(self, x: Array) -> Array:
        """Where features lie in this space, float32 (N, D or M): half as much to read each step."""
        if self.hidden is None or self.whitening is None:
            return self.standard(x).astype(np.float32)
        t = np.sqrt(np.maximum(x, 0.0)) if self.is_root else x
        p = t @ self.hidden.projection.astype(np.float64) + self.hidden.offset
        near = _nearness(p, self.hidden).astype(np.float32)
        return np.asarray(near @ self.whitening)

    def head(self, theta: Array) -> Head:
        """Weights and biases in these coordinates as a head on the features."""
        weights, bias = theta[:-1], theta[-1]
        if self.hidden is None or self.whitening is None:
            weights = self.scale[:, None] * weights
            bias = bias - self.shift @ weights
        else:
            weights = self.whitening.astype(np.float64) @ weights
        return Head(self.is_root, self.hidden, weights.astype(np.float32), bias.astype(np.float32))


def _main_components(standard: Array, shift: Array, scale: Array) -> tuple[Array, Array]:
    """Projection (D, Q) and offset (Q,) of unscaled values on their main components.

    Source: principal components of the correlation matrix.
    """
    _, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    vectors = vectors[:, ::-1][:, :MOST_COMPONENTS]
    # Eigenvectors come with any sign; libraries and CPUs differ.
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
    projection = scale[:, None] * vectors * signs
    return projection, -shift @ projection


def _spread_out(classes: Array, count: int) -> Array:
    """Indices of `count` photos, the same number of each class as far as there are some."""
    order = sorted(_turns(classes))[:count]
    return np.array(sorted(index for _, _, index in order))


def _turns(classes: Array) -> Iterator[tuple[int, int, int]]:
    """(turn, class, index): the first photos of all classes, then the second ones ..."""
    turns: dict[int, int] = {}
    for index, label in enumerate(classes.tolist()):
        turns[label] = turns.get(label, -1) + 1
        yield turns[label], label, index


def _nearness(p: Array, hidden: Hidden) -> Array:
    """exp(-narrowness * squared distance) of points (N, Q) to the landmarks, (N, M)."""
    z = hidden.landmarks.T.astype(np.float64)
    distance = (p**2).sum(1)[:, None] + (z**2).sum(1) - 2.0 * p @ z.T
    return np.asarray(np.exp(-hidden.narrowness * np.maximum(distance, 0.0)))


def _inverse_of_lower(matrix: Array) -> Array:
    """The inverse of a lower triangular matrix, by halves: most of it is matrix products.

    [A 0]^-1   [     A^-1       0  ]
    [B C]    = [-C^-1 B A^-1  C^-1 ]
    """
    size = len(matrix)
    if size <= 64:
        return np.linalg.inv(matrix)
    half = size // 2
    inverse = np.zeros_like(matrix)
    inverse[:half, :half] = _inverse_of_lower(matrix[:half, :half])
    inverse[half:, half:] = _inverse_of_lower(matrix[half:, half:])
    inverse[half:, :half] = -inverse[half:, half:] @ matrix[half:, :half] @ inverse[:half, :half]
    return inverse
