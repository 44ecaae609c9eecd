"""Spec: how a photo becomes the input tensor of a model, and the usual ways by name.

value = (pixel - mean) / std, pixels 0..255. As JSON under q8tool.preprocess in a model's metadata:

    {"size": [224, 224], "mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5],
     "layout": "NCHW", "channels": "RGB", "resize": "stretch"}
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from q8tool.errors import InputError

__all__ = ["PRESETS", "Channels", "Layout", "Resize", "Spec"]

Layout = Literal["NCHW", "NHWC"]
Channels = Literal["RGB", "BGR"]
Resize = Literal["crop", "stretch"]

# Mean and standard deviation per channel, in pixels 0..255.
PRESETS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mobilenet": ((127.5,) * 3, (127.5,) * 3),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "unit": ((0.0,) * 3, (255.0,) * 3),
    "raw": ((0.0,) * 3, (1.0,) * 3),
}


@dataclass(frozen=True)
class Spec:
    """How a photo becomes a tensor.

    size      height and width in pixels
    mean, std of each channel, in pixels 0..255, in the order of `channels`
    resize    stretch: the whole photo becomes size; crop: the short side becomes size / 0.875,
              then the centre is cut out, so that shapes stay
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)
    layout: Layout = "NCHW"
    channels: Channels = "RGB"
    resize: Resize = "stretch"

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and highest value that a photo can give."""
        ends = [
            (pixel - mean) / std
            for mean, std in zip(self.mean, self.std, strict=True)
            for pixel in (0.0, 255.0)
        ]
        return min(ends), max(ends)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Spec":
        """Reads what to_dict wrote. Raises InputError for a value that cannot be."""
        try:
            height, width = (int(side) for side in values["size"])
            mean = tuple(float(value) for value in values["mean"])
            std = tuple(float(value) for value in values["std"])
            spec = Spec((height, width), mean, std)
            named = {
                key: _one_of(key, values.get(key, default), choices)
                for key, default, choices in (
                    ("layout", spec.layout, get_args(Layout)),
                    ("channels", spec.channels, get_args(Channels)),
                    ("resize", spec.resize, get_args(Resize)),
                )
            }
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"metadata q8tool.preprocess: {error!r}") from error
        fits = len(mean) == len(std) and len(mean) in (1, 3) and min(height, width) > 0
        if not fits or 0.0 in std:
            raise InputError("metadata q8tool.preprocess: size, mean or std cannot be")
        return Spec((height, width), mean, std, **named)


def _one_of(key: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{key} is {value!r}, not one of {', '.join(choices)}")
    return value
