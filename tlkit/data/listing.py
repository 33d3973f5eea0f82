"""Folders of class folders -> names, paths and labels, in an order that no file system decides."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.examples import Quarantined, Splits
from tlkit.core.remote import local
from tlkit.data import labelling, walking
from tlkit.data.layout import layout


@dataclass(frozen=True)
class Listed:
    """One file: its name relative to the folder, where it is, its label, and its part if a folder says so."""

    name: str
    path: Path
    label: str
    part: int | None = None


@dataclass(frozen=True)
class Listing:
    """All files of a folder, the class names, the files whose names cannot be read, and what was taken as what."""

    files: tuple[Listed, ...]
    labels: tuple[str, ...]
    quarantine: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()


def class_folders(where: str | os.PathLike[str], *, progress: bool = True) -> Listing:
    """List `folder/class/...`, or `folder/train/class/...` with validation and test beside it, by `layout`.

    Hidden files and folders are passed over; links are followed, and a link back to its own parent is not.

    Raises:
        InputError: If the folder is missing, empty, has no class folders, one class only, or unreadable class names;
            or if it can be read in two ways.
    """
    root = checked_folder(where, progress=progress)
    plan = layout(root)
    labels = tuple(sorted({folder.label for folder in plan.classes}))
    _check_labels(root, labels)
    entries = [
        Listed(path.relative_to(root).as_posix(), path, folder.label, folder.part)
        for folder in plan.classes
        for path in walking.files(folder.path)
    ]
    files = tuple(sorted((file for file in entries if readable(file.name)), key=lambda file: file.name))
    if not entries:
        raise InputError(f"The class folders of {str(root)!r} ({_some(labels)}) hold no files.")
    unreadable = sorted(escaped(file.name) for file in entries if not readable(file.name))
    reason = "its name is not UTF-8: rename it"
    return Listing(files, labels, tuple(Quarantined(name, reason) for name in unreadable), plan.notes)


def listed_splits(listing: Listing, from_files: Callable[..., Splits], options: Any) -> Splits:
    """Splits of listed files, by the `from_files` of their modality and its options."""
    labelled = labelling.from_names([file.label for file in listing.files], listing.labels)
    fixed = [file.part for file in listing.files if file.part is not None]
    names = [file.name for file in listing.files]
    paths = [file.path for file in listing.files]
    splits = from_files(names, paths, labelled, fixed=fixed, options=options, quarantine=listing.quarantine)
    return noted(splits, listing.notes)


def noted(splits: Splits, notes: Sequence[str]) -> Splits:
    """The same splits with notes in front."""
    return dataclasses.replace(splits, notes=(*notes, *splits.notes)) if notes else splits


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


CLASS_FOLDERS = "one folder of files for each class"


def checked_folder(where: str | os.PathLike[str], noun: str = CLASS_FOLDERS, *, progress: bool = True) -> Path:
    """The folder as a path.

    Raises:
        InputError: If it is none.
    """
    try:
        root = local(where, progress=progress)
        mode = root.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"There is no folder {str(where)!r}: give one that holds {noun}.") from error
    except (OSError, ValueError, RuntimeError) as error:  # no home of such a user, a name too long or with a NUL
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"The folder {str(where)!r:.300} cannot be read: {reason}.") from error
    if not stat.S_ISDIR(mode):
        table = " (or from_csv for a table)" if noun == CLASS_FOLDERS else ""
        raise InputError(f"{str(root)!r} is a file: give the folder that holds {noun}{table}.")
    return root


def _check_labels(root: Path, labels: tuple[str, ...]) -> None:
    if not labels:
        loose = sum(1 for _ in walking.files(root))
        contents = f"{loose} files, but no folders" if loose else "nothing"
        raise InputError(f"{str(root)!r} holds {contents}: put the files of each class into a folder named after it.")
    for label in labels:
        if not readable(label):
            raise InputError(f"The name of the class folder {escaped(label)!r} is not UTF-8: rename it.")
    if len(labels) == 1:
        raise InputError(
            f"{str(root)!r} holds one class only, {labels[0]!r}: a classifier needs two, each in a folder of its own."
        )


def _some(names: tuple[str, ...], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
