"""Series at regular steps: histories to forecast, and labelled series to classify or to predict numbers from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline, Splits
from tlkit.core.numeric import is_number
from tlkit.core.remote import local
from tlkit.data import labelled_series, labelling, tfds_source, ts_files
from tlkit.data.assembly import assemble
from tlkit.data.histories import HISTORY, Cutoffs, of_timelines, season_of, timelines
from tlkit.data.labelled_series import SERIES
from tlkit.data.layout import layout
from tlkit.data.listing import noted
from tlkit.data.splitting import SHARES, Groups, checked_lengths, checked_shares, group_names
from tlkit.data.table_formats import column_names

__all__ = ["from_arrays", "from_folder", "from_table", "from_tfds", "from_ts", "history", "season_length_of"]


def __dir__() -> list[str]:
    return sorted(__all__)


Recordings = Sequence[Any] | np.ndarray


def history(
    source: Any,
    horizon: int,
    season_length: int | None = None,
    *,
    time: str = "time",
    value: str | Sequence[str] = "value",
    series: str | None = None,
    origins: int = 5,
    stride: int | None = None,
    held_out: Sequence[str] = (),
    calendar: bool = False,
    encoding: str | None = None,
    separator: str | None = None,
) -> Splits:
    """Histories to forecast, divided by time: windows of the past, and the values that follow each cutoff.

    The last `origins` cutoffs of each series are the test (rolling origins, `stride` apart). All before the first of
    them is the history: its last horizon is the validation, and no training window sees a value of either.

    Args:
        source: A table (.csv, .tsv, .jsonl, .parquet), a pandas DataFrame or a TFDS builder (the object), long (a row
            a time and series) or wide (several value columns, each a series); a mapping of name to values; or an array
            (n,), or (n, series).
        horizon: Steps ahead, >= 1.
        season_length: Steps of a season; 1 is none. None takes the commonest by the step of the times, such as 12 of
            months, 7 of days and 24 of hours, and 1 where nothing tells it; a note says which, and
            `season_length_of(splits)` gives it to the task.
        time: Column of the times: dates as 2024-03-31, 20240331, 2024-03 or 2024Q1, hours where needed, or numbers.
        value: Column of the values; several columns are a series each.
        series: Column that names the series of a row; None takes the column "series" where there is one.
        origins: Cutoffs of each series that are tested, >= 1.
        stride: Steps between two of them; None is half of the horizon.
        held_out: Names of series that are tested alone: nothing of them is trained on.
        calendar: Cut all series of a table at the same dates, counted from the latest end, so that nothing is trained
            on that lies behind the first cutoff of any; else each is cut from its own end, as in statsforecast, and a
            note says where that differs.
        encoding, separator: As in `data.text.from_table`.

    Returns:
        Splits of float32 windows (steps, 1) and targets (n, horizon), NaN where a value may not be seen or is not
        there; columns with the seasonal naive forecast, and the history of each test cutoff.

    Raises:
        InputError: If a series is odd in a way that would be guessed at (`docs/series.md` lists them), or too short.

    Example:
        >>> history({"a": np.sin(np.arange(80.0))}, horizon=4, season_length=6, origins=2)
        ... # doctest: +ELLIPSIS
        Splits(train=..., val=2, test=2 examples, ...)
    """
    steps = 1 if season_length is None else season_length
    half = max(1, horizon // 2) if isinstance(horizon, int | np.integer) else 1
    cutoffs = Cutoffs(horizon, steps, origins, half if stride is None else stride, calendar)
    apart = (held_out,) if isinstance(held_out, str) else tuple(held_out)
    histories, notes, names = timelines(source, time, value, series, encoding, separator)
    if calendar and not names:
        raise InputError("`calendar` needs times, and arrays have none: give a table with a column of times.")
    if season_length is None:
        length, note = season_of(histories, cutoffs)
        cutoffs, notes = dataclasses.replace(cutoffs, season_length=length), (*notes, note)
    return noted(of_timelines(histories, cutoffs, apart, names), notes)


def season_length_of(splits: Splits) -> int:
    """Steps of a season with which histories were read.

    Raises:
        InputError: If they are no histories.

    Example:
        >>> season_length_of(history({"a": np.sin(np.arange(80.0))}, horizon=4, season_length=6, origins=2))
        6
    """
    settings = splits.train.pipeline.get(HISTORY)
    if settings is None:
        raise InputError("These are no histories: read them with `data.series.history`.")
    return int(settings["season_length"])


def from_arrays(
    values: Recordings,
    targets: Any,
    *,
    val: tuple[Recordings, Any] | None = None,
    test: tuple[Recordings, Any] | None = None,
    labels: Sequence[str] | None = None,
    steps: int | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    ids: Sequence[str] | None = None,
) -> Splits:
    """Labelled series in memory.

    Args:
        values: An array (n, steps) or (n, steps, channels), or a list of arrays (steps,) or (steps, channels) of
            different lengths, which are brought to one length along lines.
        targets: Class numbers or names (n,), one-hot or multi-label rows (n, k), or floats to regress.
        val: (values, targets) of a validation part of its own; without it, it is taken out of `values`.
        test: The same for test.
        labels: Names of the classes, in the order of their numbers.
        steps: Length to which all are brought; None is the longest of the training part.
        split: Shares of training, validation and test, where no part is given; 0 leaves a part empty.
        seed: Another seed gives another division.
        groups: What must stay on one side (a person, a machine): a sequence over `values`, then `val`, then `test`, or
            by id.
        ids: Names; None numbers them.

    Returns:
        Splits of float32 (steps, channels).

    Raises:
        InputError: If lengths or channels differ, a value is no finite number, or a series is odd otherwise.

    Example:
        >>> from_arrays(np.random.default_rng(0).normal(size=(20, 8)), ["a", "b"] * 10).labels
        ('a', 'b')
    """
    pairs = {part: pair for part, pair in enumerate(((values, targets), val, test)) if pair is not None}
    checked_lengths(pairs, "series")
    series = [recording for recordings, _ in pairs.values() for recording in recordings]
    parts = [part for part, (recordings, _) in pairs.items() for _ in range(len(recordings))]
    names = [str(i) for i in range(len(series))] if ids is None else [str(name) for name in ids]
    labelled = labelling.from_parts([answers for _, answers in pairs.values()], labels)
    return _assembled(names, series, labelled, parts if len(pairs) > 1 else [], steps, split, seed, groups)


def from_table(
    table: str | os.PathLike[str] | Any,
    *,
    label: str | Sequence[str] = "label",
    series: str | None = None,
    time: str = "time",
    value: str | Sequence[str] = "value",
    steps: int | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
) -> Splits:
    """Labelled series in a table: wide, a row a series whose columns are its steps; or long, a row a step.

    Args:
        table: A .csv, .tsv, .jsonl or .parquet file, a pandas DataFrame, or a TFDS builder (the object) of one value a
            feature; one with a series a row is for `from_tfds`.
        label: Column of the labels; a list of columns gives numbers to regress.
        series: Column that tells the series of a long table apart; None is a wide table, of which all columns but
            those of labels, and of names and numbers of the rows, are steps of one channel. Where most are numbered or
            dated, as t1 and t2, these are the steps, in the order of their names; else the table's order is taken.
        time: Column by which the rows of a series are ordered, in a long table.
        value: Column of the values of a long table; several are channels.
        steps, split, seed: As in `from_arrays`.
        encoding, separator: As in `data.text.from_table`.
        groups: As in `from_arrays`, by id: "row 17" (the header is row 1, empty lines are none), or the series' name.

    Raises:
        InputError: If a column is missing, a value is no number, or the label of a long series changes.
    """
    frame = labelled_series.frame_of(table, encoding, separator)
    channels: list[str] = []
    if series is None:
        recordings = labelled_series.wide(frame, label)
    else:
        channels = column_names(value, "value")
        recordings = labelled_series.long(frame, label, series, time, channels)
    named = channels if len(channels) > 1 else ()
    splits = _assembled(
        recordings.names, recordings.values, recordings.labelled, [], steps, split, seed, groups, named,
        recordings.steps,
    )  # fmt: skip
    return noted(splits, (*frame.notes, *recordings.notes))


def from_tfds(
    builder: Any,
    *,
    value: str | Sequence[str] = "value",
    label: str = "label",
    steps: int | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
) -> Splits:
    """Labelled series of a TensorFlow Datasets builder with a series a row.

    Args:
        builder: Its name, its folder, or the builder itself; its own train, validation and test are kept.
        value: Feature of the values, (steps,) or (steps, channels); several features of (steps,) are channels.
        label: Feature to predict: a ClassLabel, a Sequence of such, or a number.
        steps, seed: As in `from_arrays`.
        split: As in `from_arrays`, for a builder with one split; of several, one that is missing is taken out of train.

    Raises:
        InputError: If it cannot be opened, lacks a feature, or has one that is no sequence of numbers.
    """
    names = column_names(value, "value")
    rows = tfds_source.open_sequences(builder, names, label)
    return _assembled(rows.ids, rows.values, rows.labelled, rows.parts, steps, split, seed, None)


def from_ts(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str] | None = None,
    *,
    steps: int | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
) -> Splits:
    """Series in .ts files, as the UCR and UEA archives and aeon have them.

    Args:
        train: A .ts file.
        test: Another one with the test; without it, both other parts are taken out of `train`.
        steps, seed: As in `from_arrays`.
        split: Shares; with `test`, that of the validation is taken out of training.

    Raises:
        InputError: If a file is no .ts, a line does not keep to its header, or the files differ.
    """
    files = [ts_files.read(local(path)) for path in (train, test) if path is not None]
    if len(files) == 2 and files[0].kind != files[1].kind:
        raise InputError(f"{str(train)!r} and {str(test)!r} differ in their targets: one has classes, one has numbers.")
    series = [recording for file in files for recording in file.recordings]
    names = [f"{file.name}:{line}" for file in files for line in file.lines]
    targets = [target for file in files for target in file.targets]
    parts = [0] * len(files[0].recordings) + [2] * (len(series) - len(files[0].recordings)) if len(files) == 2 else []
    if files[0].kind == "values":
        labelled = labelling.from_values(np.array(targets, np.float32)[:, None], ["value"])
    else:
        labelled = labelling.from_names([str(target) for target in targets])
    notes = [note for file in files for note in file.notes]
    return noted(_assembled(names, series, labelled, parts, steps, split, seed, None), notes)


def from_folder(
    folder: str | os.PathLike[str],
    *,
    value: Sequence[str] | None = None,
    steps: int | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
) -> Splits:
    """Recordings, a table each, in one folder for each class; or a folder with NAME_TRAIN.ts and NAME_TEST.ts.

    Args:
        folder: The folder; train, val and test folders of class folders are taken as such.
        value: Columns that are channels; None takes all, times left out.
        steps, split, seed: As in `from_arrays`.
        groups: As in `from_arrays`, by the path relative to `folder`.

    Raises:
        InputError: If there is no such folder, or a recording cannot be read, or has other channels than the others.
    """
    root = local(folder)
    if not root.is_dir():
        raise InputError(f"There is no folder {str(root)!r}: give one with a folder of recordings for each class.")
    ts_paths = sorted(root.glob("*.ts"))
    train = [path for path in ts_paths if path.stem.upper().endswith("_TRAIN")]
    if ts_paths:
        if len(train) != 1:
            raise InputError(f"{str(root)!r} holds {len(ts_paths)} .ts files, and not one that ends in _TRAIN.ts.")
        name = f"{train[0].stem[:-6]}_TEST".upper()
        tests = [path for path in ts_paths if path.stem.upper() == name]
        return from_ts(train[0], tests[0] if tests else None, steps=steps, split=split, seed=seed)
    classes = layout(root)
    names, series, labels, parts, channels = labelled_series.recordings(root, classes.classes, value)
    fixed = [part for part in parts if part is not None]
    if fixed and len(fixed) < len(parts):
        raise InputError(f"Some class folders of {str(root)!r} lie in train, val or test folders, and others do not.")
    labelled = labelling.from_names(labels)
    splits = _assembled(names, series, labelled, fixed, steps, split, seed, groups, channels)
    note = f"The columns {', '.join(map(repr, channels))} are the channels; `value` names others."
    return noted(splits, (*classes.notes, note))


def _assembled(
    names: Sequence[str],
    series: Sequence[Any],
    labelled: labelling.Labelled,
    parts: Sequence[int],
    steps: int | None,
    split: Sequence[float],
    seed: int,
    groups: Groups | None,
    channels: Sequence[str] = (),
    wide: Sequence[str] = (),
) -> Splits:
    if steps is not None and not (is_number(steps) and steps >= 2 and float(steps).is_integer()):
        raise InputError(
            f"`steps` must be a whole number, 2 or more, or None for the longest series. Received: steps={steps!r}."
        )
    values, notes = labelled_series.of_one_length(names, series, parts, steps)
    named = {"names": list(channels)} if channels else {}  # by which `predict` finds them in a table
    named |= {"wide": list(wide)} if wide else {}
    examples = Examples(
        ids=tuple(names),
        inputs=ArrayColumn(values),
        targets=ArrayColumn(labelled.targets),
        modality=SERIES,
        pipeline=Pipeline().then(SERIES, steps=values.shape[1], channels=values.shape[2], **named),
        groups=group_names(groups, names) if groups is not None else (),
    )
    splits = assemble(examples, labelled, shares=checked_shares(split), seed=seed, fixed=parts)
    return noted(splits, notes)
