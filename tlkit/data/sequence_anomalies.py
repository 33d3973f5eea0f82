"""Good recordings and series, and bad ones only to judge by, as `Splits`: for `tasks.sequence_anomalies`.

Targets have the form of `data.anomalies`, in one row: uint8 (1, steps) of a series, 0 where it is normal and 1 where it
is faulty; (1, 1) of a recording's window, 0 of a good one and 255 (`VOID`) of a bad one, as nobody says when.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.remote import local
from tlkit.data import labelled_series, walking
from tlkit.data.anomalies import GOOD, KIND, VOID, Folder, check_apart, outside
from tlkit.data.audio import SAMPLE_RATE
from tlkit.data.audio_source import Options, from_files
from tlkit.data.labelling import Labelled
from tlkit.data.listing import checked_folder, escaped, noted
from tlkit.data.sourcing import Division
from tlkit.data.splitting import SHARES, Groups, by_id, checked_shares, divide, group_names

__all__ = ["from_recordings", "from_series", "holds_recordings"]


def __dir__() -> list[str]:
    return sorted(__all__)


ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")
FEWEST = 2  # steps of a piece


def from_recordings(
    normal_dir: Folder,
    abnormal_dir: Folder | None = None,
    *,
    seconds: float = 1.0,
    windows: str = "all",
    sample_rate: int = SAMPLE_RATE,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    progress: bool = True,
    trim_db: float | None = None,
) -> Splits:
    """A folder of good recordings; with a folder of bad ones to judge by.

    Folders inside `abnormal_dir` are kinds of faults, which the report tells apart. Each window is an example of its
    own, and all those of a bad recording count as bad, as nobody says which are: a note counts them.

    Args:
        normal_dir: Good recordings, divided by `split`.
        abnormal_dir: Bad ones, all for test; those below `normal_dir` are left out.
        seconds: Length of a window, which is what the exported files take; as in `data.audio.from_folder`, like all
            that are not named here.
        windows: "all" of a recording, silent ones aside, or the "first", which is what `predict` reads.
        sample_rate: As there.
        split: Shares of training, validation and test of the good recordings.
        seed: As there.
        groups: As there, of the path relative to the folder that a recording was found in.
        strict: As there.
        progress: As there.
        trim_db: As there.

    Raises:
        InputError: If a folder holds no recordings, the bad ones lie among the good ones, or there are too few good
            ones for the parts.
    """
    check_apart(normal_dir=normal_dir, abnormal_dir=abnormal_dir)
    good = _below(checked_folder(normal_dir, "the good recordings", progress=progress))
    bad = []
    if abnormal_dir is not None:
        root = checked_folder(abnormal_dir, "the bad recordings", progress=progress)
        bad = outside(_below(root), root, abnormal_dir, (normal_dir,))
    names = [name for name, _ in good]
    names += [name if name not in set(names) else f"bad/{name}" for name, _ in bad]
    owners = group_names(by_id(groups, names[: len(good)]), names[: len(good)])
    shares = checked_shares(split)
    parts = divide(names[: len(good)], [[] for _ in good], shares, seed=seed, groups=owners)
    division = Division(shares, seed, None, strict, progress)
    options = Options(division, seconds, None, windows, sample_rate, None, trim_db=trim_db)
    kinds = [GOOD] * len(good) + [name.partition("/")[0] if "/" in name else "bad" for name, _ in bad]
    numbers = Labelled(np.arange(len(names), dtype=np.float32)[:, None], (), "values")
    splits = from_files(
        names, [path for _, path in (*good, *bad)], numbers, fixed=[*parts, *([2] * len(bad))], options=options
    )
    notes = _windows_note([place for place in _places(splits.test) if kinds[place] != GOOD], seconds)
    train, val, test = (_marked(part, kinds) for part in (splits.train, splits.val, splits.test))
    return noted(dataclasses.replace(splits, train=train, val=val, test=test), notes)


def from_series(values: Any, faulty: Any = None, *, steps: int, good_until: int, val_share: float = 0.2) -> Splits:
    """One long series whose beginning is good: pieces of it, the good ones to learn from and the rest for test.

    Args:
        values: float (n,) or (n, channels), at regular steps; a pandas column or frame will do.
        faulty: (n,) of 0 and 1, 1 where the series is faulty behind `good_until`; None where nobody says.
        steps: Of a piece, which is what the model takes: twice the window of the task or more.
        good_until: Steps from the beginning that are known to be good.
        val_share: Share of the good steps, the last ones, that set the threshold, in (0, 1).

    Returns:
        Splits of pieces float32 (steps, channels): of the training steps they overlap by half, so that no window of
        half a piece is lost; the others lie one behind the other, the last one ending with its part.

    Raises:
        InputError: If a part is shorter than a piece, or faults are marked among the good steps.
    """
    array = labelled_series.checked("values", values)
    filled, gaps = labelled_series.without_gaps("values", array)
    marks = np.zeros(len(array), np.uint8) if faulty is None else (np.asarray(faulty).reshape(-1) != 0).astype(np.uint8)
    if len(marks) != len(array):
        raise InputError(f"`faulty` must have a value a step. Received: {len(marks)} for {len(array)} steps.")
    if marks[:good_until].any():
        raise InputError(
            f"Step {int(marks[:good_until].argmax())} is marked as faulty and lies among the first {good_until}, which "
            "are to be good: end them before it, `good_until=`."
        )
    first_val = good_until - round(val_share * good_until)
    rows, half = filled.astype(np.float32), max(1, steps // 2)
    train = _pieces(rows, marks, steps, ("training", 0, first_val), half)
    val = _pieces(rows, marks, steps, ("validation", first_val, good_until), steps)
    test = _pieces(rows, marks, steps, ("test", good_until, len(array)), steps)
    notes = ("The series had gaps, which were filled along lines.",) if gaps else ()
    return Splits(train, val, test, notes=notes)


def holds_recordings(folder: Folder) -> bool:
    """Whether a folder holds files whose names end as those of recordings do, somewhere below it."""
    root = local(folder)
    return root.is_dir() and any(path.suffix.casefold() in ENDINGS for path in walking.files(root))


# -- what is where


def _below(root: Path) -> list[tuple[str, Path]]:
    files = sorted(path for path in walking.files(root) if path.suffix.casefold() in ENDINGS)
    if not files:
        raise InputError(
            f"{str(root)!r} holds no recordings: their names end in {', '.join(ENDINGS[:4])} and the like."
        )
    return [(escaped(path.relative_to(root).as_posix()), path) for path in files]


def _places(examples: Examples) -> list[int]:
    """Of each window the number of its recording."""
    return [int(examples.targets[i][0]) for i in range(len(examples))]


def _windows_note(places: Sequence[int], seconds: float) -> tuple[str, ...]:
    """A note on bad recordings, one number a window, of which more than one window counts as bad."""
    if len(places) == len(set(places)):
        return ()
    return (
        f"{len(set(places))} bad recordings are read as {len(places)} windows of {seconds:g} s, each of which counts "
        "as bad: where a fault is shorter than its recording, choose `seconds` as long as the recording, or cut the "
        "file to the fault.",
    )


def _marked(examples: Examples, kinds: Sequence[str]) -> Examples:
    """Windows of recordings with their kinds, and masks in place of the numbers of their recordings."""
    kind_of_each = [kinds[place] for place in _places(examples)]
    masks = np.array([[[0 if kind == GOOD else VOID]] for kind in kind_of_each], np.uint8).reshape(-1, 1, 1)
    return dataclasses.replace(examples, targets=ArrayColumn(masks), columns={KIND: TextColumn(kind_of_each)})


def _pieces(values: np.ndarray, marks: np.ndarray, steps: int, part: tuple[str, int, int], hop: int) -> Examples:
    """Pieces of a part (its name, first step and end)."""
    name, first, end = part
    if steps < FEWEST or end - first < steps:
        raise InputError(
            f"The {name} part of the series has {max(0, end - first)} steps, and a piece {steps}: give fewer `steps`, "
            "or divide the series otherwise (`good_until`, `val_share`)."
        )
    starts = list(range(first, end - steps + 1, hop))
    starts = starts if starts[-1] == end - steps else [*starts, end - steps]
    masks = np.stack([marks[None, start : start + steps] for start in starts])
    return Examples(
        ids=tuple(f"{start}-{start + steps - 1}" for start in starts),
        inputs=ArrayColumn(np.stack([values[start : start + steps] for start in starts])),
        targets=ArrayColumn(masks),
        modality=labelled_series.SERIES,
        columns={KIND: TextColumn(["fault" if mask.any() else GOOD for mask in masks])},
    )
