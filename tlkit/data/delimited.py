"""CSV and TSV -> rows of cells: the separator is found, and quotes that swallow lines are refused by line."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tlkit.core.errors import InputError

SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_CELL_LIMIT = 2**31 - 1  # csv's own limit would refuse a whole table for one long cell
_LIMIT_LOCK = threading.Lock()
_EXCEL = re.compile(r'"?sep=(.)"?\n')  # Excel's own first line
_PROBED = 1 << 20  # characters by which the separator is found


@dataclass(frozen=True)
class Parsed:
    """Rows, a header first, sentences on how they were read, and the line in which each row begins, () if unknown."""

    rows: list[list[str]]
    notes: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()


def parse(text: str, usual: str, separator: str | None, name: str) -> Parsed:
    """Rows of a table; empty ones are left in.

    Args:
        text: The content.
        usual: The separator that the name of the file promises.
        separator: The separator, or None to find it.
        name: Of the table, for messages.

    Raises:
        InputError: If a quote does not close, or swallows lines that are rows of their own.
    """
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise InputError(f"`separator` must be one character, such as ';' or a tab. Received: {separator!r}.")
    excel = _EXCEL.match(text)
    if excel:
        text = text[excel.end() :]
    with _long_cells():
        chosen = separator or (excel[1] if excel else _separator(text, usual))
        rows, quoting, starts = _rows(text, chosen, name)
    lines = tuple(start + bool(excel) for start in starts)
    if chosen == usual or separator:
        return Parsed(rows, quoting, lines)
    note = f"The columns of {name!r} are separated by {_NAMES.get(chosen, repr(chosen))}."
    return Parsed(rows, (note, *quoting), lines)


def _rows(text: str, separator: str, name: str) -> tuple[list[list[str]], tuple[str, ...], list[int]]:
    try:
        rows, spans = _strict(text, separator, name)
    except InputError:
        escaped = _with_backslashes(text, separator)
        if escaped is not None:
            return escaped, (f"Quotes in {name!r} are written with a backslash.",), []
        plain = _plain(text, separator) if separator == "\t" else None
        if plain is None:
            raise
        return plain, (f"Quotes in {name!r} are read as plain characters.",), []
    is_uneven = separator == "\t" and len({len(row) for row in rows if row}) > 1
    plain = _plain(text, separator) if is_uneven else None
    if plain is not None:
        return plain, (), []
    if not is_uneven:
        _check_swallowed(rows, spans, text, separator, name)
    return rows, (), [start for start, _ in spans]


def _strict(text: str, separator: str, name: str) -> tuple[list[list[str]], list[tuple[int, int]]]:
    """Rows with the first and the last line of each, from 1."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    spans: list[tuple[int, int]] = []
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return rows, spans
        except csv.Error as error:
            reason = "is not closed" if "unexpected end" in str(error) else "is closed and followed by more text"
            raise InputError(
                f"The table {name!r} cannot be read: a quote that opens in line {start} {reason}. Take the quote out; "
                "or put the whole cell into quotes, and double those inside it."
            ) from error
        rows.append(row)
        spans.append((start, reader.line_num))


def _with_backslashes(text: str, separator: str) -> list[list[str]] | None:
    """Rows of a table that writes quotes as backslash and quote; None where it does not."""
    if '\\"' not in text:
        return None
    options = {"delimiter": separator, "strict": True, "escapechar": "\\", "doublequote": False}
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), **options))  # type: ignore[arg-type]
    except csv.Error:
        return None
    return rows if len({len(row) for row in rows if row}) == 1 else None


def _plain(text: str, separator: str) -> list[list[str]] | None:
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=csv.QUOTE_NONE))
    return rows if len({len(row) for row in rows if row}) == 1 else None


def _check_swallowed(
    rows: Sequence[Sequence[str]], spans: Sequence[tuple[int, int]], text: str, separator: str, name: str
) -> None:
    """Refuse a quoted cell over several lines that are rows like the others each: two stray quotes, not one text."""
    width = len(rows[0]) if rows else 0
    several = [i for i, (first, last) in enumerate(spans) if last > first]
    if width < 2 or not several:
        return
    single = [
        row for row, (first, last) in zip(rows[1:], spans[1:], strict=True) if first == last and len(row) == width
    ]
    kinds = _repeating(single, width)
    lines = text.split("\n")
    for i in several:
        first, last = spans[i]
        swallowed = [line.replace('"', "").split(separator) for line in lines[first - 1 : last]]
        whole = all(len(cells) == width for cells in swallowed)
        if whole and kinds and all(cells[k].strip() in values for cells in swallowed for k, values in kinds.items()):
            raise InputError(
                f"The table {name!r} cannot be read: a quote that opens in line {first} closes in line {last}, and "
                "each line between is a row like the others. Take the stray quotes out."
            )


def _repeating(rows: Sequence[Sequence[str]], width: int) -> dict[int, set[str]]:
    """The columns whose cells repeat, as labels do, with what they hold."""
    kinds = {}
    for k in range(width):
        counts = Counter(row[k].strip() for row in rows)
        if counts and 2 * len(counts) <= len(rows):
            kinds[k] = set(counts)
    return kinds


def _separator(text: str, usual: str) -> str:
    """The separator that makes rows of one width; the usual one where it does, or where none does."""
    probe = text[: text.find("\n", _PROBED) + 1] or text
    order = (usual, *(separator for separator in SEPARATORS if separator != usual))
    widths = {separator: _widths(probe, separator) for separator in order}
    even = [separator for separator in order if len(set(widths[separator])) == 1 and widths[separator][0] > 1]
    headed = [separator for separator in order if widths[separator] and widths[separator][0] > 1]
    return (even or headed or [usual])[0]


def _widths(text: str, separator: str) -> list[int]:
    try:
        return [len(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    except csv.Error:
        return []


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    with _LIMIT_LOCK:
        before = csv.field_size_limit(_CELL_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(before)
