"""A server on the loopback that answers in every wrong way; waits are shortened, so that each case ends in seconds."""

import contextlib
import io
import socket
import socketserver
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import hub_server

from attacks.cases import Case, Outcome, either, gives, refused

CONTENT = {"saved_model.pb": b"graph" * 100, "variables/variables.data": bytes(range(256)) * 800}
PAGE = b"<!doctype html><html>please log in</html>"


def cases() -> Iterator[Case]:
    """The test server's ways, then answers byte by byte, then servers that are no servers."""
    yield from _ways()
    yield from _raw()
    yield from _absent()


def _whole(folder: Path) -> bool:
    return all((folder / name).read_bytes() == held for name, held in CONTENT.items())


_fetched = gives(_whole, "the module")


def _resolved(address: str) -> Path:
    from tlkit.hub import downloading, resolve
    from tlkit.hub.store import modules_dir

    downloading.PAUSE_S, downloading.TIMEOUT_S = 0.01, 2.0
    downloading.HEAD_S = downloading.SLOW_S = 2.0
    downloading.MAX_BYTES = 8 << 20
    try:
        return resolve(address)
    finally:
        partial = modules_dir() / "partial"
        left = list(partial.rglob("*")) if partial.exists() else []
        if left:
            raise RuntimeError(f"left over: {left}")


def _clean(answer: Callable[[Outcome], str]) -> Callable[[Outcome], str]:
    """The answer, in printable characters: a server's bytes are no business of a terminal."""

    def wrong(outcome: Outcome) -> str:
        if outcome.sentence and not outcome.error.isprintable():
            return f"misleading: not printable: {outcome.error[:200]!r}"
        return answer(outcome)

    return wrong


def _ways() -> Iterator[Case]:
    def case(way: str, wrong: Callable[[Outcome], str]) -> Case:
        def act(_folder: Path) -> Any:
            with hub_server.serving({"/mod/1": hub_server.tar_of(CONTENT)}) as hub:
                return _resolved(hub.address + way)

        return Case("network", way[:60], act, _clean(wrong))

    for way in ("/mod/1", "/redirect/mod/1", "/slow/mod/1", "/flaky/mod/1", "/query/mod/1", "/mod/1?a=b&c=%2F"):
        yield case(way, _fetched)
    for way in ("html", "truncated", "stall", "down", "loop", "garbage", "chunked", "drip", "drophead", "endless"):
        yield case(f"/{way}/mod/1", refused())
    yield case("/nothing/here", refused("404"))
    for length in ("abc", "-1", "1e6", "0x10", "+5", "9999999999999999", "9" * 100, "%D9%A1", "1,2", ""):
        ignored = length == "-1"  # Python's client reads to the end then, and the archive is whole
        yield case(f"/length/mod/1?{length}", either(refused(), _fetched) if ignored else refused())
    for place in (
        *("http://[bad/", "http://h:port/", "ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://x/", "//", "http://"),
        *("javascript:alert(1)", "data:text/plain,x", "http://127.0.0.1:1/", "%00", "/nothing/here", "\\\\server\\x"),
    ):
        yield case(f"/to/mod/1?{place}", refused())
    yield case("/to/mod/1?/redirect/mod/1", _fetched)


