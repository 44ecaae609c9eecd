"""Training: the student follows the targets, and the best validated average of it is kept."""

import copy
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from embedded_model.log import say
from embedded_model.photos import Array, Item, normalize, stretch
from embedded_model.recipe import Recipe
from embedded_model.student import Student
from embedded_model.targets import Targets, make_targets
from embedded_model.views import Views

__all__ = ["Trainer", "train"]


def train(views: Views, validation: list[Item], recipe: Recipe) -> Student:
    """Train from random weights; returns the averaged weights of the best validated epoch.

    Of equally good epochs the last. torch's global random state decides the first weights.
    """
    trainer = Trainer(make_targets(views, recipe), recipe)
    pixels = np.stack([stretch(item.image, recipe.size) for item in validation])
    labels = np.array([item.label for item in validation])
    best: Student = copy.deepcopy(trainer.average)
    best_score, started = -1.0, time.time()
    for epoch in range(recipe.epochs):
        loss = trainer.epoch()
        score = _accuracy_of(trainer.average, pixels, labels)
        if score >= best_score:
            best, best_score = copy.deepcopy(trainer.average), score
        seconds = time.time() - started
        say(f"epoch {epoch + 1} loss {loss:.3f} validation {score:.3f} {seconds:.0f} s")
    say(f"best validation {best_score:.3f}")
    return best


class Trainer:
    """The student, the moving average of its weights, and how they move on."""

    def __init__(self, targets: Targets, recipe: Recipe) -> None:
        self.targets, self.recipe = targets, recipe
        self.generator = torch.Generator().manual_seed(recipe.seed)
        model = Student(targets.features.shape[1], recipe.dropout)
        self.model = model.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model)
        self.count = len(targets.features) // targets.views.per_item
        self.step, steps = 0, recipe.epochs * (self.count // recipe.batch)
        self.optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.1
        )

    def epoch(self) -> float:
        """Show every item once, in random order; returns the mean loss."""
        self.model.train()
        total = 0.0
        for chosen in _batches(self.count, self.recipe.batch, self.generator):
            loss = self.loss(chosen)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.step += 1
            _update_average(self.average, self.model, min(0.995, self.step / (self.step + 10)))
            total += float(loss.detach())
        return total / max(1, self.count // self.recipe.batch)

    def loss(self, chosen: torch.Tensor) -> torch.Tensor:
        """Class, feature and map losses of the chosen items, summed with their weights."""
        index, x, seen = self.targets.batch(chosen, self.generator)
        logits, guess, guess_map = self.model(x)
        loss = functional.cross_entropy(logits, self.targets.classes[index])
        match = functional.mse_loss(guess, self.targets.features[index])
        match_map = functional.mse_loss(guess_map, seen)
        return loss + self.recipe.match * match + self.recipe.match_map * match_map


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Index batches of one epoch in random order, the incomplete last one left out."""
    order = torch.randperm(count, generator=generator)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]


def _update_average(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Exponential moving average of weights and BatchNorm statistics."""
    state = model.state_dict()  # detached: shares memory with the model, has no gradient
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(state[name], 1 - keep)


def _accuracy_of(model: nn.Module, pixels: Array, labels: Array) -> float:
    """Share of right answers in evaluation mode."""
    model.eval()
    right = 0
    for i in range(0, len(pixels), 64):
        with torch.no_grad():
            logits, _, _ = model(torch.from_numpy(normalize(pixels[i : i + 64])))
        right += int((logits.argmax(1).numpy() == labels[i : i + 64]).sum())
    return right / len(pixels)
