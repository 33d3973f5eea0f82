"""A model hub on the loopback, for tests: good answers and every bad one. It stops with its `with`, or after a minute.

`serving({"/mod/1": archive_bytes})` answers those paths, and the same content under prefixes that misbehave:
/redirect, /html, /truncated, /stall, /slow, /flaky (503 twice, then well), /down (503 always), /query (404 without the
hub's own query), /length, /to, /loop, /garbage, /chunked, /drip, /drophead, /endless.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LIFE_S = 60.0
LONGEST_STALL_S = 20.0


@dataclass(frozen=True)
class Hub:
    """A running server: its address, and how often each path (with its query) was asked for."""

    address: str
    requests: Counter[str] = field(default_factory=Counter)
    stopping: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def serving(archives: Mapping[str, bytes]) -> Iterator[Hub]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.daemon_threads = True
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = _handler(hub, archives)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    timer = threading.Timer(LIFE_S, server.shutdown)
    timer.daemon = True
    timer.start()
    try:
        yield hub
    finally:
        hub.stopping.set()
        timer.cancel()
        server.shutdown()
        server.server_close()


def tar_gz(folder: Path, prefix: str = "") -> bytes:
    """A folder as a hub sends it."""
    return tar_of({f"{prefix}{p.relative_to(folder).as_posix()}": p.read_bytes() for p in files(folder)})


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def tar_of(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """A .tar.gz of these members; a TarInfo stands for itself, without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _handler(hub: Hub, archives: Mapping[str, bytes]) -> Any:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            hub.requests[self.path] += 1
            parts = urlsplit(self.path)
            way, _, path = parts.path.removeprefix("/").partition("/")
            body = archives.get(parts.path) or archives.get("/" + path)
            behaviour = getattr(self, "_" + way, None)
            if body is None or (way == "query" and "tf-hub-format=compressed" not in parts.query):
                self._send(b"no such module", 404, "text/plain")
            elif behaviour is None:
                self._send(body)
            else:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    behaviour(body, path, parts.query)

        def _send(self, body: bytes, status: int = 200, kind: str = "application/gzip") -> None:
            self._head(status, kind, len(body))
            self.wfile.write(body)

        def _head(self, status: int, kind: str, length: int) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def _redirect(self, _body: bytes, path: str, query: str) -> None:
            self.send_response(302)
            self.send_header("Location", f"/{path}?{query}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _html(self, _body: bytes, _rest: str, _query: str) -> None:
            self._send(b"<!doctype html><html>please log in</html>", 200, "text/html; charset=utf-8")

        def _truncated(self, body: bytes, _rest: str, _query: str) -> None:
            self._head(200, "application/gzip", len(body))
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True

        def _stall(self, body: bytes, _rest: str, _query: str) -> None:
            self._head(200, "application/gzip", len(body))
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            hub.stopping.wait(LONGEST_STALL_S)
            self.close_connection = True

        def _slow(self, body: bytes, _rest: str, _query: str) -> None:
            self._head(200, "application/gzip", len(body))
            for start in range(0, len(body), len(body) // 10 + 1):
                self.wfile.write(body[start : start + len(body) // 10 + 1])
                self.wfile.flush()
                time.sleep(0.1)

        def _flaky(self, body: bytes, _rest: str, _query: str) -> None:
            if hub.requests[self.path] <= 2:
                self._down(body, _rest, _query)
            else:
                self._send(body)

        def _raw(self, *lines: bytes) -> None:
            self.wfile.write(b"\r\n".join(lines) + b"\r\n\r\n")
            self.wfile.flush()
            self.close_connection = True

        def _length(self, body: bytes, _rest: str, query: str) -> None:
            """The query's own Content-Length, as /length/mod/1?abc."""
            self._raw(b"HTTP/1.1 200 OK", b"Content-Length: " + query.split("&", maxsplit=1)[0].encode())
            self.wfile.write(body)

        def _to(self, _body: bytes, _rest: str, query: str) -> None:
            """A redirect to the query, as /to/mod/1?ftp://host/x."""
            self._raw(
                b"HTTP/1.1 302 Found", b"Location: " + query.split("&", maxsplit=1)[0].encode(), b"Content-Length: 0"
            )

        def _loop(self, _body: bytes, _rest: str, _query: str) -> None:
            self._raw(b"HTTP/1.1 302 Found", b"Location: " + self.path.encode(), b"Content-Length: 0")

        def _garbage(self, _body: bytes, _rest: str, _query: str) -> None:
            self._raw(b"\x1b[2J\x07 no http \x1b]0;owned\x07" + b"x" * 3_000)

        def _chunked(self, body: bytes, _rest: str, _query: str) -> None:
            self._raw(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked")
            self.wfile.write(b"ffff\r\n" + body[:100])

        def _drip(self, _body: bytes, _rest: str, _query: str) -> None:
            self._raw(b"HTTP/1.1 200 OK", b"Content-Type: application/gzip")
            self._drop(b"x")

        def _drophead(self, _body: bytes, _rest: str, _query: str) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            self._drop(b"x")

        def _endless(self, _body: bytes, _rest: str, _query: str) -> None:
            self._raw(b"HTTP/1.1 200 OK", b"Content-Type: application/gzip")
            while not hub.stopping.is_set():
                self.wfile.write(bytes(1 << 16))

        def _drop(self, data: bytes) -> None:
            while not hub.stopping.wait(0.05):
                self.wfile.write(data)
                self.wfile.flush()

        def _down(self, _body: bytes, _rest: str, _query: str) -> None:
            self._send(b"busy", 503, "text/plain")

    return Handler
