"""Which columns of a wide table are the steps of its series, and in which order."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.data.timeline import stamps

_NUMBERED = re.compile(r"(.*?)(\d+(?:\.\d+)?)(\D*)")
_ID = re.compile(r"(?i:(.*[ _.-])?(id|uuid)|index|(unnamed: 0)?)|.*[a-z]I[dD]")  # as pandas writes an index, too
_COUNTED = 20  # rows from which a column that numbers them is no step


def step_columns(columns: Mapping[str, Sequence[Any]]) -> tuple[list[str], bool, list[str]]:
    """Columns that are steps, in the order of time, whether their names say it, and notes on what was done.

    Names such as t0, t1 or 2024-01 say their order. Where most are so, columns of other names are no steps; where none
    are, the table's order is that of time, and only what names or numbers the rows is left out.

    Args:
        columns: Cells by name, without those of labels.

    Raises:
        InputError: If names say several channels, one step twice, or an order that can be read in two ways.

    Example:
        >>> step_columns({"id": [7, 9], "t10": [1, 2], "t9": [3, 4], "t8": [5, 6]})[0]
        ['t10', 't9', 't8']
    """
    places = _places([name for name in columns if not names_rows(name)])
    ids = [name for name, cells in columns.items() if name not in places and (names_rows(name) or _counts(cells))]
    notes = [f"The column {name!r} names or counts the rows, and is no step of the series: left out." for name in ids]
    if not places:
        return [name for name in columns if name not in ids], False, notes
    if further := [name for name in columns if name not in places and name not in ids]:
        listed = ", ".join(map(repr, further[:5])) + (", ..." if len(further) > 5 else "")
        notes.append(f"Most columns are numbered or dated; the others are no steps of the series: {listed}, left out.")
    numbered = [name for name in columns if name in places]
    apart = np.diff([places[name] for name in numbered])
    if (apart > 0).all() or (apart < 0).all():
        return numbered, True, notes
    ordered = sorted(numbered, key=places.__getitem__)
    _check_order(ordered, places)
    stand, read = (", ".join(map(repr, order[:3])) for order in (numbered, ordered))
    notes.append(f"The columns stand in the order {stand}, ..., and are read in that of their names: {read}, ...")
    return ordered, True, notes


def names_rows(name: str) -> bool:
    """Whether a column is called as those are that name rows: id, case_id, caseId, index, or nothing.

    Example:
        >>> [names_rows(name) for name in ("shop_id", "rowID", "", "humid", "price index")]
        [True, True, True, False, False]
    """
    return _ID.fullmatch(name) is not None


def _places(names: Sequence[str]) -> dict[str, float]:
    """Where the names say that their steps lie, if more than half are dates or numbered alike; else {}."""
    dates = {name: at for name in names if (at := _date(name)) is not None}
    if 2 * len(dates) > len(names):
        return dates
    matches = {name: match for name in names if (match := _NUMBERED.fullmatch(name))}
    groups: dict[tuple[str, str], list[str]] = {}
    for name, match in matches.items():
        groups.setdefault((match[1], match[3]), []).append(name)
    first, second = [*sorted(groups.values(), key=len, reverse=True), [], []][:2]
    if len(first) > 1 and len(first) == len(second):
        raise InputError(
            f"The columns {first[0]!r} and {second[0]!r} begin {len(first)} numbered ones each, as of two channels, "
            "and a wide table has one: give tlkit.data.series.from_arrays values (series, steps, channels)."
        )
    return {name: float(matches[name][2]) for name in first} if 2 * len(first) > len(names) else {}


def _date(name: str) -> float | None:
    """Seconds of a name such as 2024-01 or 2024-03-31; None of others."""
    try:
        at, step, _ = stamps(name, [name])
    except InputError:
        return None
    return float(at[0]) if step.unit else None


def _check_order(ordered: Sequence[str], places: Mapping[str, float]) -> None:
    for name, following in itertools.pairwise(ordered):
        if places[name] == places[following]:
            raise InputError(f"The columns {name!r} and {following!r} are one step by their names: rename one of them.")
    if any(re.search(r"-\d+(\.\d+)?\D*$", name) for name in ordered) and _date(ordered[0]) is None:
        raise InputError(
            f"The columns {ordered[0]!r}, {ordered[1]!r}, ... are out of order, and their hyphens may say minus: bring "
            "them into the order of time."
        )


def _counts(cells: Sequence[Any]) -> bool:
    """Whether a column holds each of as many whole numbers as there are rows, in any order."""
    if len(cells) < _COUNTED:
        return False
    try:
        values = np.sort(np.array([float(cell) for cell in cells]))
    except (TypeError, ValueError):
        return False
    return bool((np.diff(values) == 1).all())