def _raw() -> Iterator[Case]:
    archive = hub_server.tar_of(CONTENT)
    ok = b"HTTP/1.1 200 OK\r\n"

    def sized(body: bytes, head: bytes = b"") -> bytes:
        return ok + head + b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body

    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (archive[:999], archive[999:])) + b"0\r\n\r\n"
    answers: dict[str, tuple[bytes, Callable[[Outcome], str]]] = {
        "a sound answer": (sized(archive), _fetched),
        "HTTP/1.0, no length": (b"HTTP/1.0 200 OK\r\n\r\n" + archive, _fetched),
        "sound chunks": (ok + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, _fetched),
        "a plain tar": (sized(_plain_tar()), _fetched),
        "nothing": (b"", refused()),
        "a blank line": (b"\r\n", refused()),
        "no status": (b"200 OK\r\n\r\n" + archive, refused()),
        "a status that is no number": (b"HTTP/1.1 abc OK\r\n\r\n", refused()),
        "status 999": (b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", refused()),
        "status 204": (b"HTTP/1.1 204 No Content\r\n\r\n", refused()),
        "status 206": (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\n\r\n" + archive[:10], refused()),
        "status 304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", refused()),
        "status 401": (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", refused("401")),
        "status 403": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", refused("403")),
        "status 429": (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", refused("429")),
        "status 500 with codes of a terminal": (b"HTTP/1.1 500 \x1b[31m\x07\r\nContent-Length: 0\r\n\r\n", refused()),
        "a redirect to nowhere": (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", refused()),
        "a redirect of bytes": (b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n", refused()),
        "two lengths": (ok + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n" + archive, refused()),
        "a length too short": (ok + b"Content-Length: 100\r\n\r\n" + archive, refused()),
        "a length of 0": (ok + b"Content-Length: 0\r\n\r\n", refused()),
        "1,000 headers": (ok + b"X: y\r\n" * 1_000 + b"\r\n", refused()),
        "a header of 1 MB": (ok + b"X: " + b"y" * (1 << 20) + b"\r\n\r\n", refused()),
        "a header without a colon": (sized(archive, b"nonsense\r\n"), either(_fetched, refused())),
        "a chunk that is no number": (ok + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", refused()),
        "an endless chunk": (ok + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 99_999, refused()),
        "a negative chunk": (ok + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nxxxxx\r\n0\r\n\r\n", refused()),
        "gzip that lies": (sized(archive, b"Content-Encoding: br\r\n"), either(_fetched, refused())),
        "a page called gzip": (sized(PAGE, b"Content-Type: application/gzip\r\n"), refused()),
        "a page without a type": (sized(PAGE), refused()),
        "JSON": (sized(b'{"error": "quota"}', b"Content-Type: application/json\r\n"), refused()),
        "random bytes": (sized(bytes(range(256)) * 40), refused()),
        "an archive cut at half": (sized(archive[: len(archive) // 2]), refused()),
        "an archive that climbs": (sized(hub_server.tar_of({"saved_model.pb": b"x", "../x": b"x"})), refused()),
        "an archive without a module": (sized(hub_server.tar_of({"readme": b"x"})), refused()),
        "100 Continue for ever": (b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000, refused()),
        "TLS": (b"\x15\x03\x01\x00\x02\x02\x50", refused()),
        "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", refused()),
    }
    for name, (answer, wrong) in answers.items():

        def act(_folder: Path, answer=answer) -> Any:
            with _answering(answer) as address:
                return _resolved(address)

        yield Case("network", name, act, _clean(wrong))


def _plain_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, held in CONTENT.items():
            info = tarfile.TarInfo(name)
            info.size = len(held)
            archive.addfile(info, io.BytesIO(held))
    return buffer.getvalue()


@contextlib.contextmanager
def _answering(answer: bytes) -> Iterator[str]:
    """A server that says these bytes to everybody, and hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65_536)
                self.request.sendall(answer)
                self.request.shutdown(socket.SHUT_WR)
                self.request.recv(1)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/mod/1"
        server.shutdown()


def _absent() -> Iterator[Case]:
    def silent(_folder: Path) -> Any:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen(1)
            return _resolved(f"http://127.0.0.1:{server.getsockname()[1]}/mod/1")

    def closed(_folder: Path) -> Any:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            port = server.getsockname()[1]
        return _resolved(f"http://127.0.0.1:{port}/mod/1")

    yield Case("network", "a server that never answers", silent, refused())
    yield Case("network", "nobody there", closed, refused("cannot be reached"))
    yield Case("network", "a name that is none", lambda _f: _resolved("http://nowhere.invalid/mod/1"), refused())
    yield Case("network", "https to nobody", lambda _f: _resolved("https://127.0.0.1:1/mod/1"), refused())
