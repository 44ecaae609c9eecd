"""Training: the student learns to answer as the teacher does; a checkpoint every few minutes."""

import copy
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from embedded_backbone.pictures import NO_CLASS
from embedded_backbone.recipe import Recipe
from embedded_backbone.student import Backbone, start_from
from embedded_backbone.views import Views
from embedded_model.log import say
from embedded_model.photos import normalize
from embedded_model.targets import jitter

__all__ = ["train"]

SAY_EVERY = 50  # steps
SAVE_EVERY = 250


def train(views: Views, start: Path, recipe: Recipe, checkpoint: Path) -> Backbone:
    """Returns the moving average of the weights at the end; goes on from a checkpoint if it can.

    start        flowers.onnx, whose layers are the first ones
    checkpoint   a file that is written now and then; a run with another number of steps may go on
                 from it
    """
    trainer = Trainer(views, start, recipe)
    if checkpoint.exists():
        trainer.load_state_dict(torch.load(checkpoint))
    started, total = time.time(), torch.zeros(5)
    while trainer.step < recipe.steps:
        total += trainer.learn()
        if trainer.step % SAY_EVERY == 0:
            losses = " ".join(f"{value:.3f}" for value in total / SAY_EVERY)
            say(f"step {trainer.step} losses {losses} {time.time() - started:.0f} s")
            total.zero_()
        if trainer.step % SAVE_EVERY == 0:
            torch.save(trainer.state_dict(), checkpoint)
    return trainer.average


class Trainer:
    """The student, the moving average of its weights, and how they move on."""

    def __init__(self, views: Views, start: Path, recipe: Recipe) -> None:
        self.views, self.recipe, self.step = views, recipe, 0
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.mean = torch.from_numpy(views.features.astype("float32")).mean(0)
        self.deviation = torch.from_numpy(views.features.astype("float32")).std(0) + 1e-3
        student = Backbone(views.features.shape[1], views.scores.shape[1])
        start_from(student, start)
        student.freeze()
        self.student = student.to(memory_format=torch.channels_last)
        self.average: Backbone = copy.deepcopy(self.student)
        self.optimizer = torch.optim.AdamW(student.parameters(), weight_decay=recipe.weight_decay)

    def learn(self) -> torch.Tensor:
        """One step; returns the sum of the losses and each of the four."""
        self.student.train()
        losses = self._losses()
        weights = self.recipe
        loss = (
            weights.match * losses[0]
            + weights.match_map * losses[1]
            + weights.match_scores * losses[2]
            + weights.classify * losses[3]
        )
        self.optimizer.zero_grad()
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.step()
        self.step += 1
        _update_average(self.average, self.student, min(0.997, self.step / (self.step + 10)))
        return torch.stack([loss, *losses]).detach()

    def _learning_rate(self) -> float:
        """Up to the peak in the first tenth, then down along a cosine."""
        done = self.step / self.recipe.steps
        if done < 0.1:
            return self.recipe.learning_rate * (0.04 + 9.6 * done)
        return self.recipe.learning_rate * (math.cos((done - 0.1) / 0.9 * math.pi) + 1) / 2

    def _losses(self) -> list[torch.Tensor]:
        """Of a random batch: features, map, scores, flowers."""
        views, generator = self.views, self.generator
        index = torch.randint(len(views.labels), (self.recipe.batch,), generator=generator)
        at = index.numpy()
        x = jitter(torch.from_numpy(normalize(views.pixels[at])), generator)
        wanted_map = torch.from_numpy(views.maps[at]).float()
        flip = torch.rand((len(at), 1, 1, 1), generator=generator) < 0.5
        x = torch.where(flip, x.flip(3), x).contiguous(memory_format=torch.channels_last)
        wanted_map = torch.where(flip, wanted_map.flip(3), wanted_map)
        features = (torch.from_numpy(views.features[at]).float() - self.mean) / self.deviation
        wanted = functional.softmax(
            torch.from_numpy(views.scores[at]).float() / self.recipe.temperature, 1
        )
        pooled, seen, scores, flower = self.student(x)
        label = torch.from_numpy(views.labels[at])
        return [
            functional.mse_loss(pooled, features),
            functional.mse_loss(seen, wanted_map),
            functional.cross_entropy(scores / self.recipe.temperature, wanted),
            functional.cross_entropy(flower, label, ignore_index=NO_CLASS, label_smoothing=0.1),
        ]

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "step": self.step,
            "generator": self.generator.get_state(),
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The counterpart of state_dict."""
        self.step = state["step"]
        self.generator.set_state(state["generator"])
        for name in ("student", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])


def _update_average(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Exponential moving average of weights and BatchNorm statistics."""
    state = model.state_dict()  # detached: shares memory with the model, has no gradient
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(state[name], 1 - keep)
