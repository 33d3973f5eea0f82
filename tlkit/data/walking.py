"""What lies in a folder, whatever the file system does: visible folders and files, links and loops told apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tlkit.core.errors import InputError

_NOT_DATA = ("__macosx", "@eadir", "$recycle.bin", "lost+found")  # what archives, drives and network drives leave
_BESIDE = (".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".py", ".ipynb", ".db")
_ABOUT_DATA = """
    AUTHORS CHANGELOG CHANGES CHECKSUMS CITATION CONTRIBUTING CONTRIBUTORS COPYING COPYRIGHT CREDITS HISTORY INSTALL
    LICENCE LICENSE MAINTAINERS MANIFEST MD5SUMS NEWS NOTES NOTICE README SHA1SUMS SHA256SUMS SOURCES TODO VERSION
"""
_NOTES = frozenset(_ABOUT_DATA.split())
_NOTES_IN_SMALL = ("readme", "license", "licence")


def folders(folder: Path) -> list[Path]:
    """The visible folders in a folder, by name."""
    return sorted(Path(entry.path) for entry in _entries(folder) if _is_folder(entry))


def files(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Everything below `folder` that is no folder; dangling links too, so that they can be reported."""
    try:
        status = folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from error
    visited = (*above, (status.st_dev, status.st_ino))
    if visited[-1] in above:
        return
    for entry in _entries(folder):
        if _is_folder(entry):
            yield from files(Path(entry.path), visited)
        else:
            yield Path(entry.path)


def holds_files(folder: Path) -> bool:
    """Whether there is any file below a folder."""
    return next(files(folder), None) is not None


def loose(folder: Path) -> int:
    """How many files lie in a folder itself, tables and notes aside."""
    return sum(not _is_folder(entry) and not _is_beside(entry.name) for entry in _entries(folder))


def tables(folder: Path) -> list[str]:
    """Names of the tables that lie in a folder itself."""
    return sorted(
        entry.name for entry in _entries(folder) if entry.name.casefold().endswith((".csv", ".tsv", ".jsonl"))
    )


def _is_beside(name: str) -> bool:
    path = Path(name)
    return path.suffix.casefold() in _BESIDE or is_note(path.stem)


def is_note(name: str) -> bool:
    """Whether a file of that name, without its ending, is about the data, as README is; DSC0001 is none of them."""
    return name in _NOTES or name.casefold() in _NOTES_IN_SMALL


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself: a file that cannot be read
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [
                entry for entry in entries if not entry.name.startswith(".") and entry.name.casefold() not in _NOT_DATA
            ]
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> InputError:
    if isinstance(error, PermissionError):
        return InputError(f"The folder {str(folder)!r} may not be read: change its permissions.")
    return InputError(f"The folder {str(folder)!r} cannot be read: {error.strerror or error}.")
