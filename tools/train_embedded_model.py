"""Train the small flower classifier whose layers the embedded backbone begins with.

A development tool: it needs torch and onnxruntime, which the package does not. It writes one file,
`tools/embedded_model/flowers.onnx`, below 1 MB: a float32 network like MobileNet v1 (depthwise
separable convolutions, BatchNormalization left unfolded, Relu6) for daisy, dandelion, rose,
sunflower and tulip, started from random weights. How, is told in `tools/embedded_model`.

    python tools/train_embedded_model.py --data ../shared/data

Same data, seed, library versions and kind of CPU: same bytes (one thread). Views and the teacher's
answers are cached under --cache; delete that folder after a change to views or teacher.
"""

import argparse
import os
import tempfile
from dataclasses import fields
from pathlib import Path

import torch

from embedded_model.export import build_onnx
from embedded_model.log import say
from embedded_model.photos import load_drawings, load_photos
from embedded_model.recipe import Recipe
from embedded_model.report import report
from embedded_model.teacher import TEACHER
from embedded_model.train import train
from embedded_model.views import make_views

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Data, teacher, student, file, report."""
    args = _parse_arguments()
    recipe = Recipe(**{field.name: getattr(args, field.name) for field in fields(Recipe)})
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    parts = load_photos(args.data / "flowers")
    say({name: len(items) for name, items in parts.items()})
    if not args.evaluate_only:
        items = parts["training"] + load_drawings(recipe.drawings)
        views = make_views(items, recipe.views, recipe.size, args.data / TEACHER, args.cache)
        student = train(views, parts["validation"], recipe)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        model = build_onnx(student.eval(), recipe.size)
        args.output.write_bytes(model.SerializeToString(deterministic=True))
    report(args.output, parts, recipe.size)


def _parse_arguments() -> argparse.Namespace:
    """Command line; the defaults are what made the shipped file."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    data = os.environ.get("Q8_DATA", str(ROOT.parent / "shared/data"))
    cache = Path(tempfile.gettempdir()) / "q8tool-embedded-model"
    parser.add_argument("--data", type=Path, default=Path(data), help="has flowers/, models/")
    parser.add_argument("--cache", type=Path, default=cache, help="folder for views and features")
    parser.add_argument("--output", type=Path, default=ROOT / "tools/embedded_model/flowers.onnx")
    parser.add_argument("--size", type=int, default=112, help="input height and width")
    parser.add_argument("--views", type=int, default=12, help="augmented copies of each picture")
    parser.add_argument("--drawings", type=int, default=60, help="drawings of each class")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--soft", type=float, default=0.6, help="share of the soft labels")
    parser.add_argument("--temperature", type=float, default=1.5, help="of the soft labels")
    parser.add_argument("--match", type=float, default=1.0, help="weight of the feature match")
    parser.add_argument("--match-map", type=float, default=3.0, help="weight of the map match")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--evaluate-only", action="store_true", help="report on an existing file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
