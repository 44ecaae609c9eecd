"""demo: a folder with drawn flowers, for the commands to work on."""

from dataclasses import dataclass
from pathlib import Path

from q8tool.errors import UsageError
from q8tool.image.draw import FLOWERS, draw_flower
from q8tool.pipelines.progress import Progress, silent

__all__ = ["MADE", "MODEL", "PHOTO", "PICTURES", "Options", "run"]

PICTURES = "pictures"
PHOTO = "sunflower.jpg"
MODEL, FLOAT_MODEL = "own.onnx", "own.float.onnx"
FROZEN, LOOSE, SMALL, NO_DATA = "frozen.onnx", "loose.onnx", "small.onnx", "nodata.onnx"
# What the commands of the demo write; an earlier run's are removed.
MADE = (
    MODEL, FLOAT_MODEL, "labels.txt", "split.csv", "report.json", FROZEN, LOOSE, SMALL, NO_DATA,
)  # fmt: skip

SEEDS = range(1, 21)
SIDE = 240  # pixels
# None of the pictures that anything is learnt from or measured with.
PHOTO_SEED = 21
NOTE = "README.txt"
TEXT = f"""Made by `q8tool demo`, which replaces these files when it is run again.

{PICTURES + "/":<19} drawn flowers, one folder for each kind
{PHOTO:<19} one more, to be labelled
{MODEL:<19} what retrain learnt from the pictures, eight-bit
{FLOAT_MODEL:<19} the same in float
labels.txt          the kinds
split.csv           which picture it learnt from, and which ones judged it
report.json         how good it is
{FROZEN:<19} the float model, ready to run
{LOOSE:<19} eight-bit, made without any data, conversions around each operator
{NO_DATA:<19} the same without the conversions that cancel
{SMALL:<19} eight-bit, ranges measured on the pictures
cache/              what retrain saw in the pictures, for its next run
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
        for name in MADE:
            (folder / name).unlink(missing_ok=True)
        return _draw(folder, progress)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{error.filename or folder}: {reason}") from error


def _check_folder(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is no folder")
    is_demo = (folder / NOTE).is_file() and (folder / PICTURES).is_dir()
    if not force and not is_demo and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            f"{folder}: holds something else than a demo",
            "name another folder, or --force to put the demo's files there",
        )


def _draw(folder: Path, progress: Progress) -> int:
    names = [(kind, seed) for kind in FLOWERS for seed in SEEDS]
    for done, (kind, seed) in enumerate(names):
        progress("drawing flowers", done, len(names))
        (folder / PICTURES / kind).mkdir(exist_ok=True)
        draw_flower(kind, seed, SIDE).save(folder / PICTURES / kind / f"{seed}.png")
    draw_flower(PHOTO.removesuffix(".jpg"), PHOTO_SEED, SIDE).save(folder / PHOTO, quality=90)
    return len(names)
