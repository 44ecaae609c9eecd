"""The numbers of one training run."""

from dataclasses import dataclass

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """What a run may change; the command line has the values that made the shipped file."""

    size: int  # input height and width, pixels
    views: int  # augmented copies of each picture, the plain one included
    drawings: int  # of each class
    epochs: int
    batch: int  # pictures
    learning_rate: float  # at its peak
    weight_decay: float
    dropout: float  # share of the pooled features
    soft: float  # share of the soft labels, 0 to 1; the rest is the true class
    temperature: float  # divides the logits behind the soft labels
    match: float  # weight of the feature loss
    match_map: float  # weight of the map loss
    seed: int
