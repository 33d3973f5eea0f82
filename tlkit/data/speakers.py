"""Recordings of speakers as an open set: nobody who is heard in one split is heard in another."""

from __future__ import annotations

import dataclasses
import importlib
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Splits
from tlkit.data import audio
from tlkit.data.audio_source import Options
from tlkit.data.listing import class_folders
from tlkit.data.sourcing import Division
from tlkit.data.splitting import PARTS, SHARES, checked_shares, name_key

__all__ = ["from_folder", "open_set"]


def __dir__() -> list[str]:
    return sorted(__all__)


SECONDS = 3.0
TRIM_DB = 40.0  # voices pause before and behind a word, each in its own way
EVERYTHING = (1.0, 0.0, 0.0)


def from_folder(
    folder: str | os.PathLike[str],
    *,
    seconds: float = SECONDS,
    hop: float | None = None,
    sample_rate: int = audio.SAMPLE_RATE,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    strict: bool = False,
    augment: Augmenting | None = None,
    trim_db: float | None = TRIM_DB,
    progress: bool = True,
) -> Splits:
    """Sounds in one folder for each speaker.

    Args:
        folder: Folder of speakers' folders.
        seconds, hop, sample_rate, strict, augment, trim_db, progress: As in `data.audio.from_folder`.
        split: Shares of the speakers, not of their recordings, in training, validation and test.
        seed: Another seed gives another division.

    Returns:
        Splits of int32 speakers; those of training have the numbers 0, 1, ...

    Raises:
        InputError: As `data.audio.from_folder`, or if there are too few speakers.
    """
    division = Division(EVERYTHING, seed, None, strict, progress)
    options = Options(division, seconds, hop, "all", sample_rate, augment, trim_db=trim_db)
    listing = class_folders(folder, progress=progress)
    listed = tuple(dataclasses.replace(file, part=None) for file in listing.files)
    return open_set(audio.from_listing(dataclasses.replace(listing, files=listed), options), split, seed)


def open_set(data: Splits, split: Sequence[float] = SHARES, seed: int = 0, *, test: Sequence[str] = ()) -> Splits:
    """Divide the training examples of `data` by speaker and number the speakers anew, those of training first.

    Args:
        data: Splits whose labels are the speakers and whose validation and test are empty.
        split: Shares of the speakers in training, validation and test.
        seed: Another seed gives another division; the same seed gives the same on every machine.
        test: Speakers who go into the test whatever the shares.

    Raises:
        InputError: If the data are divided already, a part would have fewer than two speakers, or `test` names nobody.
    """
    if len(data.val) or len(data.test):
        raise InputError("An open set is divided by speaker: load all recordings as training, `split=(1, 0, 0)`.")
    parts = _parts(data.labels, checked_shares(split), seed, test)
    order = sorted(range(len(parts)), key=lambda speaker: (parts[speaker], data.labels[speaker]))
    renamed = np.empty(len(order), np.int32)
    renamed[order] = np.arange(len(order), dtype=np.int32)
    numbers = data.train.target_array
    renumbered = dataclasses.replace(data.train, targets=ArrayColumn(renamed[numbers]), augment=None)
    owners = np.asarray(parts)[numbers]
    train, val, test_part = (renumbered.subset(np.flatnonzero(owners == part).tolist()) for part in range(len(PARTS)))
    train = dataclasses.replace(train, augment=data.train.augment)
    return dataclasses.replace(data, train=train, val=val, test=test_part, labels=tuple(data.labels[i] for i in order))


def _parts(names: Sequence[str], shares: Sequence[float], seed: int, test: Sequence[str]) -> list[int]:
    """The part of each speaker."""
    unknown = sorted(set(test) - set(names))
    if unknown:
        raise InputError(f"`test` names a speaker who is not there: {unknown[0]!r}.")
    drawn = sorted((name for name in names if name not in test), key=lambda name: name_key(name, seed))
    ends = np.rint(np.cumsum(shares) * len(drawn)).astype(int)
    part_of = {name: int(np.searchsorted(ends, place, "right")) for place, name in enumerate(drawn)}
    parts = [part_of.get(name, PARTS.index("test")) for name in names]
    counts = np.bincount(parts, minlength=len(PARTS))
    for part, name in enumerate(PARTS):
        if shares[part] > 0 and counts[part] < 2:
            raise InputError(
                f"{len(names)} speakers are too few for an open set: the {name} part would have {counts[part]}, and "
                "needs two. Add speakers, or pass other shares as `split`."
            )
    return parts


def __getattr__(name: str) -> Any:
    if name != "voices":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("tlkit.data.speakers.voices is now tlkit.datasets.speakers.voices.", DeprecationWarning, stacklevel=2)
    return importlib.import_module("tlkit.datasets.speakers").voices
