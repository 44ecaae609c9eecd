"""The house as a test: imports go down only, and some things live on one floor only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "q8tool"

# Top to bottom. Rooms of one floor do not import each other, but for the pairs below.
FLOORS = [
    {"cli"},
    {"pipelines", "backend"},
    {"passes", "calibrate", "train"},
    {"engine"},
    {"ops"},
    {"model", "numerics", "image"},
    {"native"},
    {"errors"},
]
# Files and graphs speak of scales and zero points.
NEIGHBOURS = {("model", "numerics")}
# The package itself re-exports public names; `python -m q8tool` is the command line.
TOP = {"__init__": 0, "__main__": -1}

MODULES = sorted(SOURCE.rglob("*.py"))


def level(room: str) -> int:
    return next(index for index, rooms in enumerate(FLOORS) if room in rooms)


def room_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, wherever it stands in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def own_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import of our own package."""
    for line, name in imported(path):
        parts = name.split(".")
        rooms = {room for rooms in FLOORS for room in rooms}
        if parts[0] == "q8tool" and len(parts) > 1 and parts[1] in rooms:
            yield line, parts[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    own = TOP.get(room)
    for line, other in own_rooms(path):
        if other == room:
            continue
        here = level(room) if own is None else own
        is_down = level(other) > here or (room, other) in NEIGHBOURS
        assert is_down, f"{path.relative_to(SOURCE)}:{line}: {room} imports {other}"


@pytest.mark.parametrize(
    ("library", "home"),
    [("click", "cli"), ("rich", "cli"), ("tqdm", "cli"), ("PIL", "image"), ("cffi", "native")],
)
def test_libraries_with_one_home(library: str, home: str) -> None:
    strangers = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in MODULES
        if room_of(path) != home
        for line, name in imported(path)
        if name.split(".")[0] == library
    ]
    assert not strangers, f"{library} is imported outside {home}"


def test_only_the_command_line_prints() -> None:
    printing = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in MODULES
        if room_of(path) != "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("print", "input")
    ]
    assert not printing


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(SOURCE))
        for path in MODULES
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(SOURCE)}:{node.name}", node


def test_functions_fit_a_screen() -> None:
    long = [name for name, node in functions() if (node.end_lineno or 0) - node.lineno >= 80]
    assert not long


def test_files_have_one_subject() -> None:
    long = {
        str(path.relative_to(SOURCE)): lines
        for path in MODULES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long


def test_kernels_include_only_their_contracts() -> None:
    """Kernels see pointers and counts: no plan, no threads, no drivers."""
    allowed = {"kernels.h", "requant.h", "target.h"}
    kernels = ROOT / "csrc" / "kernels"
    own = {path.name for path in [*kernels.glob("*.inc"), *kernels.glob("*.h")]}
    foreign = [
        f"{path.name}: {line}"
        for path in sorted(kernels.iterdir())
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith('#include "') and line.split('"')[1] not in allowed | own | {"../q8.h"}
    ]
    assert not foreign


def test_the_cpu_is_asked_in_one_place() -> None:
    words = ("__get_cpuid", "__cpuid", "getauxval(", "sysctlbyname(")
    asking = {
        path.name
        for path in (ROOT / "csrc").rglob("*.[ch]")
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert asking == {"cpu.c"}
