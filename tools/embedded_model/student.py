"""The student: the network that is shipped, like MobileNet v1, from random weights."""

import torch
from torch import nn

from embedded_model.photos import LABELS
from embedded_model.teacher import MAP_CHANNELS

__all__ = ["BLOCKS", "Student"]

STEM = 16
# (channels out, stride) of each depthwise separable block
BLOCKS = ((24, 1), (48, 2), (64, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1))
BN_EPSILON = 1e-3


class Student(nn.Module):  # type: ignore[misc]  # torch's types are not installed
    """The network to ship, plus projections used only while matching the teacher's features.

    `body` is a flat sequence of convolution, BatchNorm and Relu6: the stem, then for each block
    the depthwise and the pointwise layer.
    """

    def __init__(self, teacher_width: int, dropout: float) -> None:
        super().__init__()
        layers = _conv_bn(3, STEM, 3, 2, 1)
        width = STEM
        for outputs, stride in BLOCKS:
            layers += _conv_bn(width, width, 3, stride, width)
            layers += _conv_bn(width, outputs, 1, 1, 1)
            width = outputs
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, len(LABELS))
        self.project = nn.Linear(width, teacher_width)
        self.project_map = nn.Conv2d(width, MAP_CHANNELS, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, and guesses of the teacher's standardized features and of its map.

        x            float32 (N, 3, size, size), -1 to 1
        """
        seen = self.body(x)
        pooled = seen.mean((2, 3))
        return self.head(self.dropout(pooled)), self.project(pooled), self.project_map(seen)


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> list[nn.Module]:
    """Convolution without bias, BatchNorm, Relu6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, eps=BN_EPSILON), nn.ReLU6(inplace=True)]
