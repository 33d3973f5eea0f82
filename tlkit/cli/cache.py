"""What the cache folder holds, and how to empty it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tlkit.core.errors import InputError
from tlkit.core.files import CACHED, PARTIAL, cache_dir

__all__ = ["cache_dir", "clear", "others", "sizes"]


def sizes() -> dict[str, int]:
    """Bytes by kind (modules, zoo, features, samples, ...)."""
    folder = cache_dir()
    if not folder.is_dir():
        return {}
    return {p.name: _size(p) for p in sorted(folder.iterdir()) if p.is_dir() and _is_cached(p)}


def clear() -> int:
    """Delete all that tlkit cached, which can be made or fetched again; what else lies there stays.

    Returns:
        Bytes that were freed.
    """
    folder = cache_dir()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"The cache folder {folder} is a file: let TLKIT_CACHE name a folder.")
    before = sum(sizes().values())
    for path in folder.iterdir() if folder.is_dir() else ():
        if not _is_cached(path):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return before - sum(sizes().values())


def others() -> list[str]:
    """Names of what lies in the cache folder and is not tlkit's."""
    folder = cache_dir()
    return sorted(p.name for p in folder.iterdir() if not _is_cached(p)) if folder.is_dir() else []


def _is_cached(path: Path) -> bool:
    return path.name in CACHED or path.name.startswith(PARTIAL)


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
