"""demo: a folder with drawn flowers and the embedded float model, for the commands to work on."""

import importlib.resources
import shutil
from dataclasses import dataclass
from pathlib import Path

from q8tool.errors import UsageError
from q8tool.image.draw import FLOWERS, draw_flower
from q8tool.pipelines.progress import Progress, silent

__all__ = ["FROZEN", "LOOSE", "MODEL", "NO_DATA", "PHOTO", "PICTURES", "SMALL", "Options", "run"]

MODEL = "flowers.onnx"
PICTURES = "pictures"
PHOTO = "sunflower.jpg"
# What the commands of the demo write; an earlier run's are removed.
FROZEN, LOOSE, SMALL, NO_DATA = "frozen.onnx", "loose.onnx", "small.onnx", "nodata.onnx"

SEEDS = range(1, 6)
SIDE = 240  # pixels
# None of the pictures that ranges are measured with.
PHOTO_SEED = 6
NOTE = "README.txt"
TEXT = f"""Made by `q8tool demo`, which replaces these files when it is run again.

{PICTURES + "/":<14} drawn flowers, to measure ranges with
{PHOTO:<14} one more, to be labelled
{MODEL:<14} a float model of five flowers
{FROZEN:<14} the same, ready to run: BatchNormalization folded into weights
{LOOSE:<14} eight-bit, made without any data, conversions around each operator
{NO_DATA:<14} the same without the conversions that cancel
{SMALL:<14} eight-bit, ranges measured on the pictures
"""


@dataclass(frozen=True)
class Options:
    """folder: made if it is not there. force: use it even if something else is in it."""

    folder: Path
    force: bool = False


def run(options: Options, progress: Progress = silent) -> int:
    """Fill the folder; returns the number of pictures.

    Raises UsageError if the folder holds something that is not of a demo, or cannot be written.
    """
    folder = options.folder
    _check_folder(folder, options.force)
    try:
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        # First of all, so that a demo that was interrupted is known as one.
        (folder / NOTE).write_text(TEXT, encoding="utf-8")
        for name in (FROZEN, LOOSE, SMALL, NO_DATA):
            (folder / name).unlink(missing_ok=True)
        with (
            importlib.resources.files("q8tool").joinpath("data", MODEL).open("rb") as source,
            (folder / MODEL).open("wb") as target,
        ):
            shutil.copyfileobj(source, target)
        return _draw(folder, progress)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{error.filename or folder}: {reason}") from error


def _check_folder(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is no folder")
    is_demo = (folder / NOTE).is_file() and (folder / MODEL).is_file()
    if not force and not is_demo and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            f"{folder}: holds something else than a demo",
            "name another folder, or --force to put the demo's files there",
        )


def _draw(folder: Path, progress: Progress) -> int:
    names = [(kind, seed) for kind in FLOWERS for seed in SEEDS]
    for done, (kind, seed) in enumerate(names):
        progress("drawing flowers", done, len(names))
        draw_flower(kind, seed, SIDE).save(folder / PICTURES / f"{kind}-{seed}.png")
    draw_flower(PHOTO.removesuffix(".jpg"), PHOTO_SEED, SIDE).save(folder / PHOTO, quality=90)
    return len(names)
