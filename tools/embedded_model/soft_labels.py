"""Soft labels: class probabilities from what the teacher sees.

A head is a logistic regression on the teacher's features; five of them, each fitted without one
fifth of the pictures, so that no picture gets its soft label from a head that has seen it.
"""

import torch
from torch import nn
from torch.nn import functional

from embedded_model.log import say
from embedded_model.photos import LABELS
from embedded_model.views import FOLDS, Views

__all__ = ["soft_labels"]

DECAY = 1e-3


def soft_labels(x: torch.Tensor, views: Views, temperature: float) -> torch.Tensor:
    """Class probabilities, float32 (views, classes), each by a head that never saw the picture.

    x            standardized features of the views, float32 (views, teacher width)
    temperature  divides the logits; above 1 the probabilities get closer to each other
    """
    y, folds = torch.from_numpy(views.labels), torch.from_numpy(views.folds)
    soft = torch.empty(len(y), len(LABELS))
    for fold in range(FOLDS):
        mine = folds == fold
        head = _fit_head(x[~mine], y[~mine])
        with torch.no_grad():
            soft[mine] = functional.softmax(head(x[mine]) / temperature, 1)
    agree = (soft.argmax(1) == y).float().mean()
    say(f"teacher's heads, out of fold, on views: {agree:.3f}")
    return soft


def _fit_head(x: torch.Tensor, y: torch.Tensor) -> nn.Linear:
    """Logistic regression by L-BFGS, deterministic from zero weights."""
    head = nn.Linear(x.shape[1], len(LABELS))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(head(x), y) + DECAY * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return head
