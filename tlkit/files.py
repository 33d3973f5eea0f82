"""Files that are whole or absent: atomic writes, locks that die with their process, hashes, the cache folder."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs

PARTIAL = ".tlkit-partial-"  # prefix of unfinished work; anything so named may be deleted at any time


def cache_dir() -> Path:
    """Folder of everything tlkit can make or fetch again: `TLKIT_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("TLKIT_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("tlkit"))


def sha256_bytes(*parts: bytes | str) -> str:
    """Hash of the parts, each framed by its length so that no two lists of parts collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hash of one file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(folder: str | os.PathLike[str]) -> str:
    """Hash of a folder: relative names and contents of its files, in sorted order."""
    root = Path(folder)
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return sha256_bytes(*(part for p in files for part in (p.relative_to(root).as_posix(), sha256_file(p))))


def sync(path: Path) -> None:
    """fsync a file or a folder, so that a rename that follows cannot outrun its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it replaces `path`, on failure it is removed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix=target.suffix, dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        sync(partial)
        os.replace(partial, target)
        sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a whole file, or leave the old one as it was."""
    with atomic_file(path) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a fresh folder beside `path` to fill; on success it replaces `path`, on failure it is removed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=target.parent))
    old = partial.with_name(partial.name + "-old")
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        for item in partial.rglob("*"):
            sync(item)
        if target.exists():
            os.replace(target, old)
        os.replace(partial, target)
        sync(target.parent)
    finally:
        if old.exists() and not target.exists():
            os.replace(old, target)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold an exclusive lock on `path`; it ends with the process, so a kill leaves nothing in the way."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "a+b") as file:
        _lock(file.fileno())
        yield


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no flock; a file region's lock dies with its process there too
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
