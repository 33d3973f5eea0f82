"""The one place that turns trouble into a sentence: what the system, memory or another package raised, and the fix."""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from tlkit.core.errors import TlkitError

MOST_LETTERS = 300  # of somebody else's message: Keras and TensorFlow write pages
_FULL = "the disk is full: free some space there, or choose a folder on another disk"
_READ_ONLY = "it lies on a file system that is read-only: choose another folder"
_RIGHTS = "it may not be read or written: change its permissions, or choose another path"
_SYSTEM = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _READ_ONLY,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up: free some space there, or choose a folder on another disk",
    errno.EFBIG: "the file is larger than the file system or `ulimit -f` allows: choose a folder on another disk",
    errno.ENOENT: "there is no such file or folder: check the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another path",
    errno.EISDIR: "it is a folder where a file is needed: move it away, or choose another path",
    errno.EEXIST: "something else lies there already: move it away, or choose another path",
    errno.ENOTEMPTY: "the folder is not empty: move it away, or choose another path",
    errno.ENAMETOOLONG: "the name is too long for the file system: choose a shorter one",
    errno.ELOOP: "its symbolic links go round in a circle: remove one of them",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n 4096`)",
    errno.ENFILE: "too many files are open: close other programs",
    errno.EIO: "the disk failed while it was read or written: check the disk, or choose another",
    errno.EBUSY: "another program uses it: close that, or choose another path",
}  # fmt: skip
_SAID_IN_WORDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENAMETOOLONG, errno.EIO)
_MEMORY = (
    "Memory ran out{what}: use a smaller `batch_size`, smaller images or shorter texts, fewer files at a time, "
    "or close other programs."
)


def explained(error: BaseException, cache: Path | None = None) -> str:
    """What went wrong and what to do, in a sentence that is safe to print on a terminal.

    Args:
        error: tlkit's own error, or whatever else was raised.
        cache: The cache folder, whose files have a fix of their own.

    Returns:
        The sentence. Of an error that nobody foresaw it names the place and asks for `--debug`.
    """
    if isinstance(error, TlkitError):
        return printable(str(error))
    return printable(next((s for e in _causes(error) if (s := _known(e, cache))), None) or _unforeseen(error))


def printable(text: str) -> str:
    """The text with everything but printable characters and line breaks escaped: names may hold terminal codes."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def of_system(error: OSError) -> str:
    """Why the system refused, and the fix, without the path.

    Example:
        >>> of_system(IsADirectoryError(errno.EISDIR, "Is a directory"))
        'it is a folder where a file is needed: move it away, or choose another path'
    """
    number = error.errno if error.errno in _SYSTEM else _number_in(str(error))
    if number in _SYSTEM:
        return _SYSTEM[number]
    if re.search(r"\d+ requested and \d+ written", str(error)):  # what NumPy says of a full disk
        return _FULL
    return (error.strerror or first_line(error)).strip().rstrip(".").lower() or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of a message, at most `MOST_LETTERS` of it."""
    return next((line.strip()[:MOST_LETTERS] for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it names as its cause."""
    while error is not None:
        yield error
        error = error.__cause__


def _known(error: BaseException, cache: Path | None) -> str | None:
    match error:
        case TlkitError():
            return str(error)
        case MemoryError():
            return _MEMORY.format(what=f" ({first_line(error)})" if str(error) else "")
        case RecursionError():
            return (
                "Something is nested too deeply to be read (brackets in a file, a graph, a configuration): flatten it."
            )
        case UnicodeEncodeError():
            return f"{error.object[:200]!a} holds characters that are no UTF-8: rename or remove it."
        case UnicodeDecodeError():
            return f"A text file or a name is not UTF-8 ({error.reason}, byte {error.start}): save it as UTF-8."
        case ModuleNotFoundError(name=str(name)):
            package = name.partition(".")[0]
            return f"The package {package!r} is needed here, and is not installed: pip install {package}."
        case SyntaxError(filename=str(name)):
            return f"{name}, line {error.lineno}, is no Python: {error.msg}."
        case ValueError() if "embedded null" in str(error):
            return "A path holds a NUL character, which no file system takes: remove it from the name."
        case OSError():
            return _of_path(error, cache)
    return _of_tensorflow(error) or _of_words(error)


def _of_path(error: OSError, cache: Path | None) -> str:
    paths = [os.fsdecode(name) for name in (error.filename2, error.filename) if isinstance(name, str | bytes)]
    why = of_system(error)
    if not paths:
        return f"{why[0].upper()}{why[1:]}."
    if cache is not None and Path(paths[0]).absolute().is_relative_to(cache.absolute()) and why is not _FULL:
        cause = why.partition(":")[0]
        return (
            f"{paths[0]}: {cause}. It belongs to tlkit's cache: `tlkit cache clear` empties it, and TLKIT_CACHE names "
            "another folder."
        )
    return f"{paths[0]}: {why}."


def _of_tensorflow(error: BaseException) -> str | None:
    """What TensorFlow's runtime says of memory and files: "PATH; No space left on device"."""
    if not type(error).__module__.startswith("tensorflow."):
        return None
    number, text = _number_in(str(error)), str(error)
    if number is not None:
        named = re.search(r"(/[^;\n]+); ", text)
        return f"{named[1]}: {_SYSTEM[number]}." if named else f"{_SYSTEM[number]}."
    if type(error).__name__ == "ResourceExhaustedError":
        return _MEMORY.format(what="")
    return None


def _of_words(error: BaseException) -> str | None:
    """A package's own error (h5py, soundfile, pyarrow) that quotes the system's."""
    number = _number_in(str(error))
    return None if number is None else f"{_SYSTEM[number][0].upper()}{_SYSTEM[number][1:]} ({first_line(error)})."


def _number_in(text: str) -> int | None:
    return next((number for number in _SAID_IN_WORDS if os.strerror(number) in text), None)


def _unforeseen(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = "" if first_line(error) == type(error).__name__ else f": {first_line(error).rstrip('.')}"
    return (
        f"tlkit met an error that it does not know, {type(error).__name__}{text}{place}. "
        "Run it again with --debug for the traceback, and please report that."
    )
