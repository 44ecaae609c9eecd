"""Backbone: from a base (embedded, a file or an address) to a network that gives features.

base -> download -> load -> prepare -> how photos become its input -> cut at the features
"""

import hashlib
import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from q8tool.engine.session import Session, TensorInfo
from q8tool.errors import InputError, UsageError
from q8tool.image.spec import Spec
from q8tool.model import io, metadata
from q8tool.model.files import file_sha256
from q8tool.model.graph import is_quantized
from q8tool.passes.cut_at_features import cut_at_features, find_features
from q8tool.passes.fold_constants import fold_constants
from q8tool.pipelines.download import download, is_address
from q8tool.pipelines.preprocessing import ChosenSpec, SpecOptions, choose_spec, image_input
from q8tool.pipelines.progress import Progress
from q8tool.pipelines.rewriting import prepared

__all__ = [
    "EMBEDDED",
    "Backbone",
    "BaseOptions",
    "content_key",
    "load_backbone",
    "open_base",
    "serialized",
]

EMBEDDED = "backbone.onnx"
# Weights stored in half the space (float16 behind a Cast) become float32 before anything else.
_FOLDED_BYTES = 1 << 30


@dataclass(frozen=True)
class BaseOptions:
    """Which network to begin with.

    base       a path or an https address; "": the one inside q8tool
    sha256     that the base must have; "": any
    feature    the value to learn from; "": found
    folder     where downloads are kept
    """

    base: str
    sha256: str
    feature: str
    folder: Path
    preprocessing: SpecOptions


@dataclass(frozen=True)
class Backbone:
    """A float network from photos to features.

    name     of the base, for people
    width    how many numbers the features are
    """

    name: str
    model: ir.Model
    feature: str
    width: int
    input: TensorInfo
    chosen: ChosenSpec

    @property
    def spec(self) -> Spec:
        """How photos become its input."""
        return self.chosen.spec


def open_base(options: BaseOptions, progress: Progress) -> tuple[str, ir.Model]:
    """The base as it was given, and what people call it."""
    if not options.base:
        source = importlib.resources.files("q8tool").joinpath("data", EMBEDDED)
        with importlib.resources.as_file(source) as path:
            return "embedded", _loaded(path)
    if is_address(options.base):
        path = download(options.base, options.folder, options.sha256, progress)
        return options.base, _loaded(path)
    path = Path(options.base)
    if options.sha256 and path.is_file():
        found = file_sha256(path)
        if found != options.sha256.lower():
            raise InputError(f"{path}: SHA-256 is {found}, not {options.sha256.lower()}")
    return path.name, _loaded(path)


def load_backbone(options: BaseOptions, photos: Sequence[Path], progress: Progress) -> Backbone:
    """The base, cut at its features.

    photos   a few, to try out how they become its input if neither flags nor the base say it
    """
    name, original = open_base(options, progress)
    model, _ = prepared(original)
    fold_constants(model, _FOLDED_BYTES)
    info = image_input(Session(model, threads=1).inputs, hint="a base must take photos")
    chosen = choose_spec(model, info, options.preprocessing, photos)
    feature = options.feature or find_features(model)
    width = cut_at_features(model, feature)
    if not model.graph.inputs:
        raise UsageError(f"'{feature}' does not depend on the photo", "name another: --feature")
    model.metadata_props.clear()
    metadata.set_preprocess(model, chosen.spec.to_dict())
    return Backbone(name, model, feature, width, info, chosen)


def serialized(model: ir.Model) -> bytes:
    """The model's bytes; the same for the same model."""
    return bytes(io.to_proto(model).SerializeToString(deterministic=True))


def content_key(content: bytes, spec: Spec) -> str:
    """What tells features of this model and preprocessing from others, hexadecimal."""
    rules = json.dumps(spec.to_dict(), sort_keys=True)
    return hashlib.sha256(hashlib.sha256(content).digest() + rules.encode()).hexdigest()


def _loaded(path: Path) -> ir.Model:
    model = io.load(path)
    if is_quantized(model):
        raise InputError(
            f"{path}: is quantized already", "give the float model as --base; retrain quantizes it"
        )
    return model
