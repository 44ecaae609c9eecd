"""Download: a model from an https address, once; checked, resumed, kept in a folder.

name.onnx.part  <- what came so far; the next try asks for the rest (Range, If-Range)
name.onnx.etag  <- the server's version of what came so far
name.onnx       <- complete, and the checksum is right
"""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from q8tool.errors import InputError, UsageError
from q8tool.model.files import file_sha256
from q8tool.pipelines.progress import Progress

__all__ = ["download", "is_address"]

TRIES = 4
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 1.0
PIECE = 1 << 18

# What goes wrong on the way and may go right the next time.
_PASSING = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def is_address(text: str) -> bool:
    """Whether it is to be downloaded."""
    return "://" in text


def download(address: str, folder: Path, sha256: str, progress: Progress) -> Path:
    """The file behind an https address, in the folder, from an earlier run if it is there.

    sha256   in hexadecimal that it must have; "": not checked
    Raises UsageError for another kind of address, InputError if the server does not deliver or the
    checksum is wrong; then no file of that name is left.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" or not parts.hostname:
        raise UsageError(f"{address}: is no https address", "only https is downloaded")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / _file_name(address, parts.path)
    if target.is_file() and (not sha256 or file_sha256(target) == sha256.lower()):
        return target
    part = target.with_name(target.name + ".part")
    _fetch_patiently(address, part, progress)
    found = file_sha256(part)
    if sha256 and found != sha256.lower():
        part.unlink()
        _etag_file(part).unlink(missing_ok=True)
        raise InputError(
            f"{address}: SHA-256 is {found}, not {sha256.lower()}", "is it the right file?"
        )
    part.replace(target)
    _etag_file(part).unlink(missing_ok=True)
    return target


def _file_name(address: str, path: str) -> str:
    """The last part of the address, with a hash of all of it before: names are not unique."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.rsplit("/", 1)[-1]).lstrip(".") or "model.onnx"
    return f"{hashlib.sha256(address.encode()).hexdigest()[:8]}-{name}"


def _fetch_patiently(address: str, part: Path, progress: Progress) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            return _fetch(address, part, progress)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.exists():
                # An earlier run was killed when all was there, or the file has become shorter.
                part.unlink()
                _etag_file(part).unlink(missing_ok=True)
                continue
            if error.code < 500 or attempt == TRIES:
                raise InputError(
                    f"{address}: the server says {error.code} {error.reason}"
                ) from error
        except OSError as error:
            if not isinstance(error, _PASSING):
                reason = (error.strerror or str(error)).lower()
                raise InputError(f"{part}: cannot be written: {reason}") from error
            _give_up_or_wait(address, attempt, error)
        except http.client.HTTPException as error:
            _give_up_or_wait(address, attempt, error)
        time.sleep(PAUSE_SECONDS * attempt)
    raise AssertionError("unreachable")


def _give_up_or_wait(address: str, attempt: int, error: Exception) -> None:
    if attempt == TRIES:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{address}: cannot be downloaded: {reason}",
            "run it again: it goes on where it stopped",
        ) from error


def _fetch(address: str, part: Path, progress: Progress) -> None:
    """One try: the rest of the part if the server still has the same file, else all of it."""
    have, etag = _begun(part)
    headers = {"User-Agent": "q8tool", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": etag}
    request = urllib.request.Request(address, headers=headers)
    opener = urllib.request.build_opener(_HttpsOnly())
    with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        total = have + _length(answer.headers)
        _etag_file(part).write_text(answer.headers.get("ETag") or "", encoding="utf-8")
        with part.open("ab" if have else "wb") as file:
            while piece := answer.read(PIECE):
                file.write(piece)
                have += len(piece)
                progress("downloading", have, total)
    if total and have < total:
        raise http.client.IncompleteRead(b"", total - have)


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows where the server points to, but not away from https."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """The next request. Raises InputError if it would not be https."""
        if urllib.parse.urlsplit(newurl).scheme != "https":
            raise InputError(f"{req.full_url}: leads away from https, to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _begun(part: Path) -> tuple[int, str]:
    """Bytes that an earlier try left, and of which version; 0 where the rest could be another."""
    with suppress(OSError):
        etag = _etag_file(part).read_text(encoding="utf-8")
        # A weak one does not promise equal bytes.
        if etag and not etag.startswith("W/"):
            return part.stat().st_size, etag
    return 0, ""


def _etag_file(part: Path) -> Path:
    return part.with_suffix(".etag")


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("Content-Length") or ""
    return int(text) if text.isdigit() else 0
