"""The plan cache: what a model was compiled to, kept for the next process.

A model's file is known by its SHA-256; what is kept is valid for this very build of the package
and instruction set. Files are written beside their place and renamed, so that processes never see
half of one; a damaged one counts as absent; the longest unused go when the folder grows too large.

Q8_CACHE names the folder ("off": nothing is kept); else it is q8tool/ in the user's cache folder.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import q8tool
from q8tool.engine.plan_store import Journal, read_described, read_program
from q8tool.engine.program import Program, Signature
from q8tool.engine.summary import Summary
from q8tool.errors import Q8Error
from q8tool.model.files import file_sha256, user_cache_folder
from q8tool.model.open_file import OpenFile
from q8tool.native import cpu

__all__ = ["PlanCache", "cache_folder", "cached_plans"]

# A plan spares imports and lowering, whose time does not grow with a model's bytes; hashing them,
# writing the plan and checking it does: of larger models a plan takes longer than it spares.
_LARGEST_MODEL = 16 << 20
_LARGEST_ENTRY = 128 << 20
_LARGEST_FOLDER = 512 << 20

# What reading leads to where a file is whole, yet not ours: somebody else's of that name.
_NOT_OURS = (
    Q8Error, ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RecursionError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip
# A file written so long ago has other times when it is written again.
_SETTLED_NS = 2_000_000_000


def cache_folder() -> Path | None:
    """Where q8tool may keep what it can make again; None: nowhere."""
    given = os.environ.get("Q8_CACHE", "")
    if given == "off":
        return None
    return Path(given) if given else user_cache_folder()


def cached_plans(path: Path) -> "PlanCache | None":
    """The plans of a model file; None if none are kept of it, now or later."""
    with suppress(OSError, RuntimeError):
        folder = cache_folder()
        if folder is not None and path.is_file() and path.stat().st_size <= _LARGEST_MODEL:
            return PlanCache(folder / "plans", path)
    return None


class PlanCache:
    """Kept plans of one model file. Nothing here fails: what cannot be kept is made again."""

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder = folder
        self._path = path
        self._state = _state(path)
        self._model = file_sha256(path)

    def is_current(self) -> bool:
        """Whether the file still is what it was when this object was made."""
        try:
            return _state(self._path) == self._state or file_sha256(self._path) == self._model
        except OSError:
            return False

    def summary(self) -> Summary | None:
        """The model's summary, if it is kept."""
        try:
            described = read_described(self._opened(self._place("summary")))
            return None if described is None else Summary.from_json(described)
        except _NOT_OURS:
            return None

    def keep_summary(self, summary: Summary) -> None:
        """Keeps it; types that numpy itself does not have are left."""
        if all(info.dtype.kind in "biufO" for info in (*summary.inputs, *summary.outputs)):
            with self._written(self._place("summary")) as journal:
                if journal is not None:
                    journal.end(summary.to_json())

    def program(self, fed: Signature, wanted: Sequence[str], isa: str | None) -> Program | None:
        """The program for these inputs, if it is kept."""
        try:
            kept = read_program(self._opened(self._program_place(fed, wanted, isa)), isa)
        except _NOT_OURS:
            return None
        if kept is None or _sizes(kept) != _fed_sizes(fed) or set(kept.results) != set(wanted):
            return None
        return kept

    @contextmanager
    def journal(
        self, fed: Signature, wanted: Sequence[str], isa: str | None
    ) -> Iterator[Journal | None]:
        """Keeps the program whose making the journal sees; None where that is impossible."""
        with self._written(self._program_place(fed, wanted, isa)) as journal:
            yield journal

    # ---- inside ----

    def _place(self, what: str) -> Path:
        key = hashlib.sha256("\n".join([self._model, _build(), what]).encode())
        return self._folder / key.hexdigest()

    def _program_place(self, fed: Signature, wanted: Sequence[str], isa: str | None) -> Path:
        return self._place(json.dumps([_plain(fed), list(wanted), cpu.check_isa(isa)]))

    def _opened(self, place: Path) -> OpenFile:
        file = OpenFile(place)
        os.utime(place)  # it is used: others go first
        return file

    @contextmanager
    def _written(self, place: Path) -> Iterator[Journal | None]:
        """A file that gets its name when it is complete; None where none can be written."""
        temporary = place.with_name(f"{place.name}.{os.urandom(4).hex()}.tmp")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = temporary.open("w+b")
        except OSError:
            yield None
            return
        try:
            journal = Journal(file)
            yield journal
            if journal.is_complete:
                self._accept(temporary, place)
        finally:
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _accept(self, temporary: Path, place: Path) -> None:
        with suppress(OSError):
            if temporary.stat().st_size <= _LARGEST_ENTRY:
                temporary.replace(place)
                _make_room(self._folder)


def _state(path: Path) -> object:
    """Equal for a file that nobody has written in between; unequal to itself if nobody knows."""
    found = path.stat()
    is_settled = time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _SETTLED_NS
    times = (found.st_mtime_ns, found.st_ctime_ns) if is_settled else object()
    return found.st_dev, found.st_ino, found.st_size, times


@cache
def _build() -> str:
    """What tells this build of the package from others: version, sizes and times of its files."""
    root = Path(__file__).parents[1]
    entries = [
        (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
        for room in ("engine", "model", "native", "ops")
        for entry in os.scandir(root / room)
        if entry.name.endswith((".py", ".so"))
    ]
    return json.dumps([q8tool.__version__, sorted(entries)])


def _plain(fed: Signature) -> Mapping[str, object]:
    return {name: [str(dtype), shape] for name, (dtype, shape) in fed.items()}


def _sizes(program: Program) -> dict[str, object]:
    """Dimensions and bytes of an entry, of each input."""
    return {name: (tensor.dims, tensor.dtype.itemsize) for name, tensor in program.inputs.items()}


def _fed_sizes(fed: Signature) -> dict[str, object]:
    return {name: (shape, dtype and dtype.itemsize) for name, (dtype, shape) in fed.items()}


def _make_room(folder: Path) -> None:
    """Removes the longest unused files until the rest is small enough."""
    files = [(e.stat().st_mtime_ns, e.stat().st_size, e.path) for e in os.scandir(folder)]
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= _LARGEST_FOLDER:
            return
        Path(path).unlink(missing_ok=True)
        total -= size
