"""A set of exported files takes the place of the set before it; each is whole at every moment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tlkit.core.files import PARTIAL, sync

ASIDE = ".failed"
_STAGE = f"{PARTIAL}export-"
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a folder inside `folder` to prepare a set in; removes what killed exports left there."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_STAGE}*"):
        if not _running(left.name.removeprefix(_STAGE).split("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    stage = Path(tempfile.mkdtemp(prefix=f"{_STAGE}{os.getpid()}-", dir=folder))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def place(staged: Path, target: Path, *, passed: bool) -> Path:
    """Move a finished file or folder to `target`, or beside it under another ending where it did not pass.

    What was there before under the other of the two names belongs to another model or another gate, and goes.
    """
    aside = target.with_name(target.name + ASIDE)
    final, stale = (target, aside) if passed else (aside, target)
    for item in (*staged.rglob("*"), staged) if staged.is_dir() else (staged,):
        sync(item)
    _replace(staged, final)
    remove(stale)
    sync(target.parent)
    return final


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def _replace(new: Path, target: Path) -> None:
    if not (new.is_dir() and target.exists()):
        new.replace(target)
    elif not _exchange(new, target):  # two renames: for an instant no folder is there
        old = new.with_name(new.name + "-old")
        target.replace(old)
        new.replace(target)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two paths in one step, where the system can; `a`, now the old one, lies in the stage and goes with it."""
    with contextlib.suppress(AttributeError, OSError):
        rename = ctypes.CDLL(None).renameat2
        return bool(rename(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _EXCHANGE) == 0)
    return False


def _running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True
