"""Times and values of one series -> values at regular steps; what is odd is noted, what would be a guess is refused."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from tlkit.core.errors import InputError

MOST_FILLED = 0.1  # share of the steps that may be filled
LARGEST = 1e30  # float32 ends at 3e38, and squares of values are taken
_MISSING = ("", "nan", "na", "n/a", "<na>", "nat", "null", "none", "?", "-")
_UNIT = re.compile(r"^[+-]?[\d.,]+(?:e[+-]?\d+)?\s*([^\d\s.,_].{0,11})$", re.IGNORECASE)
_COMMAS = re.compile(r"^[+-]?\d[\d.,'\s]*$")  # numbers that are written for people
_MONTH = re.compile(r"^(\d{4})[-/](\d{1,2})$")
_QUARTER = re.compile(r"^(\d{4})[-/ ]?Q([1-4])$", re.IGNORECASE)
_COMPACT = re.compile(r"^(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:\d{2})?$")
_DAY = 86_400.0


@dataclass(frozen=True)
class Step:
    """The distance between two values, and how their times are written.

    Attributes:
        unit: "month", "second", or "" where times are plain numbers.
        size: How many of them.
        hours: Whether times show hours.
        day: Of the month, on which all times lie; 1 is not shown.
    """

    unit: str
    size: float = 0.0
    hours: bool = False
    day: int = 1

    @property
    def words(self) -> str:
        """As a message names it."""
        if self.unit == "month":
            return {1: "a month", 3: "a quarter", 12: "a year"}.get(int(self.size), f"{self.size:g} months")
        if self.unit == "second":
            days, remainder = divmod(self.size, _DAY)
            return str(timedelta(seconds=self.size)) if remainder else f"{days:g} day{'s' * (days != 1)}"
        return f"{self.size:.15g}"

    def text(self, at: float) -> str:
        """A time as a user writes it; `at` counts months or seconds, or is the number itself.

        Example:
            >>> Step("month", 1).text(12 * 2024 + 2)
            '2024-03'
        """
        if self.unit == "month":
            year, month = divmod(int(at), 12)
            return f"{year:04d}-{month + 1:02d}" + (f"-{self.day:02d}" if self.day > 1 else "")
        if self.unit == "second":
            when = datetime(1970, 1, 1) + timedelta(seconds=float(at))
            return when.isoformat(sep=" ") if self.hours else when.date().isoformat()
        return f"{at:.15g}"  # times of Unix have ten digits


@dataclass(frozen=True, eq=False)
class Timeline:
    """One regular series.

    Attributes:
        name: Of the series.
        values: float32 (n,), finite.
        step: Between two of them.
        last: Time of the last value, as `Step.text` takes it.
        notes: What was done.
        filled: Places of values that were not there.
    """

    name: str
    values: np.ndarray
    step: Step
    last: float
    notes: tuple[str, ...] = ()
    filled: tuple[int, ...] = ()

    def ahead(self, horizon: int) -> list[str]:
        """Names of the steps behind the last value.

        Example:
            >>> Timeline("sales", np.zeros(1), Step("month", 1), 12 * 2024 + 11).ahead(2)
            ['2025-01', '2025-02']
        """
        return [self.step.text(self.last + self.step.size * k) for k in range(1, horizon + 1)]


def regular(name: str, times: Sequence[object], cells: Sequence[object]) -> Timeline:
    """A series at regular steps.

    Rows out of order are sorted, equal ones taken once, and up to a tenth of the steps is filled along a line; each is
    noted. Times are dates of ISO 8601 (also "2024-03", "2024Q1", 20240331 and 202403), datetimes, or numbers. Zones
    that differ are brought to UTC; times of one zone stay as they are written.

    Args:
        name: Of the series, for messages.
        times: One a value.
        cells: Numbers, texts of numbers, or nothing.

    Raises:
        InputError: If times or values cannot be read, repeat with other values, are not at regular steps, or too many
            are missing.

    Example:
        >>> months = [f"2024-{month:02}" for month in range(1, 13) if month != 3]
        >>> regular("sales", months, range(11)).notes
        ('sales: 1 of 12 steps was missing and is filled along a line, 2024-03 first.',)
    """
    if len(times) != len(cells):
        raise InputError(f"The series {name!r} has {len(times)} times and {len(cells)} values: give one of each.")
    values = np.array([number(cell, f"value {i} of the series {name!r}") for i, cell in enumerate(cells, 1)])
    at, step, notes = stamps(name, times)
    order = np.argsort(at, kind="stable")
    if (np.diff(order) < 0).any():
        notes.append(f"{name}: rows are out of order in time, and were sorted.")
    at, values, dropped = _once(name, step, at[order], values[order])
    if dropped:
        notes.append(f"{name}: {dropped} rows repeat a time with the same value, and are taken once.")
    step = dataclasses.replace(step, size=_size(name, step, at))
    places, present = _places(name, step, at), np.isfinite(values)
    if not present.any():
        raise InputError(f"The series {name!r} has no value at all.")
    first, end = int(places[present][0]), int(places[present][-1])
    cut = int(places[-1]) - (end - first)
    if cut:
        notes.append(f"{name}: {cut} steps without a value at its ends are cut off.")
    steps = places[present] - first
    filled, note = _filled(name, steps, values[present], lambda place: step.text(at[0] + step.size * (first + place)))
    gaps = tuple(np.setdiff1d(np.arange(len(filled)), steps).tolist())
    last = float(at[0] + step.size * end)
    return Timeline(name, filled.astype(np.float32), step, last, (*notes, *note), gaps)


def number(cell: object, where: str) -> float:
    """A cell as a number; NaN where it says that nothing is there.

    Raises:
        InputError: If it is none, or none that float32 can hold.

    Example:
        >>> number(" 3.5 ", "row 2"), number("NaN", "row 3")
        (3.5, nan)
    """
    if is_nothing(cell):
        return math.nan
    try:
        if isinstance(cell, str) and "_" in cell:  # which Python reads as separators of thousands
            raise ValueError
        value = float(cell)  # type: ignore[arg-type]
    except OverflowError:
        value = math.inf
    except (TypeError, ValueError):
        match = _UNIT.match(str(cell).strip())
        unit = f", but has the unit {match[1]!r}: take it out, as all values must have the same" if match else ""
        unit = unit or (": write it as 1234.5" if _COMMAS.match(str(cell).strip()) else "")
        raise InputError(f"{_capital(where)} is no number{unit}. Received: {str(cell)!r:.60}.") from None
    if math.isinf(value) or abs(value) > LARGEST:
        raise InputError(f"{_capital(where)} is too large to compute with: take it out. Received: {_short(cell)}.")
    return value


def is_nothing(cell: object) -> bool:
    """Whether a cell says that nothing is there.

    Example:
        >>> is_nothing(None), is_nothing(" NA "), is_nothing(0)
        (True, True, False)
    """
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):  # of pandas
        return True
    return isinstance(cell, str) and cell.strip().casefold() in _MISSING


def _short(cell: object) -> str:
    try:
        return f"{cell!r:.60}"
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


# -- times


def stamps(name: str, times: Sequence[object]) -> tuple[np.ndarray, Step, list[str]]:
    """Times as numbers, how they are written, and notes.

    Raises:
        InputError: If one is no time, some are plain numbers and others dates, or some have a zone and others none.
            `name` names the series.
    """
    notes: list[str] = []
    plain = [value for time in times if (value := _plain_number(time)) is not None]
    if len(plain) == len(times):
        compact = _compact(plain)
        if not compact:
            return np.array(plain, np.float64), Step(""), notes
        return (*_as_numbers(compact), [f"{name}: times such as {plain[0]:.0f} are read as dates."])
    dates = [_parsed(time) for time in times]
    for row, (time, moment) in enumerate(zip(times, dates, strict=True), start=1):
        if moment is None and _plain_number(time) is None:
            raise InputError(
                f"Time {row} of the series {name!r} is no date or number: write dates as 2024-03-31 or 2024-03-31 "
                f"18:00. Received: {str(time)!r:.60}."
            )
    if plain:
        date_text = next(str(time) for time in times if _plain_number(time) is None)
        raise InputError(
            f"Some times of the series {name!r} are plain numbers and others are dates: write all of them in one way. "
            f"Received: {plain[0]:.15g} and {date_text!r:.60}."
        )
    parsed = [moment for moment in dates if moment is not None]
    zones = {moment.utcoffset() for moment in parsed}
    if None in zones and len(zones) > 1:
        raise InputError(
            f"Some times of the series {name!r} have a time zone and others have none: write all of them with their "
            "zone, or all without."
        )
    days = {moment.timetz().replace(tzinfo=None) for moment in parsed}
    if len(zones) > 1 and len(days) == 1:  # the clock was put forward or back between two days
        notes.append(f"{name}: times have {len(zones)} different offsets at one time of day, and are read as days.")
    elif len(zones) > 1:
        notes.append(f"{name}: times have {len(zones)} different offsets, and are brought to UTC.")
        parsed = [moment.astimezone(UTC) for moment in parsed]
    return (*_as_numbers([moment.replace(tzinfo=None) for moment in parsed]), notes)


def _as_numbers(parsed: Sequence[datetime]) -> tuple[np.ndarray, Step]:
    """Months where all lie on one day (or on the last) of months, else seconds."""
    midnight = all((moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0) for moment in parsed)
    days, months = {moment.day for moment in parsed}, np.array([12 * t.year + t.month - 1 for t in parsed])
    at_ends = all((moment + timedelta(days=1)).day == 1 for moment in parsed)
    if midnight and len(set(months.tolist())) > 1 and (len(days) == 1 or at_ends):
        return months.astype(np.float64), Step("month", day=1 if at_ends else min(days))
    return np.array([_seconds(moment) for moment in parsed]), Step("second", hours=not midnight)


def _seconds(time: datetime) -> float:
    return (time.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()


def _compact(plain: Sequence[float]) -> list[datetime]:
    """Numbers such as 20240331, or 202403, as dates where all of them are so; else []."""
    texts = [f"{value:.0f}" if value.is_integer() else "" for value in plain]
    if not all(map(_COMPACT.match, texts)) or len(set(map(len, texts))) > 1:
        return []
    try:
        return [datetime.strptime(text, "%Y%m%d" if len(text) == 8 else "%Y%m") for text in texts]
    except ValueError:
        return []


def _plain_number(time: object) -> float | None:
    if isinstance(time, datetime | date | np.datetime64) or is_nothing(time):
        return None
    try:
        value = float(time)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _parsed(time: object) -> datetime | None:
    """A time as a datetime, with its zone where it has one; None where it is none."""
    if isinstance(time, np.datetime64):
        return None if np.isnat(time) else datetime.fromisoformat(str(time.astype("datetime64[us]")))
    if isinstance(time, datetime):
        return datetime.fromisoformat(time.isoformat()) if str(time) != "NaT" else None  # pandas has such
    if isinstance(time, date):
        return datetime(time.year, time.month, time.day)
    text = str(time).strip()
    if month := _MONTH.match(text):
        text = f"{month[1]}-{int(month[2]):02d}-01"
    elif quarter := _QUARTER.match(text):
        text = f"{quarter[1]}-{3 * int(quarter[2]) - 2:02d}-01"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


# -- steps


def _once(name: str, step: Step, at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Each time once, and how many rows were dropped."""
    repeats = np.flatnonzero(np.diff(at) == 0)
    for i in repeats:
        first, second = values[i], values[i + 1]
        if not (first == second or (np.isnan(first) and np.isnan(second))):
            raise InputError(
                f"The series {name!r} has two values at {step.text(at[i])}, {first:g} and {second:g}: keep one of "
                "them, or name the column that tells several series apart, `series`"
                f"{', or write times with their zone, where the clock was put back' * step.hours}."
            )
    keep = np.ones(len(at), bool)
    keep[repeats + 1] = False
    return at[keep], values[keep], len(repeats)


