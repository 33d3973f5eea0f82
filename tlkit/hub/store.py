"""The cache of modules: content-addressed, filled atomically by one process at a time, checked whenever it is read.

`modules_dir()` holds a folder a module, named by the sha256 of its archive (of its content, where it came in no
archive); `index/` says which handle got which, with the hash of the content; `locks/` and `partial/` belong to
whoever is filling. A lock dies with its process, and whoever holds it next clears what the dead one left.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.core.errors import DownloadError, InputError, OfflineError
from tlkit.core.files import cache_dir, locked, sha256_bytes, sha256_tree, sync, write_atomic


@dataclass(frozen=True)
class Stored:
    """A module on this machine.

    Attributes:
        folder: Where its saved_model.pb lies.
        sha256: Hash of the folder's content, `files.sha256_tree`.
        archive: sha256 of the archive it came in, or "".
    """

    folder: Path
    sha256: str
    archive: str = ""

    def agrees(self, sha256: str | None) -> bool:
        """Whether it is what was asked for: an expected hash may be the archive's or the content's."""
        return sha256 is None or sha256 in (self.sha256, self.archive)


@dataclass(frozen=True)
class Filled:
    """What a source brought: the module's folder, and the sha256 of its archive or ""."""

    folder: Path
    archive: str = ""


Fill = Callable[[Path, bool], Filled]


def modules_dir() -> Path:
    """Where modules are kept.

    `modules` in the folder that TLKIT_CACHE names; else `tlkit` in the one that TFHUB_CACHE_DIR names, beside what
    tensorflow_hub keeps there; else `modules` in the user's cache folder.
    """
    hub = os.environ.get("TFHUB_CACHE_DIR")
    if hub and not os.environ.get("TLKIT_CACHE"):
        return Path(hub).expanduser() / "tlkit"
    return cache_dir() / "modules"


def is_offline(offline: bool | None) -> bool:
    """Whether downloads are switched off: by the argument, else by TLKIT_OFFLINE."""
    if offline is not None:
        return offline
    return os.environ.get("TLKIT_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def normal_sha256(sha256: str | None) -> str | None:
    """An expected sha256 as 64 lower-case hex digits; a "sha256:" in front is dropped.

    Raises:
        InputError: If it is no sha256.
    """
    if sha256 is None:
        return None
    text = sha256.strip().lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise InputError(f"`sha256` must be 64 hex digits. Received: sha256={sha256!r}.")
    return text


def obtain(handle: str, fill: Fill, *, sha256: str | None = None, offline: bool = False) -> Stored:
    """A module from the cache, filling it first where it is missing or damaged.

    Args:
        handle: What the module is known by.
        fill: `fill(work, again)` brings the module into the empty folder `work`, or somewhere else where it may stay;
            `again` says that what was there before is damaged.
        sha256: Expected hash of the archive or of the content.
        offline: Whether `fill` must not be called.

    Raises:
        OfflineError: If it would have to be fetched.
        DownloadError: If what came is not what was expected.
    """
    if (stored := intact(handle)) and stored.agrees(sha256):
        return stored
    if offline:
        raise OfflineError(_missing(handle, stored))
    with locked(modules_dir() / "locks" / f"{_key(handle)}.lock"):
        if (stored := intact(handle)) and stored.agrees(sha256):  # another process was faster
            return stored
        return _filled(handle, fill, sha256)


def intact(handle: str) -> Stored | None:
    """What the cache has under a handle, if its content is still what was put there."""
    entry = _entry(handle)
    if entry is None:
        return None
    folder = modules_dir() / entry["folder"]
    if not folder.is_dir() or sha256_tree(folder) != entry["sha256"]:
        return None
    return Stored(folder, entry["sha256"], entry["archive"])


def _filled(handle: str, fill: Fill, sha256: str | None) -> Stored:
    again = _entry(handle) is not None
    if again:
        warnings.warn(
            f"The cached copy of {handle} is damaged, or not the one asked for; getting it again.", stacklevel=2
        )
    work = modules_dir() / "partial" / _key(handle)
    shutil.rmtree(work, ignore_errors=True)  # left by a process that was killed: we hold its lock now
    work.mkdir(parents=True)
    try:
        brought = fill(work, again)
        stored = Stored(brought.folder, sha256_tree(brought.folder), brought.archive)
        if not stored.agrees(sha256):
            actual = stored.archive or stored.sha256
            raise DownloadError(f"{handle} is not what was expected: its sha256 is {actual}, not {sha256}.")
        return _enter(handle, stored, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _enter(handle: str, stored: Stored, work: Path) -> Stored:
    """Move a module to its place, and write it into the index last."""
    folder = stored.folder
    if folder.is_relative_to(work):
        folder = modules_dir() / (stored.archive or stored.sha256)
        with locked(modules_dir() / "locks" / f"{folder.name}.lock"):  # two handles may bring the same archive
            _place(stored.folder, folder, stored.sha256)
    where = os.path.relpath(folder, modules_dir()) if folder.is_relative_to(modules_dir()) else str(folder.absolute())
    entry = {"handle": handle, "folder": where, "sha256": stored.sha256, "archive": stored.archive}
    write_atomic(_index_file(handle), json.dumps(entry, indent=1) + "\n")
    return Stored(folder, stored.sha256, stored.archive)


def _place(source: Path, target: Path, sha256: str) -> None:
    for item in (*source.rglob("*"), source):
        sync(item)
    if target.exists():
        if sha256_tree(target) == sha256:
            return
        target.replace(source.with_name("damaged"))
    source.replace(target)
    sync(target.parent)


def _entry(handle: str) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        file = _index_file(handle)
        entry = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}  # a pipe would be waited for
        if entry["handle"] == handle and all(isinstance(entry[k], str) for k in ("folder", "sha256", "archive")):
            return dict(entry)
    return None


def _missing(handle: str, stored: Stored | None) -> str:
    why = "is not in the cache"
    if stored is not None:
        why = f"is in the cache with another content (sha256 {stored.archive or stored.sha256})"
    elif _entry(handle) is not None:
        why = "is in the cache, but damaged"
    return (
        f"The module {handle} {why} at {modules_dir()}, and downloads are switched off: run once without "
        "offline=True (or TLKIT_OFFLINE), or give the folder of a copy."
    )


def _index_file(handle: str) -> Path:
    return modules_dir() / "index" / f"{_key(handle)}.json"


def _key(handle: str) -> str:
    return sha256_bytes(handle)[:32]
