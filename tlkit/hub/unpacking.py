"""Take a module out of an archive that a stranger made: plain files below one folder, and not too much of them."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tlkit.core.errors import InputError, UnsafeModuleError

MAX_MEMBERS = 100_000
LEAST_BOUND_BYTES = 2 << 30  # a small archive may still unpack to this much ...
LARGEST_RATIO = 20  # ... and a large one to so many times its size; trained weights hardly compress
_LONGEST_HEADER = 4 << 20  # of a tar archive; names and dates take some hundred bytes
_LONGEST_TABLE = 32 << 20  # of contents, of a zip archive with the most files
_CHUNK = 1 << 20
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.EIO)
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, OverflowError,
    RecursionError, NotImplementedError, RuntimeError,
)  # fmt: skip
MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
MOST_FOLDERS = 2000  # in which a module is looked for: more are somebody's disk


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
    """Unpack a tar archive, compressed or not, or a zip archive into a new folder.

    Only files and folders come out, with plain permissions and no owners. Links and devices are refused rather than
    judged: no SavedModel has any. The archive is read to its end, so that its checksums are compared.

    Args:
        archive: The archive.
        folder: Where its content goes; made here.
        limit_bytes: Most bytes to unpack; None is 20 times the archive, at least 2 GiB.

    Raises:
        InputError: If it is no archive, or a broken one.
        OSError: If the disk does not take it.
        UnsafeModuleError: If a member leaves the folder, is a link or a device, or there is too much of it.
    """
    limit = limit_bytes or max(LEAST_BOUND_BYTES, LARGEST_RATIO * archive.stat().st_size)
    folder.mkdir(parents=True)
    with open(archive, "rb") as file:
        head = file.read(6)
    is_zip = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
    try:
        (_unpack_zip if is_zip else _unpack_tar)(archive, folder, limit)
    except UnsafeModuleError:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise  # the disk is to blame, not the archive
        kind = "zip" if is_zip else "tar"
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{archive.name} is not a whole {kind} archive of a SavedModel ({reason}).") from error


@dataclass(frozen=True)
class _Bounded:
    """A file that gives little at once, and not too much in all: archives say themselves how much is to be read."""

    file: Any
    limit: int
    longest: int

    def read(self, size: int = -1) -> bytes:
        if self.file.tell() > self.limit:
            raise UnsafeModuleError(f"The archive unpacks to more than {self.limit} bytes: refused.")
        data = bytes(self.file.read(min(size, self.longest) if size >= 0 else self.longest))
        if len(data) == self.longest and size != self.longest:
            raise UnsafeModuleError(f"The archive holds a header or a name of over {self.longest >> 20} MiB: refused.")
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and offset > self.limit:
            raise UnsafeModuleError(f"The archive unpacks to more than {self.limit} bytes: refused.")
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def seekable(self) -> bool:
        return True


def _unpack_tar(archive: Path, folder: Path, limit: int) -> None:
    with _decompressed(archive) as plain:
        around = 2048 * MAX_MEMBERS  # of each member a header and the rest of a block
        bounded = _Bounded(plain, limit + around, _LONGEST_HEADER)
        with tarfile.open(fileobj=bounded, mode="r:") as tar:  # type: ignore[call-overload]
            for member, parts in _checked(tar, limit):
                _extract(tar, member, folder.joinpath(*parts))
        while bounded.read(_CHUNK):  # up to the checksum
            pass


def _decompressed(archive: Path) -> Any:
    with open(archive, "rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(archive)
    if head.startswith(b"BZh"):
        return bz2.open(archive)
    return lzma.open(archive) if head == b"\xfd7zXZ\0" else open(archive, "rb")


def _checked(tar: tarfile.TarFile, limit: int) -> Iterator[tuple[tarfile.TarInfo, tuple[str, ...]]]:
    total = 0
    for count, member in enumerate(tar, start=1):
        tar.members.clear()  # type: ignore[attr-defined] # it keeps all of them, with their headers
        total += member.size
        _bound(count, total, limit)
        if sum(map(len, tar.pax_headers.values())) > _LONGEST_HEADER:
            raise UnsafeModuleError("The archive holds headers without end: refused.")
        if not (member.isreg() or member.isdir()):
            raise UnsafeModuleError(f"The archive holds a link or a device, {member.name[:200]!r}: refused.")
        if member.size < 0 or member.issparse():
            raise tarfile.ReadError(f"{member.name[:200]} has no plain size")
        yield member, safe_parts(member.name)


def _bound(count: int, total: int, limit: int) -> None:
    if count > MAX_MEMBERS or total > limit:
        raise UnsafeModuleError(f"The archive unpacks to more than {limit} bytes or {MAX_MEMBERS} files: refused.")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member)
    if source is None:
        raise tarfile.ReadError(f"{member.name} cannot be read")
    _write(source, target, member.size)


def _unpack_zip(archive: Path, folder: Path, limit: int) -> None:
    with open(archive, "rb") as file, zipfile.ZipFile(_Bounded(file, limit, _LONGEST_TABLE)) as packed:
        entries = packed.infolist()
        _bound(len(entries), sum(e.file_size for e in entries), limit)
        for entry in entries:
            _judge(entry)
            target = folder.joinpath(*safe_parts(entry.orig_filename))
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            with packed.open(entry) as source:
                _write(source, target, entry.file_size)


def _judge(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeModuleError(f"The archive holds a link or a device, {entry.filename[:200]!r}: refused.")
    if entry.flag_bits & 1:
        raise zipfile.BadZipFile("it is locked by a password")


def _write(source: Any, target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    left = size
    with open(target, "xb") as file:  # "x": a second member of the same name is an error
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                break
            file.write(chunk)
    if left:
        raise EOFError(f"{target.name} is not as long as it says")


def module_root(folder: Path) -> Path:
    """The folder with the SavedModel: this one, or the only one inside it.

    Raises:
        InputError: If there is none, or several to choose from.
    """
    if any((folder / name).is_file() for name in MODEL_FILES):
        return folder
    for name in MODEL_FILES:
        if (folder / name).exists():
            raise InputError(f"{folder} holds no SavedModel: its {name} is a folder or a device, not a file.")
    roots: list[Path] = []
    for count, (root, _, names) in enumerate(os.walk(folder)):
        if count == MOST_FOLDERS:
            raise InputError(f"{folder} holds over {MOST_FOLDERS:,} folders; give the one with saved_model.pb in it.")
        if any(name in names and Path(root, name).is_file() for name in MODEL_FILES):
            roots.append(Path(root))
    roots.sort()
    if len(roots) == 1:
        return roots[0]
    if roots:
        several = ", ".join(str(p.relative_to(folder)) for p in roots[:5])
        raise InputError(f"{folder} holds several SavedModels ({several}); give the folder of one of them.")
    raise InputError(f"{folder} holds no SavedModel: there is no saved_model.pb in it.")
