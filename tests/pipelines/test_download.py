"""Downloads from a server of our own, over TLS: checked, resumed, kept."""

import hashlib
import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from q8tool.errors import InputError, UsageError
from q8tool.pipelines import download as subject
from q8tool.pipelines.download import download
from q8tool.pipelines.progress import silent

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; `breaks` answers end after half of what they promise."""

    breaks = 0
    status = 200
    etag = '"one"'
    location = ""

    def __init__(self) -> None:
        super().__init__(("localhost", 0), Handler)
        self.asked: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.location:
            self.send_response(302)
            self.send_header("Location", self.server.location)
            self.end_headers()
            return
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = 0
        if asked and self.headers.get("If-Range") == self.server.etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start and start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(subject, "PAUSE_SECONDS", 0.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Server() as found:
        found.socket = context.wrap_socket(found.socket, server_side=True)
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def address(server: Server) -> str:
    return f"https://localhost:{server.server_address[1]}/models/base.onnx?x=1"


def test_it_comes_whole_once_and_is_kept(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = download(
        address(server),
        tmp_path / "kept",
        SHA256,
        lambda stage, done, total: seen.append((done, total)),
    )
    assert found.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert found.name.endswith("-base.onnx")
    assert download(address(server), tmp_path / "kept", SHA256.upper(), silent) == found
    assert len(server.asked) == 1
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [found.name]


def test_a_broken_line_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    assert download(address(server), tmp_path, SHA256, silent).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.asked == [None, f"bytes={half}-", f"bytes={half + (len(CONTENT) - half) // 2}-"]


def test_another_run_goes_on_too_unless_the_file_changed(server: Server, tmp_path: Path) -> None:
    server.breaks = subject.TRIES
    with pytest.raises(InputError, match="cannot be downloaded") as caught:
        download(address(server), tmp_path, SHA256, silent)
    assert "goes on where it stopped" in caught.value.hint
    server.etag = '"two"'
    assert download(address(server), tmp_path, SHA256, silent).read_bytes() == CONTENT
    assert server.asked[-1] is not None


def test_a_run_that_was_killed_when_all_was_there(server: Server, tmp_path: Path) -> None:
    server.breaks = subject.TRIES
    with pytest.raises(InputError):
        download(address(server), tmp_path, SHA256, silent)
    part = next(tmp_path.glob("*.part"))
    part.write_bytes(CONTENT)
    assert download(address(server), tmp_path, SHA256, silent).read_bytes() == CONTENT
    assert server.asked[-2:] == [f"bytes={len(CONTENT)}-", None]


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"SHA-256 is {SHA256}, not 00"):
        download(address(server), tmp_path / "kept", "0" * 64, silent)
    assert not list((tmp_path / "kept").iterdir())


def test_what_the_server_refuses(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(InputError, match="the server says 404"):
        download(address(server), tmp_path, "", silent)
    assert len(server.asked) == 1
    server.status = 503
    with pytest.raises(InputError, match="the server says 503"):
        download(address(server), tmp_path, "", silent)
    assert len(server.asked) == 1 + subject.TRIES


@pytest.mark.parametrize("text", ["http://x/y.onnx", "ftp://x/y", "file:///etc/passwd"])
def test_only_https(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no https address"):
        download(text, tmp_path, "", silent)


def test_it_does_not_follow_away_from_https(server: Server, tmp_path: Path) -> None:
    server.location = "http://localhost:9/base.onnx"
    with pytest.raises(InputError, match="leads away from https"):
        download(address(server), tmp_path, "", silent)


def test_a_certificate_that_nobody_vouches_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(InputError, match="cannot be downloaded"):
        download(address(server), tmp_path, "", silent)
