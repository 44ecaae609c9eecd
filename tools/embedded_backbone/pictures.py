"""Pictures to learn from, and those kept apart: flowers, ImageNet photos, drawings."""

from pathlib import Path

from PIL import Image

from embedded_backbone.recipe import Recipe
from embedded_model.photos import Item, load_drawings, load_photos

__all__ = ["NO_CLASS", "Picture", "load_pictures"]

NO_CLASS = -1  # the label of what is no flower

Picture = tuple[Item, int]  # and the number of its views


def load_pictures(data: Path, recipe: Recipe) -> tuple[list[Picture], list[Item]]:
    """What is trained on, each with its number of views, and the flowers kept apart.

    data   holds flowers/ and imagenet/
    The test part of tools/embedded_model (20 % of the flowers) is trained on by neither network.
    """
    parts = load_photos(data / "flowers")
    flowers = parts["training"] + parts["validation"]
    pictures = [(item, recipe.flower_views) for item in flowers]
    pictures += [(item, recipe.other_views) for item in _load_others(data / "imagenet")]
    pictures += [(item, recipe.drawing_views) for item in load_drawings(recipe.drawings)]
    return pictures, parts["test"]


def _load_others(folder: Path) -> list[Item]:
    items = []
    for path in sorted(folder.rglob("*.jp*g")):
        with Image.open(path) as image:
            items.append(Item(f"other/{path.name}", NO_CLASS, image.convert("RGB")))
    return items
