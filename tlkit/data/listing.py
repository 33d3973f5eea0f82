"""Folders of class folders -> names, paths and labels, in an order that no file system decides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tlkit.data.splitting import PART_NAMES
from tlkit.errors import InputError
from tlkit.types import Quarantined

_NOT_DATA = ("__macosx", "@eadir")  # folders that archives from macOS and network drives leave behind


@dataclass(frozen=True)
class Listed:
    """One file: its name relative to the folder, where it is, its label, and its part if a folder says so."""

    name: str
    path: Path
    label: str
    part: int | None = None


@dataclass(frozen=True)
class Listing:
    """All files of a folder, the class names, and the files whose names cannot be read."""

    files: tuple[Listed, ...]
    labels: tuple[str, ...]
    quarantine: tuple[Quarantined, ...] = ()


def class_folders(where: str | os.PathLike[str]) -> Listing:
    """List `folder/class/...`, or `folder/train/class/...` with val and test beside it.

    Hidden files and folders are passed over; links are followed, and a link back to its own parent is not.

    Raises:
        InputError: If the folder is missing, empty, has no class folders, one class only, or unreadable class names.
    """
    root = Path(where).expanduser()
    _check_root(root)
    inner = _folders(root)
    parts = _part_folders(inner)
    classes: list[tuple[Path, int | None]] = [
        (folder, part) for above, part in parts.items() for folder in _folders(above)
    ]
    classes = classes or [(folder, None) for folder in inner]
    labels = tuple(sorted({folder.name for folder, _ in classes}))
    _check_labels(root, labels)
    found = [
        Listed(path.relative_to(root).as_posix(), path, folder.name, part)
        for folder, part in classes
        for path in _files(folder)
    ]
    files = tuple(sorted((one for one in found if readable(one.name)), key=lambda one: one.name))
    if not found:
        raise InputError(f"The class folders of {str(root)!r} ({_some(labels)}) hold no files.")
    unreadable = sorted(escaped(one.name) for one in found if not readable(one.name))
    return Listing(files, labels, tuple(Quarantined(name, "its name is not UTF-8: rename it") for name in unreadable))


def readable(name: str) -> bool:
    """Whether a file's name is valid Unicode; Python carries other bytes as lone surrogates."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def escaped(name: str) -> str:
    r"""A name that can be printed and stored, other bytes as \x escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _check_root(root: Path) -> None:
    if root.is_file():
        raise InputError(
            f"{str(root)!r} is a file: give the folder that holds one folder for each class (or from_csv for a table)."
        )
    if not root.is_dir():
        raise InputError(f"There is no folder {str(root)!r}: give one that holds a folder of files for each class.")


def _check_labels(root: Path, labels: tuple[str, ...]) -> None:
    if not labels:
        loose = sum(1 for _ in _files(root))
        held = f"{loose} files, but no folders" if loose else "nothing"
        raise InputError(f"{str(root)!r} holds {held}: put the files of each class into a folder named after it.")
    for label in labels:
        if not readable(label):
            raise InputError(f"The name of the class folder {escaped(label)!r} is not UTF-8: rename it.")
    if len(labels) == 1:
        raise InputError(
            f"{str(root)!r} holds one class only, {labels[0]!r}: a classifier needs two, each in a folder of its own."
        )


def _part_folders(folders: list[Path]) -> dict[Path, int]:
    """Folder -> part where all folders are named after parts, training is among them, and they hold class folders."""
    parts = {path: PART_NAMES.get(path.name.casefold(), -1) for path in folders}
    named = len(parts) > 0 and -1 not in parts.values() and 0 in parts.values()
    return parts if named and all(_folders(path) for path in folders) else {}


def _folders(folder: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in _entries(folder) if entry.is_dir())


def _files(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Everything below `folder` that is no folder; dangling links too, so that they can be reported."""
    status = folder.stat()
    here = (*above, (status.st_dev, status.st_ino))
    if here[-1] in above:
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _files(Path(entry.path), here)
        else:
            yield Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [one for one in entries if not one.name.startswith(".") and one.name.casefold() not in _NOT_DATA]
    except PermissionError as error:
        raise InputError(f"The folder {str(folder)!r} may not be read: change its permissions.") from error


def _some(names: tuple[str, ...], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
