"""A finished folder in the place of another one, so that a process that is killed meanwhile loses neither."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE, of linux/fcntl.h and linux/fs.h
_ASIDE = "-aside"  # ending of what lies aside while another folder takes its place


def swap(partial: Path, target: Path) -> None:
    """Put `partial` in the place of `target`, and `target` in that of `partial` or beside it.

    In one step where the system can, else in two; a kill between these leaves what `recover` puts back.
    """
    if exchanged(partial, target):
        return
    aside = partial.with_name(partial.name + _ASIDE)
    with alive(target):  # no other process takes it for one that a kill left
        os.replace(target, aside)
        os.replace(partial, target)
    remove(aside)


def exchanged(first: Path, second: Path) -> bool:
    """Give two paths each other's name in one step; False where the system cannot (Linux can, from 3.15).

    Source: renameat2(2).
    """
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # another C library; on Windows there is none of that kind
        return False
    return bool(rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0)


def recover(target: Path, prefix: str) -> None:
    """Put right what processes left that were killed while they wrote `target`.

    Args:
        target: Of the folder.
        prefix: Of the names of unfinished ones beside it, of this target alone.
    """
    for left in sorted(target.parent.glob(f"{prefix}*{_ASIDE}")):
        if not _is_alive(left) and not os.path.lexists(target):
            os.replace(left, target)
    for left in target.parent.glob(f"{prefix}*"):
        if not _is_alive(left):
            remove(left)


def remove(path: Path) -> None:
    """Remove a folder, a file or a link, if it is there and may be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def alive(path: Path) -> Iterator[None]:
    """Mark a folder as one of a living process, until the block or the process ends; it may be renamed meanwhile."""
    handle = _locked(path)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _is_alive(path: Path) -> bool:
    """Whether a process holds a folder; also where nobody can tell."""
    handle = _locked(path)
    if handle is None:
        return os.path.lexists(path) and not path.is_symlink()
    os.close(handle)
    return False


def _locked(path: Path) -> int | None:
    """A handle that holds a lock on a folder, or on a file; None where another one has it, or there are no locks."""
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
