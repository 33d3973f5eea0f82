"""Histories -> windows of the past with what follows, so that no window sees its future. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, RaggedColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline, Splits
from tlkit.core.seasons import futures_of, lag_positions, windows_of
from tlkit.data import tables
from tlkit.data.labelled_series import SERIES, Frame, frame_of
from tlkit.data.table_formats import column_names
from tlkit.data.timeline import Step, Timeline, regular

HISTORY = "history"  # the pipeline's step, and the column with all that lies before a cutoff
LEAST = 8  # values before the first cutoff
MOST_WINDOWS = 2000  # of one series that are trained on, the latest
MOST_IN_ALL = 500_000  # windows that are in memory, 150 MB of short seasons
COARSE = 1e-5  # a spread below this share of the level is some hundred steps of float32 at most
YEAR, DAY = 12, 86_400  # months and seconds
FINEST = 300  # seconds of a step; of finer ones a day is more steps than a season here mostly has


@dataclass(frozen=True)
class Cutoffs:
    """Where histories are cut.

    Attributes:
        horizon: Steps ahead.
        season_length: Steps of a season.
        origins: Cutoffs of each series that are tested.
        stride: Steps between two of them.
        calendar: Whether all series are cut at the same dates, not each from its own end.
    """

    horizon: int
    season_length: int
    origins: int
    stride: int
    calendar: bool = False

    def __post_init__(self) -> None:
        for name in ("horizon", "season_length", "origins", "stride"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise InputError(f"`{name}` must be a whole number, 1 or more. Received: {name}={value!r}.")

    @property
    def least(self) -> int:
        """Values that a cutoff has before it: a season, and enough for a mean and a deviation."""
        return max(LEAST, self.season_length)

    @property
    def shortest(self) -> int:
        """Values of the shortest series that can be tested: windows to train on, a validation, and the origins."""
        return self.least + 1 + 2 * self.horizon + (self.origins - 1) * self.stride

    def tested(self, count: int, earlier: int = 0) -> np.ndarray:
        """The cutoffs that are tested, of a series of `count` values that ends so many steps earlier than others."""
        return count + earlier - self.horizon - self.stride * np.arange(self.origins)[::-1]


# -- from tables and arrays


def timelines(
    source: Any,
    time: str,
    value: str | Sequence[str],
    series: str | None,
    encoding: str | None = None,
    separator: str | None = None,
) -> tuple[list[Timeline], tuple[str, ...], dict[str, Any]]:
    """Series of a table, a frame, a mapping or an array; notes; and the names of columns, for the pipeline."""
    if isinstance(source, np.ndarray | list | tuple):
        rows = np.asarray(source, dtype=object)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or not len(rows):
            raise InputError(f"A history must be an array (n,) or (n, series). Received: shape={np.shape(source)}.")
        names = ["series"] if rows.shape[1] == 1 else [f"series {i}" for i in range(rows.shape[1])]
        histories = [_untimed(name, rows[:, i]) for i, name in enumerate(names)]
        return histories, _notes(histories), {}
    if isinstance(source, Mapping):
        histories = [_untimed(str(name), np.asarray(values, dtype=object)) for name, values in source.items()]
        return _several(histories), _notes(histories), {}
    frame = frame_of(source, encoding, separator)
    values = column_names(value, "value")
    if len(set(values)) < len(values):
        raise InputError(f"`value` names a column twice: name each once. Received: {values}.")
    column = series
    if series is None and "series" not in map(str.casefold, values):
        column = tables.usual(frame.columns, "series", "series")
    if column is not None and column in (time, *values):
        raise InputError(f"The column {column!r} cannot name the series and hold their times or values: name others.")
    histories = [regular(name, times, cells) for name, times, cells in _of_frame(frame, time, values, column)]
    columns = {"time": time, "value": values, "series": column, "step": histories[0].step.words if histories else ""}
    notes = (*frame.notes, *_notes(histories), *_unread(frame, (time, *values), column))
    return _several(histories), notes, columns


def _unread(frame: Frame, taken: Sequence[str], series: str | None) -> tuple[str, ...]:
    """A note where a column that nothing reads repeats a few values: it may say which series a row belongs to."""
    if series is not None:
        return ()
    counts = {name: len(set(map(str, cells))) for name, cells in frame.columns.items() if name not in taken}
    repeated = [name for name, count in counts.items() if 2 <= count <= len(frame.column(name)) / 2]
    return tuple(
        f"The column {name!r} is not read, and all rows are one series; if its {counts[name]} values name a series "
        f"each, say series={name!r}."
        for name in repeated
    )


def _untimed(name: str, cells: np.ndarray) -> Timeline:
    if cells.ndim != 1:
        raise InputError(f"The series {name!r} must be one array (n,). Received: shape={cells.shape}.")
    return regular(name, list(range(1, len(cells) + 1)), cells.tolist())


def _of_frame(
    frame: Frame, time: str, values: Sequence[str], series: str | None
) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Name, times and cells of each series of a long or a wide table."""
    times = frame.column(time, "time")
    if series is None:
        for name in values:
            yield name, times, frame.column(name, "value")
        return
    if len(values) > 1:
        raise InputError(
            f"A table with a column {series!r} holds one series a row: give one `value` column. Received: {values}."
        )
    cells, names = frame.column(values[0], "value"), frame.table.texts(series, "series")
    if "" in names:
        raise InputError(f"Row {names.index('') + frame.first} of the table names no series in column {series!r}.")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    for name, row_numbers in rows.items():
        yield name, [times[row] for row in row_numbers], [cells[row] for row in row_numbers]


