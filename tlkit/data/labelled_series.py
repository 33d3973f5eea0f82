"""Labelled series out of tables and recordings, brought to one length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.data import labelling, tables, tfds_source
from tlkit.data.layout import ClassFolder
from tlkit.data.step_columns import step_columns
from tlkit.data.table_formats import Table, column_names, read_any
from tlkit.data.timeline import LARGEST, MOST_FILLED, number, stamps

SERIES = "series"  # the modality, and the pipeline's step
SHORTEST = 3
TABLES = (".csv", ".txt", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".pq")
_TIMES = ("time", "timestamp", "date", "datetime", "t", "seconds", "index")
_SURELY_TIMES = _TIMES[:4]
_NAMELESS = ("", "unnamed: 0")


@dataclass(frozen=True, eq=False)
class Frame:
    """Columns of a table or of a pandas DataFrame by name; the row that comes first has the number `first`."""

    columns: Mapping[str, Sequence[Any]]
    first: int
    notes: tuple[str, ...] = ()

    def column(self, name: str, option: str = "") -> list[Any]:
        """One column; `option` is the argument that names it.

        Raises:
            InputError: If there is none of that name.
        """
        return list(tables.column(self.columns, name, option))

    @property
    def table(self) -> Table:
        """As labels are read from it."""
        return Table({name: list(cells) for name, cells in self.columns.items()}, self.first)


def frame_of(source: Any, encoding: str | None, separator: str | None) -> Frame:
    """A table on disk, a pandas DataFrame, or a TFDS builder of one value a feature, as columns.

    Raises:
        InputError: If it is neither.
    """
    if isinstance(source, str | os.PathLike):
        table = read_any(source, encoding, separator)
        return Frame(table.columns, table.first, table.notes)
    if hasattr(source, "download_and_prepare"):
        rows = tfds_source.open_rows(source)
        return Frame(rows.columns, 0, rows.notes)
    if not (hasattr(source, "columns") and hasattr(source, "to_dict")):
        raise InputError(
            "Series come from a table (a path), a pandas DataFrame, a TFDS builder, or arrays. Received: "
            f"{type(source).__name__}."
        )
    names = getattr(getattr(source, "index", None), "names", ())  # of several levels, as series and time
    twice = [name for name in source.columns if list(source.columns).count(name) > 1]
    if twice:
        raise InputError(f"The DataFrame has two columns {str(twice[0])!r}: give each a name of its own.")
    levels = [i for i, name in enumerate(names) if name not in source.columns]  # others were set with drop=False
    frame = source.reset_index(levels) if levels and any(name is not None for name in names) else source
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    if not columns or not len(frame):
        raise InputError("The DataFrame holds no rows: give one for each time.")
    return Frame(columns, 0)


@dataclass(frozen=True, eq=False)
class Recordings:
    """Labelled series as a table has them.

    Attributes:
        names: Of each.
        values: float64 (steps,) or (steps, channels) of each.
        labelled: Their targets.
        notes: Sentences on what was done.
        steps: Columns of a wide table that are the steps.
    """

    names: list[str]
    values: list[np.ndarray]
    labelled: labelling.Labelled
    notes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


def wide(frame: Frame, label: str | Sequence[str]) -> Recordings:
    """Series of a table with a row a series."""
    labels = column_names(label)
    for name in labels:
        frame.column(name, "label")
    further = {name: cells for name, cells in frame.columns.items() if name not in labels}
    whole = next((name for name, cells in further.items() if isinstance(cells[0], list | np.ndarray)), None)
    if whole is not None:
        raise InputError(
            f"The column {whole!r} holds a whole series in each row: read the table with pandas, and give its columns "
            f"to tlkit.data.series.from_arrays(list(frame[{whole!r}]), frame[{labels[0]!r}])."
        )
    steps, named, notes = step_columns(further)
    if len(steps) < SHORTEST:
        raise InputError(
            f"A wide table has a row a series and a column a step, and this one has {len(steps)} columns beside "
            f"{labels}: name the columns of a long table, `series`, `time` and `value`."
        )
    names, arrays = wide_rows(frame, steps)
    order = "" if named else ", in the table's order, as their names say none"
    notes.append(f"The {len(steps)} columns from {steps[0]!r} to {steps[-1]!r} are the steps of the series{order}.")
    return Recordings(names, arrays, frame.table.labelled(label), tuple(notes), tuple(steps))


def wide_rows(frame: Frame, steps: Sequence[str]) -> tuple[list[str], list[np.ndarray]]:
    """Names and values of the series of a wide table, float64 (steps,) each, without empty cells at their ends."""
    columns = [
        [number(cell, f"row {row} of column {name!r}") for row, cell in enumerate(frame.columns[name], frame.first)]
        for name in steps
    ]
    values = np.array(columns, np.float64).T
    return [f"row {row}" for row in range(frame.first, frame.first + len(values))], list(map(_without_padding, values))


def _without_padding(row: np.ndarray) -> np.ndarray:
    """A row without the empty cells behind its end."""
    present = np.flatnonzero(np.isfinite(row))
    return row[: present[-1] + 1] if len(present) else row


def long(frame: Frame, label: str | Sequence[str], series: str, time: str, channels: Sequence[str]) -> Recordings:
    """Series of a table with a row a step, each in the order of its times.

    Raises:
        InputError: If a column is missing, a time is none or there twice, or a series has no name or several labels.
    """
    times, rows = frame.column(time, "time"), _rows_of_series(frame, series)
    columns = [
        [
            number(cell, f"row {row} of column {name!r}")
            for row, cell in enumerate(frame.column(name, "value"), frame.first)
        ]
        for name in channels
    ]
    values = np.array(columns, np.float64).T
    order = {name: _in_order(name, row_numbers, times) for name, row_numbers in rows.items()}
    labels = column_names(label)
    cells = {column: frame.column(column, "label") for column in labels}
    for name, series_rows in rows.items():
        for column in labels:
            series_labels = {str(cells[column][row]) for row in series_rows}
            if len(series_labels) > 1:
                raise InputError(
                    f"The series {name!r} has several labels, {', '.join(sorted(series_labels)[:3])}: give it one."
                )
    firsts = {column: [cells[column][row_numbers[0]] for row_numbers in rows.values()] for column in labels}
    labelled = Table(firsts, frame.first).labelled(label)
    uneven = [name for name, (_, even) in order.items() if not even]
    notes = [
        f"{len(uneven):,} series have irregular steps and are read as regular, {name!r} first." for name in uneven[:1]
    ]
    return Recordings(list(rows), [values[order[name][0]] for name in rows], labelled, tuple(notes))


def _rows_of_series(frame: Frame, series: str) -> dict[str, list[int]]:
    """Places of the rows of each series by its name."""
    frame.column(series, "series")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(frame.table.texts(series)):
        if not name:
            raise InputError(f"Row {row + frame.first} of the table names no series in column {series!r}.")
        rows.setdefault(name, []).append(row)
    return rows


def _in_order(name: str, rows: Sequence[int], times: Sequence[Any]) -> tuple[list[int], bool]:
    """Places of the rows of a series in the order of time, and whether its steps are regular."""
    at, step, _ = stamps(name, [times[row] for row in rows])
    order = np.argsort(at, kind="stable")
    apart = np.diff(at[order])
    if (apart == 0).any():
        twice = step.text(at[order][int(np.flatnonzero(apart == 0)[0])])
        raise InputError(f"The series {name!r} has two rows at {twice}: keep one of them, or name each series apart.")
    even = len(apart) < 2 or bool(apart.max() <= 1.5 * np.median(apart))
    return [rows[int(place)] for place in order], even


def recordings(
    root: Path, classes: Sequence[ClassFolder], value: Sequence[str] | None
) -> tuple[list[str], list[np.ndarray], list[str], list[int | None], tuple[str, ...]]:
    """Names, values, labels and parts of the tables in class folders, and the names of their channels.

    Raises:
        InputError: If a table cannot be read, or has other channels than the first.
    """
    names, arrays, labels, parts = [], [], [], []
    channels: list[str] = []
    for folder in classes:
        files = sorted(p for p in folder.path.iterdir() if p.suffix.lower() in TABLES and not p.name.startswith("."))
        for file in files:
            names.append(file.relative_to(root).as_posix())
            frame = frame_of(file, None, None)
            file_channels = _channels(file, frame) if value is None else list(value)
            channels = channels or file_channels
            if sorted(channels) != sorted(file_channels):
                raise InputError(
                    f"The channels of {names[-1]!r} are {_listed(file_channels)}, and those of {names[0]!r} are "
                    f"{_listed(channels)}: give all the same columns, or name those to read, `value`."
                )
            arrays.append(_recording(file, frame, channels))
            labels.append(folder.label)
            parts.append(folder.part)
    if not names:
        raise InputError(
            f"The class folders of {str(root)!r} hold no table ({', '.join(TABLES)}): give one a recording."
        )
    return names, arrays, labels, parts, tuple(channels)


def recording(file: Path, channels: Sequence[str]) -> np.ndarray:
    """One recording, float64 (steps, channels): the columns `channels` in this order.

    Args:
        file: A table.
        channels: Names of columns; () is all but times and a pandas index without a name, in the table's order.

    Raises:
        InputError: If the table lacks one of them, or cannot be read.
    """
    frame = frame_of(file, None, None)
    absent = [name for name in channels if name not in frame.columns]
    if absent:
        raise InputError(
            f"{str(file)!r} has the columns {_listed(frame.columns)}, and lacks {_listed(absent)}: the model takes the "
            f"channels {_listed(channels)}."
        )
    return _recording(file, frame, channels or _channels(file, frame))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _channels(file: Path, frame: Frame) -> list[str]:
    named = (name for name in frame.columns if name.casefold() not in _NAMELESS)
    channels = [name for name in named if not _is_time(file, name, frame.column(name))]
    if not channels:
        raise InputError(f"{str(file)!r} has no column but times: give one for each channel.")
    return channels


def _recording(file: Path, frame: Frame, channels: Sequence[str]) -> np.ndarray:
    columns = [
        [number(cell, f"row {row} of column {name!r} of {file.name!r}") for row, cell in
         enumerate(frame.column(name, "value"), frame.first)]
        for name in channels
    ]  # fmt: skip
    return np.array(columns, np.float64).T


def _is_time(file: Path, name: str, cells: Sequence[Any]) -> bool:
    """Whether a column holds the times of the rows: it is called so, and ascends.

    Raises:
        InputError: If it surely holds times, and rows are out of order.
    """
    if name.casefold() not in _TIMES:
        return False
    try:
        ascends = bool((np.diff(stamps(file.name, cells)[0]) > 0).all())
    except InputError:  # of clocks, such as 00:01:30, and of what is no time at all
        ascends = name.casefold() in _SURELY_TIMES
    if not ascends and name.casefold() in _SURELY_TIMES:
        raise InputError(f"The rows of {str(file)!r} are out of order in the column {name!r}: sort them by it.")
    return ascends


# -- one length


def of_one_length(
    names: Sequence[str], series: Sequence[Any], parts: Sequence[int], steps: int | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """float32 (n, steps, channels) and notes: shorter and longer series are stretched along lines."""
    if not len(series):
        raise InputError("There is no series: give at least one.")
    arrays = [checked(name, recording) for name, recording in zip(names, series, strict=True)]
    channels = {array.shape[1] for array in arrays}
    if len(channels) > 1:
        odd = next(i for i, array in enumerate(arrays) if array.shape[1] != arrays[0].shape[1])
        raise InputError(
            f"The series {names[0]!r} has {arrays[0].shape[1]} channels and {names[odd]!r} has "
            f"{arrays[odd].shape[1]}: all must have the same."
        )
    filled = [without_gaps(name, array) for name, array in zip(names, arrays, strict=True)]
    lengths = [len(array) for array in arrays]
    trained = [length for length, part in zip(lengths, parts, strict=True) if part == 0] if len(parts) else lengths
    common_length = max(trained) if steps is None else int(steps)
    odd_count = sum(length != common_length for length in lengths)
    notes = [
        f"{count} series had gaps, which are filled along a line." for count in [sum(f for _, f in filled)] if count
    ]
    if odd_count:
        notes.append(
            f"{odd_count} of {len(arrays)} series have other lengths ({min(lengths)} to {max(lengths)} steps), and are "
            f"stretched to {common_length} along lines."
        )
    return np.stack([stretched(array, common_length) for array, _ in filled]).astype(np.float32), tuple(notes)


def checked(name: str, recording: Any) -> np.ndarray:
    """One series as float64 (steps, channels).

    Raises:
        InputError: If it is none.
    """
    try:
        array = np.asarray(recording, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"The series {name!r} holds something that is no number.") from None
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.shape[1]:
        raise InputError(f"The series {name!r} must be (steps,) or (steps, channels). Received: shape={array.shape}.")
    if len(array) < SHORTEST:
        raise InputError(f"The series {name!r} has {len(array)} steps, and at least {SHORTEST} are needed.")
    if np.isinf(array).any() or np.nanmax(np.abs(array), initial=0.0) > LARGEST:
        raise InputError(f"The series {name!r} holds a value that is too large to compute with: take it out.")
    return array


def without_gaps(name: str, array: np.ndarray) -> tuple[np.ndarray, bool]:
    """A series without gaps, and whether it had any."""
    present = np.isfinite(array)
    if present.all():
        return array, False
    if not present.any(axis=0).all() or (~present).mean() > MOST_FILLED:
        raise InputError(
            f"The series {name!r} lacks {int((~present).sum())} of {array.size} values, and at most {MOST_FILLED:.0%} "
            "are filled: fill it yourself, or leave it out."
        )
    steps = np.arange(len(array))
    columns = [np.interp(steps, steps[at], column[at]) for at, column in zip(present.T, array.T, strict=True)]
    return np.stack(columns, axis=1), True


def stretched(array: np.ndarray, steps: int) -> np.ndarray:
    """A series (n, channels) at `steps` steps, between its values along lines.

    Example:
        >>> stretched(np.array([[0.0], [2.0]]), 3)[:, 0].tolist()
        [0.0, 1.0, 2.0]
    """
    if len(array) == steps:
        return array
    at = np.linspace(0, len(array) - 1, steps)
    return np.stack([np.interp(at, np.arange(len(array)), column) for column in array.T], axis=1)