def _size(name: str, step: Step, at: np.ndarray) -> float:
    """The most common distance; of plain numbers the median, as they are rounded."""
    if len(at) < 3:
        raise InputError(f"The series {name!r} has {len(at)} different times, too few to know its step.")
    apart = np.diff(at)
    if not step.unit:
        return float(np.median(apart))
    sizes, counts = np.unique(apart, return_counts=True)
    return float(sizes[np.argmax(counts)])


def _places(name: str, step: Step, at: np.ndarray) -> np.ndarray:
    """Which step of the grid each time is."""
    exact = (at - at[0]) / step.size
    places = np.rint(exact).astype(np.int64)
    off = np.abs(exact - places) > (1e-3 if step.unit else 0.05)
    off[1:] |= np.diff(places) == 0
    if off.any():
        where = step.text(at[int(np.flatnonzero(off)[0])])
        raise InputError(
            f"The series {name!r} has irregular steps: most are {step.words}, but {where} lies between two "
            f"({int(off.sum())} of {len(at)} values do). Bring it to regular steps first, as pandas' resample does."
        )
    return np.asarray(places)


def _filled(
    name: str, places: np.ndarray, values: np.ndarray, text: Callable[[int], str]
) -> tuple[np.ndarray, list[str]]:
    """Values at every step; those between `places`, which begin at 0, lie along a line between their neighbours."""
    steps = int(places[-1]) + 1
    lacking = steps - len(places)
    if not lacking:
        return values, []
    first = text(int(places[np.flatnonzero(np.diff(places) > 1)[0]]) + 1)
    if lacking > MOST_FILLED * steps:  # before anything is made: one stray time may lie thousands of years away
        raise InputError(
            f"The series {name!r} lacks {lacking} of {steps} steps, {first} first, and at most "
            f"{MOST_FILLED:.0%} are filled: fill it yourself; or number the rows in place of times, where days without "
            "a value are none of the steps, as weekends are of prices."
        )
    was = "was missing and is" if lacking == 1 else "were missing and are"
    note = f"{name}: {lacking} of {steps} steps {was} filled along a line, {first} first."
    return np.interp(np.arange(steps), places, values), [note]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
