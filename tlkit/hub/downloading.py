"""Fetch one file over http(s): time-outs, a few retries, and one sentence that says what went wrong."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tlkit.errors import DownloadError
from tlkit.hub.handles import ARCHIVES, KAGGLE_FORM

TIMEOUT_S = 30.0  # without a single byte
ATTEMPTS = 3
PAUSE_S = 1.0  # before the second attempt; doubled before each later one
MAX_BYTES = 64 << 30
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
        DownloadError: If the server cannot be reached, refuses, or sends something else or only a part.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(hub_address(address), target)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if attempt == ATTEMPTS or not _may_pass(error):
                raise DownloadError(_explain(address, error, attempt)) from error
        time.sleep(PAUSE_S * 2 ** (attempt - 1))
    return None


def _attempt(address: str, target: Path) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": f"tlkit/{_version()}"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response, open(target, "wb") as file:
        length = int(response.headers.get("Content-Length") or -1)
        head = response.read(_CHUNK)
        _refuse_page(address, response.headers.get_content_type(), head)
        with _progress(address, length) as advance:
            received = _copy(response, file, head, advance)
    if 0 <= length != received:
        raise http.client.IncompleteRead(b"", length - received)
    if received > MAX_BYTES:
        raise DownloadError(f"{address} sends more than {MAX_BYTES} bytes: refused.")


def _copy(response: Any, file: Any, head: bytes, advance: Callable[[int], None]) -> int:
    received, chunk = 0, head
    while chunk and received <= MAX_BYTES:
        file.write(chunk)
        received += len(chunk)
        advance(len(chunk))
        chunk = response.read(_CHUNK)
    return received


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
    return not isinstance(reason, ssl.SSLCertVerificationError)


def _explain(address: str, error: Exception, attempts: int) -> str:
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    if isinstance(error, urllib.error.HTTPError):
        hint = _moved(address) or "; check the address"
        return f"{address} cannot be downloaded: the server said {error.code} {error.reason}, after {tries}{hint}."
    if isinstance(error, http.client.IncompleteRead):
        return f"{address} cannot be downloaded: the file broke off {error.expected} bytes early, after {tries}."
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"{address} cannot be downloaded: no data came for {TIMEOUT_S:g} s, after {tries}."
    return f"{address} cannot be reached: {reason}, after {tries}; check the connection, or give a local folder."


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
