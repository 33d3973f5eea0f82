"""Take a module out of an archive that a stranger made: plain files below one folder, and not too much of them."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from tlkit.errors import InputError, UnsafeModuleError

MAX_MEMBERS = 100_000
LEAST_BOUND_BYTES = 2 << 30  # a small archive may still unpack to this much ...
LARGEST_RATIO = 20  # ... and a large one to so many times its size; trained weights hardly compress
MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")


def safe_parts(name: str) -> tuple[str, ...]:
    """The parts of a relative path that stays below its folder on every system.

    Raises:
        UnsafeModuleError: If the path is absolute, climbs, or means something else on Windows.

    Example:
        >>> safe_parts("./assets/vocab.txt")
        ('assets', 'vocab.txt')
    """
    path = PurePosixPath(name)
    parts = tuple(p for p in path.parts if p != ".")
    foreign = "\\" in name or "\0" in name or PureWindowsPath(name).drive
    if path.is_absolute() or ".." in parts or foreign:
        raise UnsafeModuleError(f"The path {name!r} leaves the module's folder, so the module is refused.")
    return parts


def unpack(archive: Path, folder: Path, *, limit_bytes: int | None = None) -> None:
    """Unpack a tar archive, compressed or not, into a new folder.

    Only files and folders come out, with plain permissions and no owners. Links and devices are refused rather than
    judged: no SavedModel has any.

    Args:
        archive: The archive.
        folder: Where its content goes; made here.
        limit_bytes: Most bytes to unpack; None is 20 times the archive, at least 2 GiB.

    Raises:
        InputError: If it is no archive, or a broken one.
        UnsafeModuleError: If a member leaves the folder, is a link or a device, or there is too much of it.
    """
    limit = limit_bytes or max(LEAST_BOUND_BYTES, LARGEST_RATIO * archive.stat().st_size)
    folder.mkdir(parents=True)
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member, parts in _checked(tar, limit):
                _extract(tar, member, folder.joinpath(*parts))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise  # the disk is to blame, not the archive
        raise InputError(f"{archive.name} is not a whole tar archive of a SavedModel ({error}).") from error


def _checked(tar: tarfile.TarFile, limit: int) -> Iterator[tuple[tarfile.TarInfo, tuple[str, ...]]]:
    total = 0
    for count, member in enumerate(tar, start=1):
        total += member.size
        if count > MAX_MEMBERS or total > limit:
            raise UnsafeModuleError(f"The archive unpacks to more than {limit} bytes or {MAX_MEMBERS} files: refused.")
        if not (member.isreg() or member.isdir()):
            raise UnsafeModuleError(f"The archive holds a link or a device, {member.name!r}: refused.")
        yield member, safe_parts(member.name)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    if source is None:
        raise tarfile.ReadError(f"{member.name} cannot be read")
    with open(target, "xb") as file:  # "x": a second member of the same name is an error
        shutil.copyfileobj(source, file, 1 << 20)
    if target.stat().st_size != member.size:
        raise tarfile.ReadError(f"{member.name} is cut short")


def module_root(folder: Path) -> Path:
    """The folder with the SavedModel: this one, or the only one inside it.

    Raises:
        InputError: If there is none, or several to choose from.
    """
    if any((folder / name).is_file() for name in MODEL_FILES):
        return folder
    found = sorted({Path(root) for root, _, names in os.walk(folder) if set(names) & set(MODEL_FILES)})
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(p.relative_to(folder)) for p in found[:5])
        raise InputError(f"{folder} holds several SavedModels ({names}); give the folder of one of them.")
    raise InputError(f"{folder} holds no SavedModel: there is no saved_model.pb in it.")