def _several(histories: list[Timeline]) -> list[Timeline]:
    if not histories:
        raise InputError("There is no series: give at least one.")
    step = histories[0].step
    odd = next((history for history in histories if history.step != step and history.step.words != step.words), None)
    if odd is not None:
        raise InputError(
            f"The values of the series {histories[0].name!r} are {histories[0].step.words} apart, and those of "
            f"{odd.name!r} {odd.step.words}: one season cannot fit both, so give series of one step."
        )
    return histories


def _notes(histories: Sequence[Timeline]) -> tuple[str, ...]:
    """What was done to the series; of many alike the first five."""
    notes = [note for history in histories for note in history.notes]
    return tuple(notes[:5] + ([f"{len(notes) - 5} more series were mended likewise."] if len(notes) > 5 else []))


# -- windows


def of_timelines(
    histories: Sequence[Timeline], cutoffs: Cutoffs, held_out: Sequence[str], names: Mapping[str, Any]
) -> Splits:
    """Windows of all series, divided by time; those of `held_out` are tested alone."""
    unknown = sorted(set(held_out) - {history.name for history in histories})
    if unknown:
        raise InputError(f"`held_out` names {unknown[0]!r}, and there is no such series.")
    if len(set(held_out)) == len(histories):
        raise InputError("`held_out` names all series: leave one or more to train on.")
    last = max(history.last for history in histories)
    earlier = [round((last - history.last) / history.step.size) for history in histories]  # in steps
    cut_earlier = earlier if cutoffs.calendar else [0] * len(histories)
    for history, steps in zip(histories, cut_earlier, strict=True):
        _check(history, cutoffs, steps)
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    most = max(1, min(MOST_WINDOWS, MOST_IN_ALL // len(histories)))
    for history, steps in zip(histories, cut_earlier, strict=True):
        for part, windows in _windows(history, cutoffs, history.name in held_out, steps, most).items():
            parts[part].append(windows)
    pipeline = Pipeline().then(HISTORY, horizon=cutoffs.horizon, season_length=cutoffs.season_length, **dict(names))
    train, val, test = (_examples(parts[part], pipeline) for part in ("train", "val", "test"))
    notes = [note for history in histories for note in (*_coarse(history), *_exact(history, cutoffs))]
    if cut := sum(len(rows["ids"]) == most for rows in parts["train"]):
        notes.append(f"Of {cut:,} long series the latest {most:,} windows each are trained on.")
    notes += _apart(histories, earlier, cutoffs, held_out) if names else []  # without times no date is known
    return Splits(train, val, test, notes=(*notes, *_unusual(histories[0], cutoffs.season_length)))


def _apart(
    histories: Sequence[Timeline], earlier: Sequence[int], cutoffs: Cutoffs, held_out: Sequence[str]
) -> list[str]:
    """A note on series that end at different dates: what one is trained on lies where another is tested."""
    order = np.argsort(earlier, kind="stable")
    latest = next(int(i) for i in order if histories[int(i)].name not in held_out)
    first = int(order[-1])
    if earlier[first] <= earlier[latest]:
        return []
    ends = [f"{histories[i].name} {histories[i].step.text(histories[i].last)}" for i in (first, latest)]
    if not cutoffs.calendar:
        return [
            f"Series end at different dates ({ends[0]}, {ends[1]}), and each is cut from its own end: what "
            f"{histories[latest].name} is trained on may tell what came next in {histories[first].name}; `calendar` "
            "cuts all at the same dates."
        ]
    untested = sum(
        len(history.values) <= cutoffs.tested(len(history.values), steps)[0]
        for history, steps in zip(histories, earlier, strict=True)
    )
    return [f"{untested} of {len(histories)} series end before the test, and are trained on alone."] if untested else []


def _check(history: Timeline, cutoffs: Cutoffs, earlier: int) -> None:
    count = len(history.values)
    before = min(count, int(cutoffs.tested(count, earlier)[0]))
    if cutoffs.calendar and before < cutoffs.least + 1 + cutoffs.horizon:
        raise InputError(
            f"The series {history.name!r} has {max(0, before)} values before the dates at which all are tested, and a "
            f"horizon of {cutoffs.horizon} with a season of {cutoffs.season_length} needs "
            f"{cutoffs.least + 1 + cutoffs.horizon}: leave it out, or cut each series from its own end."
        )
    if not cutoffs.calendar and count < cutoffs.shortest:
        raise InputError(
            f"The series {history.name!r} has {count} values, and {cutoffs.origins} origins of a horizon of "
            f"{cutoffs.horizon} with a season of {cutoffs.season_length} need {cutoffs.shortest}: give a longer "
            "history, or lower `origins` or `horizon`."
        )
    if np.ptp(history.values) == 0:
        raise InputError(
            f"The series {history.name!r} never changes (it is always {history.values[0]:g}): leave it out."
        )
    if np.ptp(history.values[:before]) == 0:
        raise InputError(
            f"The series {history.name!r} does not change before its test (it is always {history.values[0]:g}), so "
            "nothing tells how large an error is: leave it out, or lower `origins`."
        )


def _coarse(history: Timeline) -> list[str]:
    wide = history.values.astype(np.float64)
    level, spread = abs(float(wide.mean())), float(wide.std())
    if spread >= COARSE * level:
        return []
    return [
        f"{history.name} varies by {spread:.2g} around {level:.7g}, which float32 hardly tells apart: subtract a fixed "
        "number from it."
    ]


def _exact(history: Timeline, cutoffs: Cutoffs) -> list[str]:
    """A note on a series of which the seasonal naive forecast makes no error."""
    first, season = int(cutoffs.tested(len(history.values))[0]), cutoffs.season_length
    if (history.values[season:first] != history.values[: first - season]).any():
        return []
    return [
        f"{history.name} repeats each season exactly: its MASE is in mean deviations, not in errors of the naive one."
    ]


def usual_seasons(step: Step) -> tuple[int, ...]:
    """Lengths of the seasons that values of such a step mostly have, the commonest first; () where none is known.

    Example:
        >>> usual_seasons(Step("month", 1)), usual_seasons(Step("second", 3600)), usual_seasons(Step("", 1))
        ((12,), (24, 168), ())
    """
    if step.unit == "month":
        return (int(YEAR / step.size),) if step.size < YEAR and YEAR % step.size == 0 else ()
    if step.unit != "second":
        return ()
    if step.size in (DAY, 7 * DAY):
        return (7, 30, 365) if step.size == DAY else (52,)
    a_day = int(DAY / step.size)
    return (a_day, 7 * a_day) if FINEST <= step.size < DAY and DAY % step.size == 0 else ()


def season_of(histories: Sequence[Timeline], cutoffs: Cutoffs) -> tuple[int, str]:
    """The length of a season by the step of the times, and the note that says so; 1, none, where nothing tells it.

    The commonest one is taken where each series has two of them before its first cutoff.
    """
    step, shortest = histories[0].step, min(len(history.values) for history in histories)
    usual = usual_seasons(step)
    told = f"Values are {step.words} apart" if step.unit else "Values have no dates"
    if not usual:
        return 1, f"{told}, which tells no season: none is taken; `season_length` names the steps of one."
    cutoffs = dataclasses.replace(cutoffs, season_length=usual[0])
    if shortest < cutoffs.shortest or int(cutoffs.tested(shortest)[0]) < 2 * usual[0]:
        return 1, (
            f"{told}, and the history is too short for two seasons of {usual[0]} steps before the test: no season is "
            "taken; `season_length` names the steps of one."
        )
    return usual[0], f"{told}: a season of {usual[0]} steps is taken; `season_length` names another."


def _unusual(history: Timeline, season_length: int) -> list[str]:
    """A note on a season that values of such a step hardly have; 1 is none."""
    usual = usual_seasons(history.step)
    if season_length == 1 or not usual or any(season_length % length == 0 for length in usual):
        return []
    listed = " or ".join(map(str, usual))
    return [
        f"Values are {history.step.words} apart, of which a season mostly has {listed} steps, and `season_length` is "
        f"{season_length}."
    ]


def _windows(history: Timeline, cutoffs: Cutoffs, held_out: bool, earlier: int, most: int) -> dict[str, dict[str, Any]]:
    """By part, the rows of one series. Targets of training and validation end where the next part begins."""
    count = len(history.values)
    tested = cutoffs.tested(count, earlier)
    first = int(tested[0])
    cut = first - cutoffs.horizon
    later = np.arange(cut, max(cut + 1, first - cutoffs.horizon // 2))
    # a cutoff that nothing is known behind judges nothing; behind the last of a series, its last value is
    gaps = set(history.filled)
    judging = [at for at in tested.tolist() if not gaps.issuperset(range(at, min(count, at + cutoffs.horizon)))]
    parts = {"test": _rows(history, np.array(judging, np.int64), None, first, cutoffs)}
    if not held_out:
        at = np.arange(cutoffs.least, min(cut, count))[-most:]
        parts["train"] = _rows(history, at, cut, first, cutoffs)
        parts["val"] = _rows(history, later[later < count], first, first, cutoffs)
    return parts


def _rows(history: Timeline, at: np.ndarray, end: int | None, first: int, cutoffs: Cutoffs) -> dict[str, Any]:
    """Windows at some cutoffs, and all that belongs to them.

    Args:
        history: The series.
        at: Cutoffs.
        end: First value that targets may not show; None shows all, and the histories too.
        first: First cutoff that is tested: scales are of what lies before it.
        cutoffs: Horizon and season.
    """
    season, values = cutoffs.season_length, history.values
    past = _pasts(history, at, season)
    known = values[:first]
    apart = (known[season:] - known[:-season]).astype(np.float64)
    scale, sigma = float(np.abs(apart).mean()), float(np.sqrt(np.mean(apart**2)))
    if scale == 0:
        scale = float(np.abs(known - known.mean(dtype=np.float64)).mean())
    actual = values.copy()
    actual[list(history.filled)] = np.nan  # what was filled is nothing to learn, or to be judged by
    return {
        "ids": [f"{history.name}@{cutoff}" for cutoff in at.tolist()],
        "inputs": past,
        "targets": futures_of(actual, at, cutoffs.horizon, end),
        "naive": past[:, lag_positions(cutoffs.horizon, season)[:, 0]],
        "scale": np.full(len(at), scale, np.float32),
        "sigma": np.full(len(at), sigma, np.float32),
        "history_length": np.full(len(at), min(first, len(values)), np.int32),
        "series": [history.name] * len(at),
        **({HISTORY: [_known(history, cutoff) for cutoff in at.tolist()]} if end is None else {}),
    }


def _pasts(history: Timeline, at: np.ndarray, season_length: int) -> np.ndarray:
    """float32 (cutoffs, steps): the past of each cutoff."""
    past, gaps = windows_of(history.values, at, season_length), set(history.filled)
    for row, cutoff in enumerate(at.tolist()):
        if cutoff - 1 in gaps:
            past[row] = windows_of(_known(history, cutoff), np.array([cutoff]), season_length)[0]
    return past


def _known(history: Timeline, cutoff: int) -> np.ndarray:
    """The values before a cutoff; a gap that ends behind it holds the value before it, as its line shows the future."""
    values, gaps, last = history.values[:cutoff].copy(), set(history.filled), cutoff
    while last - 1 in gaps:
        last -= 1
    values[last:] = values[last - 1]
    return values


def _examples(parts: Sequence[Mapping[str, Any]], pipeline: Pipeline) -> Examples:
    def joined(name: str) -> ArrayColumn:
        return ArrayColumn(np.concatenate([part[name] for part in parts]))

    columns: dict[str, Any] = {name: joined(name) for name in ("naive", "scale", "sigma", "history_length")}
    columns["series"] = TextColumn([name for part in parts for name in part["series"]])
    if HISTORY in parts[0]:
        columns[HISTORY] = RaggedColumn([row for part in parts for row in part[HISTORY]], fill=math.nan)
    return Examples(
        ids=tuple(name for part in parts for name in part["ids"]),
        inputs=ArrayColumn(np.concatenate([part["inputs"] for part in parts])[..., None]),
        targets=joined("targets"),
        modality=SERIES,
        pipeline=pipeline,
        columns=columns,
    )


# -- what a user asks about


def latest(source: Any, pipeline: Pipeline) -> tuple[np.ndarray, list[Timeline]]:
    """The window at the end of each series of a user's table or array, float32 (series, steps, 1)."""
    settings = pipeline.get(HISTORY) or {}
    season = int(settings["season_length"])
    if isinstance(source, str | Path) and not settings.get("value"):
        histories, _, _ = timelines(source, "time", "value", None)
    else:
        # where it is not there, one series is
        series = None if settings.get("series") == "series" else settings.get("series")
        histories, _, _ = timelines(source, settings.get("time", "time"), settings.get("value", "value"), series)
    for history in histories:
        if len(history.values) < max(LEAST, season):
            raise InputError(
                f"The series {history.name!r} has {len(history.values)} values, and a forecast needs "
                f"{max(LEAST, season)}."
            )
    windows = np.concatenate(
        [windows_of(history.values, np.array([len(history.values)]), season) for history in histories]
    )
    return windows[..., None], histories
