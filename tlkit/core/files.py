"""Files that are whole or absent: atomic writes, locks that die with their process, hashes, the cache folder."""

import contextlib
import errno
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from tlkit.core import swapping
from tlkit.core.errors import InputError
from tlkit.core.trouble import of_system

LOCK = ".tlkit-lock"  # in a folder that is being written to; goes with its process
RECORD = ".sha256"  # ending of the file beside another that holds its hash
CHAIN = "::"  # between the parts of a URL that reads one file system through another
_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]+", re.IGNORECASE)
_URL = re.compile(rf"({_PROTOCOL.pattern}):/", re.IGNORECASE)  # of two letters or more: one is a drive
CACHED = (  # folders of the cache, one a kind
    "caches", "features", "fronts", "modules", "ranked", "ratings", "remote", "samples", "spool", "tables", "web",
    "zoo",
)  # fmt: skip
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # of file systems without locks, which do without
PARTIAL = ".tlkit-partial-"  # prefix of unfinished work; anything so named may be deleted at any time


def cache_dir() -> Path:
    """Folder of everything tlkit can make or fetch again: `TLKIT_CACHE`, or the user's cache folder.

    Of a `TLKIT_CACHE` that is a URL it is this host's copy.
    """
    if (url := cache_url()) is not None:
        return Path(platformdirs.user_cache_dir("tlkit")) / "caches" / sha256_bytes(url)[:32]
    chosen = os.environ.get("TLKIT_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("tlkit"))


def cache_url() -> str | None:
    """`TLKIT_CACHE` where it is a URL, such as s3://bucket/cache: features lie there for all hosts."""
    return url_of(os.environ.get("TLKIT_CACHE", ""))


def url_of(path: object) -> str | None:
    """A URL such as s3://bucket/flowers, also where pathlib has made "s3:/bucket/flowers" of it; None of a path.

    Of a chain such as zip://labels.csv::s3://bucket/flowers.zip each part is mended.

    Example:
        >>> url_of(Path("s3://bucket/flowers")), url_of("C:/flowers")
        ('s3://bucket/flowers', None)
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    parts = text.split(CHAIN) if isinstance(text, str) else []
    if not any(map(_URL.match, parts)) or not (_URL.match(parts[0]) or _PROTOCOL.fullmatch(parts[0])):
        return None
    return CHAIN.join(map(_mended, parts))


def _mended(part: str) -> str:
    match = _URL.match(part)
    if match is None or "://" in part:
        return part
    return f"{match[1]}:///{part[match.end() :]}" if match[1] == "file" else f"{match[1]}://{part[match.end() :]}"


def sha256_bytes(*parts: bytes | str) -> str:
    """Hash of the parts, each framed by its length so that no two lists of parts collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogatepass") if isinstance(part, str) else part  # file names may be no UTF-8
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
        with _naming(target):
            yield partial
            partial.chmod(0o666 & ~_umask())
            sync(partial)
            os.replace(partial, target)
            sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Give errors of the system that name no file, or the unfinished one, the name of what was written."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or PARTIAL in str(error.filename)):
            error.filename, error.filename2 = str(target), None
        raise


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a whole file, or leave the old one as it was."""
    with atomic_file(path) as partial:
        partial.write_bytes(data.encode(errors="backslashreplace") if isinstance(data, str) else data)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a fresh folder beside `path` to fill; on success it replaces `path`, on failure it is removed.

    What processes left that were killed while they wrote or replaced `path` is put right first.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{PARTIAL}{sha256_bytes(target.name)[:12]}-"
    swapping.recover(target, prefix)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        with swapping.alive(partial):
            yield partial
            partial.chmod(0o777 & ~_umask())
            for item in partial.rglob("*"):
                sync(item)
            if os.path.lexists(target):
                swapping.swap(partial, target)
            else:
                os.replace(partial, target)
            sync(target.parent)
    finally:
        swapping.remove(partial)
        swapping.recover(target, prefix)


def kept_folder(path: str | os.PathLike[str], fill: Callable[[Path], None]) -> Path:
    """A folder of the cache: filled once, by one process, and filled again where its content has changed since.

    The hash of the content lies beside it, in "NAME.sha256".

    Args:
        path: The folder.
        fill: Writes the content into an empty folder that it is given.
    """
    target = Path(path)
    with locked(target.with_name(f".{target.name}.lock")):
        if not is_kept(target):
            with atomic_folder(target) as partial:
                fill(partial)
            record_kept(target)
    return target


def is_kept(path: str | os.PathLike[str]) -> bool:
    """Whether a file or folder still has the content of which `record_kept` or `kept_folder` wrote the hash down."""
    target, record = Path(path), record_of(Path(path))
    try:
        if not (target.exists() and record.is_file()):  # a pipe would be waited for
            return False
        return record.read_text(encoding="ascii").strip() == _content_hash(target)
    except (OSError, ValueError):
        return False


def record_kept(path: str | os.PathLike[str]) -> None:
    """Write down the hash of a file's or a folder's content, beside it."""
    write_atomic(record_of(Path(path)), _content_hash(Path(path)))


def record_of(target: Path) -> Path:
    """Where the hash of a file's or a folder's content is written down."""
    return target.with_name(f"{target.name}{RECORD}")


def is_record(path: Path) -> bool:
    """Whether a file is such a hash."""
    return path.name.endswith(RECORD)


def _content_hash(target: Path) -> str:
    return sha256_file(target) if target.is_file() else sha256_tree(target)


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold an exclusive lock on `path`; it ends with the process, so a kill leaves nothing in the way."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "a+b") as file:
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield


def _lock(descriptor: int, *, wait: bool = True) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no flock; a file region's lock dies with its process there too
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


_HELD: dict[str, tuple[int, int, list[Path]]] = {}  # by folder: calls that hold it, the lock's handle, folders made
_HOLDING = threading.Lock()


@contextlib.contextmanager
def held(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a folder if need be and hold it, so that no other process writes into it meanwhile.

    A call inside the block, or in another thread of this process, may hold it again. The lock ends with the process,
    so a kill leaves nothing in the way. A folder that was made for this and stays empty is removed again.

    Raises:
        InputError: If another process holds it, or it cannot be made or written to.
    """
    path = Path(folder)
    if (url := url_of(folder)) is not None:
        raise InputError(f"{url} cannot be written to as a folder: give one of this host, and copy it there.")
    try:
        place = Path(os.path.realpath(path))
        _hold(place)
    except _BusyError as error:
        raise InputError(
            f"{path} is in use: {error} is writing to it. Wait until that has ended, or choose another folder."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be written to: {of_system(error)}.") from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"The folder {str(path)!r} cannot be made ({error}): choose another name.") from error
    try:
        yield path
    finally:
        _let_go(place)


def drop_lock(folder: str | os.PathLike[str]) -> None:
    """Remove the lock that a killed process left in a folder; one that is held, or not ours to remove, stays."""
    place = Path(os.path.realpath(folder))
    with contextlib.suppress(_BusyError, OSError):
        if (place / LOCK).exists():
            _hold(place)
            _let_go(place)


class _BusyError(Exception):
    """Another process holds the folder; which one."""


def _hold(place: Path) -> None:
    with _HOLDING:
        if str(place) in _HELD:
            calls, handle, created = _HELD[str(place)]
        else:
            calls, created = 0, _missing(place)
            try:
                place.mkdir(parents=True, exist_ok=True)
                handle = _acquired(place / LOCK)
            except BaseException:
                _remove_empty(created)
                raise
        _HELD[str(place)] = (calls + 1, handle, created)


def _let_go(place: Path) -> None:
    with _HOLDING:
        calls, handle, created = _HELD.pop(str(place))
        if calls > 1:
            _HELD[str(place)] = (calls - 1, handle, created)
            return
        with contextlib.suppress(OSError):  # the folder may be gone, or no longer ours to write to
            (place / LOCK).unlink(missing_ok=True)
        os.close(handle)
        _remove_empty(created)


def _missing(place: Path) -> list[Path]:
    """The folders that must be made, innermost first."""
    return [path for path in (place, *place.parents) if not path.exists()]


def _remove_empty(created: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for path in created:
            path.rmdir()


def _acquired(path: Path) -> int:
    """An open handle of the lock file at `path` that no other process has locked."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _lock_now(handle)
            if _is_still(path, handle):
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever held it has removed it in between


def _lock_now(handle: int) -> None:
    try:
        _lock(handle, wait=False)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            number = os.read(handle, 32).decode(errors="replace").strip()
            raise _BusyError(f"process {number}" if number.isdigit() else "another process") from None
        if error.errno not in NO_LOCKS:
            raise


def _is_still(path: Path, handle: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(handle))
    return False


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
