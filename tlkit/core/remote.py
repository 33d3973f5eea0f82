"""Data and the cache of features on any path that fsspec opens: their copies on this host, kept as they are there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.files import PARTIAL, atomic_file, cache_dir, cache_url, locked, sha256_bytes, url_of, write_atomic
from tlkit.core.trouble import first_line

MISSING = "fsspec, which opens it, is not installed: pip install 'tlkit[remote]'"
AT_ONCE = 16  # files that are copied at a time: each waits for the network most of the time


def local(path: str | os.PathLike[str]) -> Path:
    """The path on this host: as it is, or the copy of what lies at a URL such as s3://bucket/flowers.

    What has changed there since is copied anew, what is gone there goes here.

    Args:
        path: A path, whose `~` is expanded, or a URL of a file or folder that fsspec opens.

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
        _copied(system, there, target, home)
    return target


def beside(table: str | os.PathLike[str]) -> Path:
    """The folder of a table, in which the paths of its rows begin."""
    url = url_of(table)
    return Path(table).expanduser().parent if url is None else local(url.rpartition("/")[0])


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, which remembers no earlier listing, and its path there."""
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{url} cannot be opened: {MISSING}.") from None
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
    except Exception as error:
        raise InputError(f"{url} cannot be opened: {first_line(error)}.") from error


def _listed(system: Any, root: str) -> dict[str, tuple[str, str]]:
    """Path there and state of each file below `root`, by its path from there; "" is `root` itself."""
    files = system.find(root, detail=True)
    listed = {}
    for name, info in files.items():
        inside = PurePosixPath(str(name)[len(root) :].lstrip("/"))
        if ".." in inside.parts:
            raise InputError(f"The name {name!r} leads out of its folder: rename it.")
        listed["" if name == root else str(inside)] = str(name), sha256_bytes(str(sorted(info.items(), key=str)))
    return listed


def _copied(system: Any, there: Mapping[str, tuple[str, str]], target: Path, home: Path) -> None:
    """Make `target` what is there: a file, or a folder of files. Those that a kill left out come with the next call."""
    index = home / "index.json"
    before: dict[str, str] = json.loads(index.read_bytes()) if index.is_file() else {}
    if ("" in there) != ("" in before) or not before:
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
        before = {}
    for name in before.keys() - there.keys():
        (target / name).unlink(missing_ok=True)
        _without_empty(target, (target / name).parent)
    now = {name: state for name, state in before.items() if name in there and (target / name).is_file()}
    changed = [name for name, (_, state) in there.items() if now.get(name) != state]

    def copy(name: str) -> None:
        place, state = there[name]
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(place, str(partial / sha256_bytes(name)))
        os.replace(partial / sha256_bytes(name), file)
        now[name] = state

    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=home))
    try:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(copy, changed))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        write_atomic(index, json.dumps(now))


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
    return None if url is None else f"{url.rstrip('/')}/{folder.relative_to(cache_dir()).as_posix()}"


def _records_last(name: str) -> tuple[bool, str]:
    return name.endswith(".json"), name
