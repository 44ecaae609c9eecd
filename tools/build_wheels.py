"""Builds dist/*.whl: abi3 wheels for Linux on x86-64 and on aarch64, on a machine of either.

    source archive -> objects by gcc -> extension linked by zig -> auditwheel -> dist

- gcc of this machine, and ARCHITECTURE-linux-gnu-gcc for the other one; without that, zig's clang.
- zig knows the symbols of every glibc, so that the extension asks for those of 2.17 (2012),
  whatever this machine has.
- auditwheel reads the symbols that it does ask for, and names the oldest manylinux that has them.

`make wheel` installs zig and auditwheel (group `wheel`) and runs this.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

ARCHITECTURES = ("x86_64", "aarch64")
GLIBC = "2.17"
_BUILD = Path("build/wheels").resolve()

# Python's own flags are those of this machine's compiler: another one may not know them, and the
# wheel shall not depend on who built that Python.
_SETUP = """
import runpy, sys, sysconfig
sysconfig.get_config_vars().update(CFLAGS="-DNDEBUG", LDFLAGS="", CCSHARED="-fPIC")
sys.argv = ["setup.py", *sys.argv[1:]]
runpy.run_path("setup.py", run_name="__main__")
"""


def main() -> None:
    """Build the wheels of the architectures named, of all if none is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("architecture", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--dist", type=Path, default=Path("dist"))
    arguments = parser.parse_args()
    shutil.rmtree(_BUILD, ignore_errors=True)
    source = unpacked_source()
    for architecture in arguments.architecture:
        if architecture not in ARCHITECTURES:
            parser.error(f"{architecture}: not one of {', '.join(ARCHITECTURES)}")
        wheel = audited(build(source, architecture), arguments.dist.resolve())
        print(f"{arguments.dist / wheel.name}  {wheel.stat().st_size / 1e6:.1f} MB")


def unpacked_source() -> Path:
    """The folder of a fresh source archive: no wheel has what an archive lacks."""
    words = ["--sdist", "--no-isolation", "--outdir", str(_BUILD)]
    _run([sys.executable, "-m", "build", *words])
    (archive,) = _BUILD.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(_BUILD, filter="data")
    return _BUILD / archive.name.removesuffix(".tar.gz")


def compiler(architecture: str) -> list[str]:
    """The command that compiles for it, said aloud where it is not gcc."""
    is_here = platform.system() == "Linux" and platform.machine() == architecture
    name = "gcc" if is_here else f"{architecture}-linux-gnu-gcc"
    if shutil.which(name):
        return [name]
    package = "gcc" if is_here else f"gcc-{architecture.replace('_', '-')}-linux-gnu"
    print(f"{architecture}: no {name} here (Debian: {package}); zig's clang compiles instead")
    return _zig(architecture)


def build(source: Path, architecture: str) -> Path:
    """The wheel of one architecture, tagged linux_ARCHITECTURE."""
    into = _BUILD / architecture
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("CFLAGS", "CPPFLAGS", "LDFLAGS")},
        "CC": " ".join(compiler(architecture)),
        "LDSHARED": " ".join([*_zig(architecture), "-shared", "-s"]),
        "ZIG_GLOBAL_CACHE_DIR": str(_BUILD.parent / "zig"),
        "_PYTHON_HOST_PLATFORM": f"linux-{architecture}",
    }
    words = ["--quiet", "build", "--build-base", str(into / "build")]
    words += ["bdist_wheel", "--bdist-dir", str(into / "tree"), "--dist-dir", str(into)]
    _run([sys.executable, "-c", _SETUP, *words], environment, source)
    (wheel,) = into.glob("*.whl")
    return wheel


def audited(wheel: Path, dist: Path) -> Path:
    """The wheel in dist, with the manylinux tags that its symbols allow; older ones of ours go."""
    # Nothing is copied into it, so that no file needs a patch.
    words = ["repair", "--patcher", "none", "--wheel-dir", str(wheel.parent / "audited")]
    _run([sys.executable, "-m", "auditwheel", *words, str(wheel)])
    (tagged,) = (wheel.parent / "audited").glob("*.whl")
    dist.mkdir(parents=True, exist_ok=True)
    for old in dist.glob(f"q8tool-*linux*_{wheel.parent.name}.whl"):
        old.unlink()
    return Path(shutil.copy2(tagged, dist))


def _zig(architecture: str) -> list[str]:
    return [sys.executable, "-m", "ziglang", "cc", "-target", f"{architecture}-linux-gnu.{GLIBC}"]


def _run(
    words: Sequence[str], environment: dict[str, str] | None = None, folder: Path | None = None
) -> None:
    done = subprocess.run(
        words, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\nbuild_wheels: {' '.join(words[:5])} ... failed")


if __name__ == "__main__":
    main()
