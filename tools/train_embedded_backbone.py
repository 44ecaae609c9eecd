"""Train the general backbone that `q8tool retrain` uses when no --base is given.

A development tool: it needs torch and onnxruntime, which the package does not. It writes one file,
`src/q8tool/data/backbone.onnx`, below 1.5 MB. How, is told in `tools/embedded_backbone`.

    python tools/train_embedded_backbone.py --data ../shared/data

Same data, seed, library versions and kind of CPU: same bytes (one thread). Views with the teacher's
answers and the last checkpoint are kept under --cache; delete that folder after a change.
"""

import argparse
import os
import tempfile
from dataclasses import fields
from pathlib import Path

import torch

from embedded_backbone.export import build_onnx
from embedded_backbone.pictures import load_pictures
from embedded_backbone.recipe import Recipe
from embedded_backbone.training import train
from embedded_backbone.views import make_views
from embedded_model.log import say
from embedded_model.teacher import TEACHER

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Pictures, teacher, student, file."""
    args = _parse_arguments()
    recipe = Recipe(**{field.name: getattr(args, field.name) for field in fields(Recipe)})
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    pictures, _ = load_pictures(args.data, recipe)
    say(f"{len(pictures)} pictures, {sum(views for _, views in pictures)} views")
    views = make_views(pictures, recipe.size, args.data / TEACHER, args.cache)
    start = ROOT / "tools/embedded_model/flowers.onnx"
    backbone = train(views, start, recipe, args.cache / "checkpoint.pt")
    model = build_onnx(backbone.eval(), recipe.size)
    args.output.write_bytes(model.SerializeToString(deterministic=True))
    say(f"{args.output}: {args.output.stat().st_size} bytes")


def _parse_arguments() -> argparse.Namespace:
    """Command line; the defaults are what made the shipped file."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    data = os.environ.get("Q8_DATA", str(ROOT.parent / "shared/data"))
    cache = Path(tempfile.gettempdir()) / "q8tool-embedded-backbone"
    parser.add_argument("--data", type=Path, default=Path(data), help="has flowers/, models/ ...")
    parser.add_argument("--cache", type=Path, default=cache, help="views and the checkpoint")
    parser.add_argument("--output", type=Path, default=ROOT / "src/q8tool/data/backbone.onnx")
    parser.add_argument("--size", type=int, default=128, help="input height and width")
    parser.add_argument("--flower-views", type=int, default=8, help="copies of each photo")
    parser.add_argument("--other-views", type=int, default=28)
    parser.add_argument("--drawings", type=int, default=40, help="drawings of each class")
    parser.add_argument("--drawing-views", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1050)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--match", type=float, default=1.0, help="weight of the feature match")
    parser.add_argument("--match-map", type=float, default=3.0, help="weight of the map match")
    parser.add_argument("--match-scores", type=float, default=0.5, help="of the class scores")
    parser.add_argument("--classify", type=float, default=0.5, help="weight of the flowers")
    parser.add_argument("--temperature", type=float, default=2.0, help="of the class scores")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
