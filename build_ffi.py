"""Compiles csrc/ into the extension module q8tool.native._q8.

cffi reads the marked part of csrc/q8.h itself, and csrc/CFLAGS holds the flags that the Makefile
uses too, so that the wheel and the C checks are the same code.
"""

from pathlib import Path

from cffi import FFI

CSRC = Path("csrc")
header = (CSRC / "q8.h").read_text(encoding="utf-8")

ffibuilder = FFI()
ffibuilder.cdef(
    header.split("/* ---- cffi: begin ---- */")[1].split("/* ---- cffi: end ---- */")[0]
)
ffibuilder.set_source(
    "q8tool.native._q8",
    '#include "q8.h"',
    include_dirs=[str(CSRC)],
    sources=sorted(str(p) for d in (CSRC, CSRC / "ops", CSRC / "kernels") for p in d.glob("*.c")),
    depends=sorted(str(p) for suffix in ("*.h", "*.inc", "CFLAGS") for p in CSRC.rglob(suffix)),
    extra_compile_args=(CSRC / "CFLAGS").read_text(encoding="utf-8").split(),
    libraries=["m"],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
