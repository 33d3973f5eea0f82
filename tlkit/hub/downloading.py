"""Fetch one file over http(s): time-outs, a few retries, and one sentence that says what went wrong."""

from __future__ import annotations

import contextlib
import errno
import http.client
import shutil
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tlkit.core.errors import DownloadError
from tlkit.hub.handles import ARCHIVES, KAGGLE_FORM

TIMEOUT_S = 30.0  # without a single byte
ATTEMPTS = 3
PAUSE_S = 1.0  # before the second attempt; doubled before each later one
MAX_BYTES = 32 << 30
HEAD_S = 60.0  # for the answer's first lines, however slowly they drip
SLOW_S = 60.0  # after which a download must have come at ...
SLOWEST_BYTES_S = 4096.0  # ... this rate at least
_SHOWN = 200  # characters of what a server said
_SPARE_BYTES = 256 << 20  # left free on the disk
_CHUNK = 1 << 18
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that another attempt may better


def hub_address(address: str) -> str:
    """The address that a hub's server answers with an archive; whatever query there is stays.

    Example:
        >>> hub_address("https://tfhub.dev/google/nnlm-en-dim50/2?a=b")
        'https://tfhub.dev/google/nnlm-en-dim50/2?a=b&tf-hub-format=compressed'
    """
    parts = urlsplit(address)
    if "tf-hub-format" in parse_qs(parts.query) or parts.path.endswith(ARCHIVES):
        return address  # a signed address of a plain archive would not bear a changed query
    query = "&".join(q for q in (parts.query, "tf-hub-format=compressed") if q)
    return urlunsplit(parts._replace(query=query, fragment=""))


def download(address: str, target: Path) -> None:
    """Fetch a module's archive to a file.

    Raises:
        DownloadError: If the server cannot be reached, refuses, or sends something else, only a part, or without end.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(hub_address(address), target)
        except DownloadError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:  # urllib's own errors are among them
            if attempt == ATTEMPTS or not _may_pass(error):
                raise DownloadError(_explain(address, error, attempt)) from error
        time.sleep(PAUSE_S * 2 ** (attempt - 1))
    return None


def _attempt(address: str, target: Path) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": f"tlkit/{_version()}"})
    opener = urllib.request.build_opener(_Redirects, _Http, _Https)
    with opener.open(request, timeout=TIMEOUT_S) as response, open(target, "wb") as file:
        length = _length(address, response.headers.get("Content-Length"))
        room = min(MAX_BYTES, shutil.disk_usage(target.parent).free - _SPARE_BYTES)
        if length > room:
            raise DownloadError(_too_much(address, length, room))
        _refuse_page(address, response.headers.get_content_type(), head := response.read1(_CHUNK))
        with _progress(address, length) as advance:
            received = _copy(address, response, file, head, room, advance)
    if 0 <= length != received:
        raise http.client.IncompleteRead(b"", length - received)


def _copy(address: str, response: Any, file: Any, head: bytes, room: int, advance: Callable[[int], None]) -> int:
    received, chunk, started = 0, head, time.monotonic()
    while chunk:
        file.write(chunk)
        received += len(chunk)
        advance(len(chunk))
        if received > room:
            raise DownloadError(_too_much(address, received, room))
        seconds = time.monotonic() - started
        if seconds > SLOW_S and received < SLOWEST_BYTES_S * seconds:
            raise DownloadError(
                f"{address} cannot be downloaded: after {seconds:.0f} s only {received} bytes had come; "
                "try again later, or give a local copy."
            )
        chunk = response.read1(_CHUNK)  # what is there: `read` would wait for a whole chunk, however slowly it drips
    return received


def _length(address: str, header: str | None) -> int:
    """The length that the server announces, or -1 where it announces none."""
    text = (header or "").strip()
    if text and not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
        raise DownloadError(f"{address} sends a length that is no number: Content-Length {_clean(text)}.")
    return int(text or -1)


def _too_much(address: str, size: int, room: int) -> str:
    if room >= MAX_BYTES:
        return f"{address} sends more than {MAX_BYTES >> 30} GiB, more than a module has: refused."
    return (
        f"{address} sends {size / 1e6:.0f} MB or more, and the disk of the cache has room for "
        f"{max(room, 0) / 1e6:.0f} MB; free some, or name another folder in TLKIT_CACHE."
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to another web address, and to nothing else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise DownloadError(f"{req.full_url} sends on to {_clean(newurl)}, which is no web address: refused.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Timed(http.client.HTTPConnection):
    """Gives up on an answer whose first lines drip in without end."""

    def getresponse(self) -> http.client.HTTPResponse:
        timer = threading.Timer(HEAD_S, _hang_up, [self.sock])
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()
        finally:
            timer.cancel()


class _TimedTls(_Timed, http.client.HTTPSConnection):
    """The same over TLS."""


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Timed, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TimedTls, req, context=ssl.create_default_context())


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _clean(text: object) -> str:
    """What a server said, as one short line without anything that a terminal would obey."""
    words = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."


def _refuse_page(address: str, content_type: str, head: bytes) -> None:
    page = content_type in ("text/html", "application/xhtml+xml") or head.lstrip()[:1] == b"<"
    if page and not head.startswith(b"\x1f\x8b"):  # some servers mislabel a gzip file
        raise DownloadError(
            f"{address} answered with a web page, not with a module's archive{_moved(address)}; "
            "check the address, or whether it wants a log-in."
        )


def _may_pass(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _PASSING
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError | ValueError):  # an address that cannot be read among them
        return False
    disk = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
    return not disk


def _explain(address: str, error: Exception, attempts: int) -> str:
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    if isinstance(error, urllib.error.HTTPError):
        hint = _moved(address) or "; check the address"
        answer = f"{error.code} {_clean(error.reason)}"
        return f"{address} cannot be downloaded: the server said {answer}, after {tries}{hint}."
    if isinstance(error, http.client.IncompleteRead):
        missing = f"{error.expected} bytes " if error.expected else ""
        return f"{address} cannot be downloaded: the file broke off {missing}early, after {tries}."
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"{address} cannot be downloaded: no data came for {TIMEOUT_S:g} s, after {tries}."
    if isinstance(error, http.client.HTTPException | ValueError):
        failure = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"{address} cannot be downloaded: its server's answer cannot be read ({_clean(failure)}), after {tries}."
    if isinstance(reason, OSError) and reason.errno == errno.ENOSPC:
        return f"{address} cannot be downloaded: the disk of the cache is full."
    return (
        f"{address} cannot be reached: {_clean(reason)}, after {tries}; check the connection, or give a local folder."
    )


def _moved(address: str) -> str:
    if (urlsplit(address).hostname or "").removeprefix("www.") != "tfhub.dev":
        return ""
    return f"; many modules of tfhub.dev moved to Kaggle, where a handle reads {KAGGLE_FORM}"


def _version() -> str:
    try:
        return metadata.version("tlkit")
    except metadata.PackageNotFoundError:
        return "0"


@contextlib.contextmanager
def _progress(address: str, length: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, one plain line anywhere else."""
    if not sys.stderr.isatty():
        size = f" ({length / 1e6:.1f} MB)" if length >= 0 else ""
        print(f"Downloading {address}{size}", file=sys.stderr, flush=True)
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"Downloading {address}", total=length if length >= 0 else None)
        yield lambda count: bar.advance(task, count)
