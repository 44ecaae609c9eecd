"""Unpacks an aarch64 Python with what the tests import, for the emulator qemu-aarch64.

    Debian's arm64 python3 (apt-get, into the folder; nothing is installed) + PyPI's aarch64 wheels

    python tools/arm_python.py FOLDER     then FOLDER/python is it

`make arm-python` runs this, `make check-arm-python` and `make test-arm-python` use it.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

DEBIAN = ["python3", "libstdc++6", "libgomp1"]
# What q8tool and its tests of the engine import; each in the version that is installed here.
WHEELS = [
    "cffi", "click", "hypothesis", "numpy", "onnx", "onnx-ir", "onnxruntime", "packaging", "pillow",
    "pytest", "pytest-timeout", "rich", "safetensors", "tqdm",
]  # fmt: skip
# onnxruntime reads it, and takes another machine's for none.
_CPU = """processor\t: {number}
BogoMIPS\t: 50.00
Features\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""
# -0: sys.executable is this file, so that what starts a process of its own is emulated as well.
_START = """#!/bin/sh
folder=$(dirname "$(realpath "$0")")
export PYTHONHOME="$folder/usr" PYTHONPATH="$folder/site${{PYTHONPATH:+:$PYTHONPATH}}"
exec qemu-aarch64 -L "$folder" -0 "$folder/python" "$folder/usr/bin/{name}" "$@"
"""


def main() -> None:
    """Make the folder anew."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    for tool in ("qemu-aarch64", "apt-get", "dpkg"):
        if shutil.which(tool) is None:
            sys.exit(f"arm_python: {tool} is needed (Debian: qemu-user)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    unpack_debian(folder)
    (found,) = (folder / "usr" / "bin").glob("python3.[0-9]*[0-9]")
    install_wheels(folder / "site", found.name.removeprefix("python"))
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_text("".join(_CPU.format(number=n) for n in (0, 1)))
    (folder / "python").write_text(_START.format(name=found.name))
    (folder / "python").chmod(0o755)
    _run([str(folder / "python"), "-c", "import numpy, onnx, onnxruntime"])
    print(f"{folder / 'python'}  {found.name}")


def unpack_debian(folder: Path) -> None:
    """Python and all that it depends on, fetched as if on an arm64 machine with nothing on it."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (place / part).mkdir(parents=True)
        (place / "status").touch()
        settings = {
            "APT::Architecture": "arm64", "APT::Architectures": "arm64",
            "Dir::State": f"{place}/state", "Dir::State::status": f"{place}/status",
            "Dir::Cache": f"{place}/cache", "Debug::NoLocking": "true",
        }  # fmt: skip
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        _run(["apt-get", "-qq", *options, "update"])
        words = ["install", "--download-only", "--no-install-recommends", "--yes", *DEBIAN]
        _run(["apt-get", "-qq", *options, *words])
        for package in sorted((place / "cache" / "archives").glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(folder)])


def install_wheels(site: Path, python: str) -> None:
    """The wheels of PyPI for that Python ("3.11"), in the folder site."""
    words = ["--target", str(site), "--only-binary=:all:", "--python-version", python]
    for glibc in (17, 26, 27, 28):
        words += ["--platform", f"manylinux_2_{glibc}_aarch64"]
    words += ["--platform", "manylinux2014_aarch64"]
    pins = [f"{name}=={re.sub(r'[+].*', '', version(name))}" for name in WHEELS]
    _run([sys.executable, "-m", "pip", "--quiet", "install", *words, *pins])


def _run(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\narm_python: {' '.join(words[:3])} ... failed")


if __name__ == "__main__":
    main()
