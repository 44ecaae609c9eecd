"""Targets: what the student is shown in training, and what it should answer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from embedded_model.photos import LABELS, normalize
from embedded_model.recipe import Recipe
from embedded_model.soft_labels import soft_labels
from embedded_model.views import Views

__all__ = ["Targets", "jitter", "make_targets"]


@dataclass(frozen=True)
class Targets:
    """What the student should answer for each view."""

    classes: torch.Tensor  # float32 (views, classes), probabilities: soft and hard labels mixed
    features: torch.Tensor  # float32 (views, teacher width), standardized
    views: Views

    def batch(
        self, chosen: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Random views of the chosen items: indices, input pictures, the teacher's maps.

        chosen       int64 (N,), item numbers
        returns      int64 (N,), float32 (N, 3, size, size), float32 (N, MAP_CHANNELS, 7, 7)

        Colours are changed, and half of the pictures flipped together with their maps.
        """
        views = self.views
        view = torch.randint(views.per_item, (len(chosen),), generator=generator)
        index = chosen * views.per_item + view
        x = jitter(torch.from_numpy(normalize(views.pixels[index.numpy()])), generator)
        seen = torch.from_numpy(views.maps[index.numpy()]).float()
        flip = torch.rand((len(chosen), 1, 1, 1), generator=generator) < 0.5
        x, seen = torch.where(flip, x.flip(3), x), torch.where(flip, seen.flip(3), seen)
        return index, x.contiguous(memory_format=torch.channels_last), seen


def make_targets(views: Views, recipe: Recipe) -> Targets:
    """The teacher's answers in the form that the losses compare with."""
    features = torch.from_numpy(views.features.astype(np.float32))
    features = (features - features.mean(0)) / (features.std(0) + 1e-3)
    soft = soft_labels(features, views, recipe.temperature)
    hard = functional.one_hot(torch.from_numpy(views.labels), len(LABELS))
    return Targets(recipe.soft * soft + (1 - recipe.soft) * hard, features, views)


def jitter(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random colour changes and one erased square per picture; x in [-1, 1], NCHW."""

    def uniform(low: float, high: float, channels: int = 1) -> torch.Tensor:
        shape = (len(x), channels, 1, 1)
        return torch.rand(shape, generator=generator) * (high - low) + low

    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0.6, 1.4)
    middle = x.mean((1, 2, 3), keepdim=True)
    x = middle + (x - middle) * uniform(0.7, 1.3)
    x = (x + uniform(-0.25, 0.25) + uniform(-0.08, 0.08, 3)).clamp(-1, 1)
    size = x.shape[2]
    line = torch.arange(size)
    near_row = (line.view(1, 1, size, 1) - uniform(0, size)).abs()
    near_column = (line.view(1, 1, 1, size) - uniform(0, size)).abs()
    half = uniform(0, 0.2) * size
    return torch.where((near_row < half) & (near_column < half), torch.zeros(()), x)
