"""Data and the cache of features on any path that fsspec opens: their copies on this host, kept as they are there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tlkit.core.errors import InputError
from tlkit.core.files import (
    CHAIN,
    PARTIAL,
    atomic_file,
    cache_dir,
    cache_url,
    locked,
    sha256_bytes,
    url_of,
    write_atomic,
)
from tlkit.core.progress import quiet, shown
from tlkit.core.trouble import first_line

MISSING = "fsspec, which opens it, is not installed: pip install 'tlkit[remote]'"
AT_ONCE = 16  # files that are copied at a time: each waits for the network most of the time
CHUNK = 512  # files handed to the threads at once: keeps a million files from becoming a million futures
COPYING = ("simplecache", "filecache", "blockcache", "cached")  # fsspec's own copies, which may be older ones
MEGABYTE = 1_000_000
copies: dict[str, Path] = {}  # that this process has asked for, by URL: examples name files in them


@dataclass(frozen=True)
class _There:
    """A file at a URL: its path there, a hash of what its file system says of it, and its size in bytes if known."""

    place: str
    state: str
    size: int | None


def local(path: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """The path on this host: as it is, or the copy of what lies at a URL such as s3://bucket/flowers.

    What has changed there since is copied anew, what is gone there goes here. A copy that was stopped goes on with the
    files that are missing.

    Args:
        path: A path, whose `~` is expanded, or a URL of a file or folder that fsspec opens, of an archive among them:
            zip://labels.csv::s3://bucket/flowers.zip.
        progress: Say on stderr how far the copy is.

    Raises:
        InputError: If nothing is there, or it cannot be opened.
    """
    url = url_of(path)
    if url is None:
        return Path(path).expanduser()
    with _told(url):
        system, root = _opened(url)
        there = _listed(system, root)
    if not there:
        raise InputError(f"There is nothing at {url}: check the path.")
    home = cache_dir() / "remote" / sha256_bytes(url)[:32]
    target = home / (PurePosixPath(root).name or "data")
    with locked(home / "lock"), _told(url):
        _copy(system, there, target, home, url, progress)
    copies[url] = target
    return target


def beside(table: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """The folder of a table, in which the paths of its rows begin."""
    url = url_of(table)
    return Path(table).expanduser().parent if url is None else local(_parent(url), progress=progress)


def _parent(url: str) -> str:
    """The folder of a file, in an archive too.

    Example:
        >>> _parent("s3://bucket/flowers/labels.csv"), _parent("zip://labels.csv::s3://bucket/flowers.zip")
        ('s3://bucket/flowers', 'zip://::s3://bucket/flowers.zip')
    """
    first, *others = url.split(CHAIN)
    scheme, _, path = first.partition("://")
    return CHAIN.join([f"{scheme}://{path.rpartition('/')[0]}", *others])


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, which remembers no earlier listing, and its path there."""
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{url} cannot be opened: {MISSING}.") from None
    *outer, innermost = url.split(CHAIN)
    for part in outer:
        protocol = part.partition("://")[0]
        if protocol in COPYING:
            raise InputError(f"tlkit copies what lies at a URL itself: leave {protocol + CHAIN!r} out of {url}.")
        fsspec.get_filesystem_class(protocol).clear_instance_cache()  # an archive that is open stays as it was
    if outer:
        fsspec.core.url_to_fs(innermost)[0].invalidate_cache()
    system, root = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    return system, str(root).rstrip("/")


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    """One sentence on whatever a file system raises; each has errors of its own."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is nothing at {url}: check the path.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):  # of this host
            raise
        raise InputError(f"{url} cannot be opened: {first_line(error).rstrip('.')}.") from error


def _listed(system: Any, root: str) -> dict[str, _There]:
    """What lies below `root`, by its path from there; "" is `root` itself."""
    listed = {}
    for name, info in system.find(root, detail=True).items():
        inside = PurePosixPath(str(name)[len(root) :].lstrip("/"))
        if ".." in inside.parts:
            raise InputError(f"The name {name!r} leads out of its folder: rename it.")
        state = sha256_bytes(str(sorted(info.items(), key=str)))
        listed["" if name == root else str(inside)] = _There(str(name), state, info.get("size"))
    return listed


def _copy(system: Any, there: Mapping[str, _There], target: Path, home: Path, url: str, progress: bool) -> None:
    """Make `target` what is there: a file, or a folder of files. Those that a kill left out come with the next call."""
    for unfinished in home.glob(f"{PARTIAL}*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    before = _recorded(home)
    if ("" in there) != ("" in before) or not before:
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
        before = {}
    for name in before.keys() - there.keys():
        (target / name).unlink(missing_ok=True)
        _without_empty(target, (target / name).parent)
    states = {n: there[n].state for n, state in before.items() if n in there and _is_copy(target / n, there[n], state)}
    missing = [name for name in there if name not in states]
    if not missing and len(states) == len(before):
        return
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=home))
    try:
        _record(home, states)
        sizes = [there[name].size for name in missing]
        with _bar(url, sizes, progress) as advance, _journal(home).open("ab") as journal:
            at_once = 1 if CHAIN in url else AT_ONCE  # an archive is read by one handle
            _Copying(system, there, target, partial, journal, states, advance).all(missing, at_once)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _record(home, states)


def _is_copy(file: Path, there: _There, state: str) -> bool:
    """Whether a file that was recorded with a state is what is there now; the size tells one that a crash cut off."""
    return state == there.state and file.is_file() and (there.size is None or file.stat().st_size >= there.size)


def _journal(home: Path) -> Path:
    """Where files are written down while they are copied: what a kill leaves of the index."""
    return home / "index.jsonl"


def _record(home: Path, states: Mapping[str, str]) -> None:
    """Write down what is copied, in place of the lines of a copy under way."""
    write_atomic(home / "index.json", json.dumps(states))
    _journal(home).unlink(missing_ok=True)


def _recorded(home: Path) -> dict[str, str]:
    """State of each file that was copied, by its name."""
    index, journal = home / "index.json", _journal(home)
    states: dict[str, str] = json.loads(index.read_bytes()) if index.is_file() else {}
    with contextlib.suppress(FileNotFoundError, ValueError):  # a last line that is half written
        for line in journal.read_bytes().splitlines():
            name, state = json.loads(line)
            states[name] = state
    return states


@dataclass(eq=False)
class _Copying:
    """Copies files, some at a time; a file is written down when it is whole, and has its name only then."""

    system: Any
    there: Mapping[str, _There]
    target: Path
    partial: Path
    journal: IO[bytes]
    states: dict[str, str]
    advance: Callable[[int, int], None]
    bytes: int = 0
    files: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def all(self, names: Sequence[str], at_once: int) -> None:
        """Copy files; where one fails, or this is interrupted, those under way are given up."""
        with ThreadPoolExecutor(at_once) as threads:
            try:
                for start in range(0, len(names), CHUNK):
                    list(threads.map(self.one, names[start : start + CHUNK]))
            except BaseException:
                self.stopped.set()
                raise

    def one(self, name: str) -> None:
        """Copy a file."""
        from fsspec.callbacks import Callback

        there, file, fresh = self.there[name], self.target / name, self.partial / sha256_bytes(name)
        reported = 0

        def report(_size: int | None, copied: int, **_: Any) -> None:
            nonlocal reported
            if self.stopped.is_set():
                raise InterruptedError
            with self.lock:
                self.bytes += copied - reported
                self.advance(self.files, self.bytes)
            reported = copied

        self.system.get_file(there.place, str(fresh), callback=Callback(hooks={"report": report}))
        copied = fresh.stat().st_size
        if there.size is not None and copied < there.size:
            raise InputError(
                f"{there.place} gave {copied} bytes and not {there.size}: it changed, or the connection broke off. "
                "Start the same command again."
            )
        report(None, copied)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # what is written down is there whole, or not at all
        with self.lock:
            self.journal.write(json.dumps([name, there.state]).encode() + b"\n")
            self.journal.flush()
            self.states[name] = there.state
            self.files += 1
        os.replace(fresh, file)


@contextlib.contextmanager
def _bar(url: str, sizes: Sequence[int | None], progress: bool) -> Iterator[Callable[[int, int], None]]:
    """(files, bytes) that are copied -> shown: megabytes, or files where sizes are not known."""
    known = [size for size in sizes if size is not None]
    in_bytes = len(known) == len(sizes)
    title = f"copying {url} ({'MB' if in_bytes else 'files'})"
    total = sum(known) // MEGABYTE if in_bytes else len(sizes)
    with (shown(to_stderr=True) if progress else quiet).bar(title, total) as advance:
        yield lambda files, copied: advance(copied // MEGABYTE if in_bytes else files)


def _without_empty(target: Path, folder: Path) -> None:
    """Remove a folder below `target` that lost its last file, and those above it: a class without files is none."""
    while folder != target and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


# -- the cache


def fetch(folder: Path, wanted: str | None = None) -> None:
    """Bring files that the shared cache has of one of its folders, and this host has not; records come last.

    Args:
        folder: Below `cache_dir()`; nothing happens where `TLKIT_CACHE` is no URL.
        wanted: The only file to bring; None brings all.

    Raises:
        InputError: If the cache cannot be opened.
    """
    if (url := _place(folder)) is None:
        return
    with _told(url):
        system, root = _opened(url)
        names = sorted((PurePosixPath(str(name)).name for name in system.find(root)), key=_records_last)
        for name in names:
            if wanted in (None, name) and not (folder / name).exists():
                with atomic_file(folder / name) as partial:
                    system.get_file(f"{root}/{name}", str(partial))


def publish(folder: Path, names: Sequence[str]) -> None:
    """Put files of a folder of the cache where all hosts find them, one after the other.

    Raises:
        InputError: If the cache cannot be written to.
    """
    if (url := _place(folder)) is None:
        return
    with _told(url):
        system, root = _opened(url)
        system.makedirs(root, exist_ok=True)
        for name in names:
            system.put_file(str(folder / name), f"{root}/{name}")


def _place(folder: Path) -> str | None:
    """Where a folder of the cache lies for all hosts."""
    url = cache_url()
    if url is not None and CHAIN in url:
        raise InputError(f"TLKIT_CACHE takes a folder or one URL of a folder, and no chain of them. Received: {url}.")
    return None if url is None else f"{url.rstrip('/')}/{folder.relative_to(cache_dir()).as_posix()}"


def _records_last(name: str) -> tuple[bool, str]:
    return name.endswith(".json"), name
