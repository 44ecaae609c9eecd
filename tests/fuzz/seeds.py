"""What the fuzzers damage: small sound files of every kind, made here."""

import functools
import io
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from tests.build import Case, float_model, quantized_model
from tests.engine.cases import CODE_CASES, FLOAT_CASES
from tests.graphs import proto

__all__ = ["Seeds", "classifier", "labels", "models", "npz", "npz_checkpoint", "photo_bomb",
           "photos", "ranges", "recipe", "safetensors_checkpoint"]  # fmt: skip

CLASSIFIER = """g (float[N,3,8,8] x) => (float[N,4] y) {
    c = Conv(x, w)  r = Relu(c)  p = GlobalAveragePool(r)  f = Flatten(p)  m = MatMul(f, v)
    y = Softmax(m) }"""

# Seeds by name: made when they are asked for.
Seeds = Mapping[str, Callable[[], bytes]]


def numbers(*shape: int) -> np.ndarray:
    """The same numbers every time."""
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


def classifier() -> onnx.ModelProto:
    """A float model that takes photos."""
    return proto(CLASSIFIER, w=numbers(6, 3, 3, 3), v=numbers(6, 4))


def models() -> Seeds:
    """Every case of the engine, float, and eight-bit where it has such a form."""
    seeds: dict[str, Callable[[], bytes]]
    seeds = {f"float {case.name}.onnx": functools.partial(_float, case) for case in FLOAT_CASES}
    seeds |= {f"codes {case.name}.onnx": functools.partial(_codes, case) for case in CODE_CASES}
    return seeds


def _float(case: Case) -> bytes:
    return bytes(float_model(case).SerializeToString())


def _codes(case: Case) -> bytes:
    try:
        return bytes(quantized_model(case, "uint8").SerializeToString())
    except Exception:  # a case of an opset that has no such operator
        return _float(case)


def _photo(kind: str, mode: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (21, 17, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def photos() -> Seeds:
    """Every format, and some of their modes."""
    kinds: dict[str, tuple[str, str, dict[str, Any]]] = {
        "a.png": ("PNG", "RGB", {}), "p.png": ("PNG", "P", {}), "t.png": ("PNG", "RGBA", {}),
        "a.jpg": ("JPEG", "RGB", {}), "c.jpg": ("JPEG", "CMYK", {}),
        "g.jpg": ("JPEG", "L", {"progressive": True}), "a.gif": ("GIF", "P", {}),
        "a.bmp": ("BMP", "RGB", {}), "a.webp": ("WEBP", "RGB", {}), "a.tif": ("TIFF", "RGB", {}),
        "z.tif": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    }  # fmt: skip
    made: dict[str, Callable[[], bytes]] = {
        name: functools.partial(_photo, kind, mode, **options)
        for name, (kind, mode, options) in kinds.items()
    }
    return made | {"bomb.png": photo_bomb}


def npz() -> bytes:
    """Arrays for --data."""
    file = io.BytesIO()
    np.savez(file, x=numbers(6, 3, 8, 8))
    return file.getvalue()


def npz_checkpoint() -> bytes:
    """Weights of the classifier."""
    file = io.BytesIO()
    np.savez_compressed(file, w=numbers(6, 3, 3, 3), v=numbers(6, 4))
    return file.getvalue()


def safetensors_checkpoint() -> bytes:
    """The same in the other format."""
    from safetensors.numpy import save

    return bytes(save({"w": numbers(6, 3, 3, 3), "v": numbers(6, 4)}))


def ranges() -> bytes:
    """Ranges of the classifier's values, with the statistics of one."""
    from q8tool.cli import main

    folder = Path.cwd()
    onnx.save(classifier(), folder / "seed.onnx")
    (folder / "seed.npz").write_bytes(npz())
    words = ["calibrate", "--input", "seed.onnx", "--data", "seed.npz", "--output", "seed.json"]
    assert main([*words, "--force"]) == 0
    return (folder / "seed.json").read_bytes()


def recipe() -> bytes:
    """Options of quantize."""
    return (
        b'calibration = "mse"\nexclude = ["Softmax*", "op:MatMul"]\nmax-drop = 0.005\n'
        b'mode = "eightbit"\nper-channel = true\nmean = [1.0, 2, 3]\n'
    )


def labels() -> bytes:
    """Names of the classifier's classes."""
    return "".join(f"n{i:08d} class {i}\n" for i in range(4)).encode()


def photo_bomb() -> bytes:
    """A PNG that says it has 60000 x 60000 pixels."""
    data = bytearray(_photo("PNG", "RGB"))
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)
