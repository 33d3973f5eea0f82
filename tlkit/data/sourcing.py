"""What all sources of examples share: files by position, and the way from unchecked examples to `Splits`."""

from __future__ import annotations

import dataclasses
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Column, Examples, Pipeline, Quarantined, Splits
from tlkit.data.assembly import assemble
from tlkit.data.labelling import Labelled
from tlkit.data.preflight import Checked, preflight, strict_message
from tlkit.data.splitting import Groups, checked_shares, group_names


@dataclass(frozen=True)
class FileSource:
    """Bytes of files, by position; their names are kept as texts, as a Path takes several times the memory."""

    paths: Sequence[str | os.PathLike[str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(map(os.fspath, self.paths)))

    def __call__(self, i: int) -> bytes:
        """Content of file i."""
        try:
            with open(self.paths[i], "rb") as file:
                return file.read()
        except OSError as error:
            raise InputError(f"{self.paths[i]!r} was sound at the start and cannot be read now: {error}.") from error


@dataclass(frozen=True)
class Division:
    """How a source is checked and divided; `data.image.from_folder` says what each means."""

    split: Sequence[float]
    seed: int
    groups: Groups | None
    strict: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        checked_shares(self.split)


@dataclass(frozen=True, eq=False)
class Unchecked:
    """Everything a source has, before anybody looked at it.

    Attributes:
        ids: A name for each example.
        labelled: Their targets, by which they are divided.
        read: `read(i)` gives the input of example i.
        check: `check(i)` looks at example i and never raises.
        spec: What `read` gives.
        modality: Of the examples.
        pipeline: Everything that decides the inputs, besides the content of the source.
        noun: What the examples are, in the plural, for messages: "images".
        fixed: The part of each example, where the source says so.
        quarantine: What was left out before.
        targets: What is to be predicted, where that is not what they are divided by.
        columns: What travels with the examples.
    """

    ids: Sequence[str]
    labelled: Labelled
    read: Callable[[int], Any]
    check: Callable[[int], Checked]
    spec: Any
    modality: str
    pipeline: Pipeline
    noun: str
    fixed: Sequence[int] = ()
    quarantine: Sequence[Quarantined] = ()
    targets: np.ndarray | Column | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)


def checked_splits(source: Unchecked, division: Division, augment: Augmenting | None = None) -> Splits:
    """Look at every example once, leave the broken ones out, and divide the others.

    Raises:
        InputError: If what is left cannot be learned from; with `strict`, if anything would be left out.
    """
    started = time.perf_counter()
    if source.quarantine and division.strict:
        total = len(source.ids) + len(source.quarantine)
        raise InputError(strict_message(source.quarantine, total, source.noun))
    groups = group_names(division.groups, source.ids)
    checks = preflight(source.ids, source.check, noun=source.noun, strict=division.strict, progress=division.progress)
    sound = np.array(checks.sound, dtype=np.int64)
    targets = source.labelled.targets if source.targets is None else source.targets
    if isinstance(targets, np.ndarray):
        targets = ArrayColumn(targets)
    examples = Examples(
        ids=tuple(source.ids[i] for i in sound),
        inputs=ReadColumn(source.read, source.spec, checks.digests, checks.sound),
        targets=targets.subset(sound.tolist()),
        modality=source.modality,
        pipeline=source.pipeline,
        columns={name: column.subset(sound.tolist()) for name, column in source.columns.items()},
        groups=tuple(groups[i] for i in sound) if groups else (),
    )
    splits = assemble(
        examples,
        dataclasses.replace(source.labelled, targets=source.labelled.targets[sound]),
        shares=checked_shares(division.split),
        seed=division.seed,
        fixed=[source.fixed[i] for i in sound] if source.fixed else (),
        augment=augment,
        quarantine=(*source.quarantine, *checks.quarantine),
    )
    return dataclasses.replace(splits, seconds=time.perf_counter() - started)


def file_trouble(path: Path) -> str:
    """Why a file cannot be read at all, or "" where it can."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "no regular file"
        with path.open("rb"):
            return "" if status.st_size else "empty: it has 0 bytes"
    except FileNotFoundError:
        return "a link to a file that is not there" if path.is_symlink() else "there is no such file"
    except PermissionError:
        return "it may not be read: change its permissions"
    except ValueError:  # a NUL, or half of a character
        return "no file can have such a name"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
