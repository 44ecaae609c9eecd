"""The numbers of one training run."""

from dataclasses import dataclass

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """What a run may change; the command line has the values that made the shipped file."""

    size: int  # input height and width, pixels
    flower_views: int  # augmented copies of each photo of a flower, the plain one included
    other_views: int  # of each photo of something else
    drawings: int  # of each class
    drawing_views: int
    steps: int
    batch: int  # pictures
    learning_rate: float  # at its peak
    weight_decay: float
    match: float  # weight of the loss of pooled features
    match_map: float  # of the map before pooling
    match_scores: float  # of the teacher's class probabilities
    classify: float  # of the five flowers
    temperature: float  # divides the logits behind the teacher's probabilities
    seed: int
