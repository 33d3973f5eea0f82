"""How much computed features may fill: a bound in bytes, and what goes when it is reached."""

from __future__ import annotations

import math
import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from tlkit.core.errors import InputError
from tlkit.core.files import cache_dir, is_record, record_of

KINDS = ("features", "fronts")  # what can be computed again; modules and zoo builds stay
DEFAULT_GB = 20.0
MARGIN = 1 << 30  # of the disk, left to others


def limit() -> int:
    """Bytes that `TLKIT_CACHE_GB` allows; 0 caches nothing.

    Raises:
        InputError: If it is no number of 0 or more.
    """
    setting = os.environ.get("TLKIT_CACHE_GB", "")
    try:
        gigabytes = float(setting) if setting else DEFAULT_GB
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < math.inf:
        raise InputError(f"TLKIT_CACHE_GB must be a number of gigabytes, 0 or more. Received: {setting!r}.")
    return int(gigabytes * 1e9)


def check() -> None:
    """Refuse settings of the cache that cannot be meant, before any work.

    Raises:
        InputError: If `TLKIT_CACHE_GB` is no size, or the cache's path leads through a file.
    """
    limit()
    folder = cache_dir()
    file = next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), None)
    if file is not None:
        raise InputError(f"The cache cannot lie at {folder}: {file} is a file. Let TLKIT_CACHE name a folder.")


def make_room(need: int, keep: Collection[Path] = ()) -> int:
    """Delete what was used longest ago until `need` more bytes fit.

    Args:
        need: Bytes to come.
        keep: Entries that stay.

    Returns:
        Bytes that may be written now, by the bound and by the disk; less than `need` where they do not fit.
    """
    sizes = {path: size(path) for path in _entries()}
    goers = sorted((p for p in sizes if p not in set(keep)), key=lambda p: p.stat().st_mtime)
    kept_bytes = sum(sizes[p] for p in sizes) - sum(sizes[p] for p in goers)
    if _room(kept_bytes, freed=sum(sizes[p] for p in goers)) < need:
        return _room(sum(sizes.values()))  # nothing is deleted in vain
    while goers and _room(sum(sizes.values())) < need:
        delete(goers[0])
        delete(record_of(goers[0]))
        del sizes[goers.pop(0)]
    return _room(sum(sizes.values()))


def size(path: Path) -> int:
    """Bytes of a file or of all files in a folder."""
    paths = path.rglob("*") if path.is_dir() else iter((path,))
    return sum(p.stat().st_size for p in paths if p.is_file() and not p.is_symlink())


def delete(path: Path) -> None:
    """Delete an entry; whoever reads it meanwhile sees it whole or not at all."""
    aside = path.with_name(f".{uuid.uuid4().hex}.gone")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return  # another process was quicker
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def touch(path: Path) -> None:
    """Note that an entry was used now."""
    for used in (path, record_of(path)):
        if used.exists():
            os.utime(used)


def _entries() -> Iterator[Path]:
    for kind in KINDS:
        folder = cache_dir() / kind
        yield from (p for p in folder.iterdir() if not is_record(p)) if folder.is_dir() else ()


def _room(used: int, freed: int = 0) -> int:
    """Bytes left by the bound and by the disk, when `used` bytes are cached and `freed` more are off the disk."""
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return max(0, min(limit() - used, shutil.disk_usage(folder).free + freed - MARGIN))
