"""The student: flowers.onnx's body, two wider blocks on top, and what it is trained through."""

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from embedded_model.photos import LABELS
from embedded_model.student import BLOCKS, BN_EPSILON, STEM
from embedded_model.teacher import MAP_CHANNELS, MAP_SIZE

__all__ = ["ADDED", "WIDTH", "Backbone", "start_from"]

# Layers that stay as flowers.onnx has them: the stem and three blocks. They see edges and colours,
# which are the same everywhere, and take half of the time.
FROZEN = 3 * (1 + 2 * 3)
ADDED = (512, 768)  # channels of the blocks that flowers.onnx does not have; all of stride 1
WIDTH = ADDED[-1]


class Backbone(nn.Module):  # type: ignore[misc]  # torch's types are not installed
    """The network to ship (`body`), and projections used only while matching the teacher.

    `body` is a flat sequence of convolution, BatchNorm and Relu6: the stem, then for each block
    the depthwise and the pointwise layer.
    """

    def __init__(self, teacher_width: int, teacher_classes: int) -> None:
        super().__init__()
        layers, width = _layer(3, STEM, 3, 2, 1), STEM
        for outputs, stride in (*BLOCKS, *((outputs, 1) for outputs in ADDED)):
            layers += _layer(width, width, 3, stride, width)
            layers += _layer(width, outputs, 1, 1, 1)
            width = outputs
        self.body = nn.Sequential(*layers)
        self.project = nn.Linear(width, teacher_width)
        self.project_map = nn.Conv2d(width, MAP_CHANNELS, 1)
        self.scores = nn.Linear(width, teacher_classes)
        self.flower = nn.Linear(width, len(LABELS))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Guesses of the teacher's features, its map, its logits; logits of the flowers.

        x            float32 (N, 3, size, size), -1 to 1
        """
        with torch.no_grad():
            x = self.body[:FROZEN](x)
        seen = self.body[FROZEN:](x)
        pooled = seen.mean((2, 3))
        seen = functional.interpolate(
            self.project_map(seen), size=(MAP_SIZE, MAP_SIZE), mode="bilinear", antialias=True
        )
        return self.project(pooled), seen, self.scores(pooled), self.flower(pooled)

    def freeze(self) -> None:
        """Let the first layers as they are."""
        for parameter in self.body[:FROZEN].parameters():
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> "Backbone":
        """As usual, but that frozen layers keep their statistics."""
        super().train(mode)
        self.body[:FROZEN].eval()
        return self


def start_from(backbone: Backbone, path: Path) -> None:
    """Copy the layers that both have from flowers.onnx (made by tools/embedded_model)."""
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    names = ["stem"]
    for number in range(len(BLOCKS)):
        names += [f"block{number + 1}/depthwise", f"block{number + 1}/pointwise"]
    with torch.no_grad():
        for number, name in enumerate(names):
            conv, norm = backbone.body[3 * number], backbone.body[3 * number + 1]
            for target, part in (
                (conv.weight, "weight"),
                (norm.weight, "gamma"),
                (norm.bias, "beta"),
                (norm.running_mean, "mean"),
                (norm.running_var, "variance"),
            ):
                target.copy_(torch.from_numpy(stored[f"{name}/{part}"].copy()))


def _layer(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> list[nn.Module]:
    """Convolution without bias, BatchNorm, Relu6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, eps=BN_EPSILON), nn.ReLU6(inplace=True)]
