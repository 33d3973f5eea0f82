"""What each column of a table holds: a number, a category, or nothing that tells rows apart."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.numeric import number_in
from tlkit.data import tables
from tlkit.data.labelling import is_missing
from tlkit.tokenizing.wordpiece import INPUTS

NUMBER, CATEGORY, TEXT, IMAGE = "number", "category", "text", "image"
ENCODED = (NUMBER, CATEGORY)  # kinds that the table's own encoder reads; others go through modules of their own
MOSTLY = 0.95  # share of cells of one kind, from which the others are slips
FEW_ROWS = 20  # below these, cells that all differ may be categories all the same
MANY_ROWS = 100  # from which whole numbers that all differ are numbers of things, perhaps
LONG_TEXT = 6  # mean words of a cell, from which it is no category
MARKS = frozenset(("?", "n/a", "na", "null", "none", "nil", "-", "--", "#null!", "missing", "unknown"))
LARGEST = 3e38  # near the largest number of float32
_ARGUMENTS = ("numbers", "categories", "texts", "images")  # what columns of each kind are named by
_TOO_LARGE = "an infinite number, or one too large to compute with"
_LEADING_ZERO = re.compile(r"[+-]?0\d")
_WHOLE_FLOAT = re.compile(r"(-?[1-9]\d*|0)\.0+")  # as pandas writes whole numbers beside missing ones
_DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{1,2}([/.])\d{1,2}\2\d{2}|"
    r"\d{1,2}[- ][A-Za-z]{3,9}[-, ]+\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4})([ T].*)?"
)
_COMMA = re.compile(r"[+-]?\d+,\d+|[+-]?\d{1,3}([,.'’\s]\d{3})+([.,]\d+)?")
_WORD_UNIT = re.compile(r"[+-]?\d[\d.]* ?([A-Za-zµ°²³/]+)")
_WITH_UNIT = re.compile(r"[$€£¥] ?[+-]?\d[\d.,]*|[+-]?\d[\d.,]* ?[%$€£¥]")


@dataclass(frozen=True)
class TableColumn:
    """One column that a model takes.

    Attributes:
        name: In the table's header.
        input: Of the model's input: letters, digits and _ alone.
        kind: "number", float32 with NaN where it is missing; "category", texts with "" where it is missing; "text" and
            "image", which modules of their own read.
    """

    name: str
    input: str
    kind: str


@dataclass(frozen=True)
class Established:
    """Columns that a model takes, and sentences on what was found."""

    columns: tuple[TableColumn, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Judged:
    """The kind of a column, "" where it is left out; why, or what was done to its cells."""

    kind: str
    note: str = ""


def establish(
    table: Mapping[str, Sequence[Any]],
    *,
    numbers: Sequence[str] = (),
    categories: Sequence[str] = (),
    texts: Sequence[str] = (),
    images: Sequence[str] = (),
    leave_out: Sequence[str] = (),
) -> Established:
    """What the columns of a table hold.

    Args:
        table: Cells by column, those of the label left out: texts as CSV has them, or Python's values.
        numbers: Columns that hold numbers, whatever else is in them, which then is missing.
        categories: Columns that hold categories, such as numbers of products.
        texts: Columns that hold texts for a module of texts.
        images: Columns that hold paths of images for a module of images.
        leave_out: Columns that the model does not get.

    Raises:
        InputError: If a column that is named is not there, or is named twice; if cells cannot be read as what most of
            them are; or if no column is left.

    Example:
        >>> found = establish({"age": ["39", "", "51"], "job": ["clerk", "cook", "cook"]})
        >>> [(column.name, column.kind) for column in found.columns]
        [('age', 'number'), ('job', 'category')]
    """
    names_of_kind = {NUMBER: numbers, CATEGORY: categories, TEXT: texts, IMAGE: images}
    _check_named(table, {**dict(zip(_ARGUMENTS, names_of_kind.values(), strict=True)), "leave_out": leave_out})
    kinds = {name: kind for kind, names in names_of_kind.items() for name in names}
    judged = {
        name: _Judged(kinds[name]) if name in kinds else _judge(cells, name)
        for name, cells in table.items()
        if name not in leave_out
    }
    kinds_left = {name: verdict.kind for name, verdict in judged.items() if verdict.kind}
    if not kinds_left:
        reasons = "; ".join(verdict.note.rstrip(".") for verdict in judged.values() if verdict.note)
        raise InputError(f"No column is left for the model to learn from: {reasons or 'all are left out'}.")
    inputs = input_names(list(kinds_left))
    columns = tuple(TableColumn(name, inputs[name], kind) for name, kind in kinds_left.items())
    return Established(columns, (*_listed(columns), *(verdict.note for verdict in judged.values() if verdict.note)))


def input_names(names: Sequence[str]) -> dict[str, str]:
    """Names of columns as those of a model's inputs, each once, and none that a module of texts has.

    Example:
        >>> input_names(["hours-per-week", "hours per week", "1st"])
        {'hours-per-week': 'hours_per_week', 'hours per week': 'hours_per_week_2', '1st': 'column_1st'}
    """
    inputs: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
        plain = plain if plain[:1].isalpha() else f"column_{plain}".rstrip("_")
        count, unique = 1, plain
        while unique in (*inputs.values(), *INPUTS):
            count += 1
            unique = f"{plain}_{count}"
        inputs[name] = unique
    return inputs


def as_numbers(cells: Sequence[Any]) -> np.ndarray:
    """float32 (n, 1), NaN where a cell is missing or no number."""
    return np.array([_number(cell) for cell in cells], np.float32).reshape(-1, 1)


def as_categories(cells: Sequence[Any]) -> np.ndarray:
    """Texts (n, 1), "" where a cell is missing: empty, nan and its like, or a question mark."""
    texts = {cell: _category(cell) for cell in set(cells)}
    return np.array([texts[cell] for cell in cells], dtype=str).reshape(-1, 1)


def as_texts(cells: Sequence[Any]) -> list[str]:
    """Texts or paths as they stand in the cells, "" where one is missing."""
    return ["" if _is_nothing(cell) else _unicode(_plain(cell)) for cell in cells]


def checked_cells(column: TableColumn, cells: Sequence[Any]) -> list[tuple[int, str]]:
    """Cells of a column of numbers that say something else, with their places; of other columns none.

    Raises:
        InputError: If a cell holds several values, or a number that float32 cannot hold.
    """
    _check_single(cells, column.name)
    if column.kind != NUMBER:
        return []
    if any(abs(_number(cell)) > LARGEST for cell in set(cells)):
        raise InputError(f"The column {column.name!r} holds {_TOO_LARGE}: correct it, or leave it empty.")
    odd = {cell for cell in set(cells) if not _is_nothing(cell) and not _is_mark(cell) and not _is_number(cell)}
    return [(place, _plain(cell)) for place, cell in enumerate(cells) if cell in odd] if odd else []


# -- one column


def _judge(cells: Sequence[Any], name: str) -> _Judged:
    _check_single(cells, name)
    counts = Counter(cells)
    filled = {cell: count for cell, count in counts.items() if not _is_nothing(cell)}
    if not filled:
        return _Judged("", f"The column {name!r} is empty, and is left out.")
    if len(filled) == len(counts) == 1:
        return _Judged("", f"The column {name!r} holds {_plain(next(iter(filled)))!r:.40} in every row: left out.")
    if _share(filled, _is_date) >= MOSTLY:
        advice = "make numbers of it, such as days since a start"
        return _Judged("", f"The column {name!r} holds dates, and is left out: {advice}.")
    if all(map(_is_number, filled)):
        return _judged_numbers(cells, filled, name)
    return _judged_texts(filled, name)


def _check_single(cells: Sequence[Any], name: str) -> None:
    for row, cell in enumerate(cells):
        if isinstance(cell, list | tuple | set | frozenset | dict | bytes | np.ndarray):
            raise InputError(
                f"The column {name!r} holds {type(cell).__name__}, not one value a row (row {row} of the data): make "
                f"columns of it, or leave it out, leave_out=[{name!r}]."
            )


def _judged_numbers(cells: Sequence[Any], filled: Mapping[Any, int], name: str) -> _Judged:
    if any(abs(_number(cell)) > LARGEST for cell in filled):
        raise InputError(f"The column {name!r} holds {_TOO_LARGE}: correct it, or leave it empty.")
    if any(isinstance(cell, str) and _LEADING_ZERO.match(cell) and "." not in cell for cell in filled):
        return _Judged(CATEGORY, f"The numbers of the column {name!r} begin with 0, and are read as categories.")
    if not FEW_ROWS <= len(cells) == len(filled):
        return _Judged(NUMBER)
    values = np.array([_number(cell) for cell in cells])
    if bool((np.diff(np.sort(values)) == 1).all()):
        return _Judged("", f"The column {name!r} counts the rows, and is left out.")
    if len(cells) >= MANY_ROWS and bool((values == np.rint(values)).all()):
        note = f"The column {name!r} holds another whole number in every row: if it names them, leave_out=[{name!r}]."
        return _Judged(NUMBER, note)
    return _Judged(NUMBER)


def _judged_texts(filled: Mapping[Any, int], name: str) -> _Judged:
    total = sum(filled.values())
    marked = {cell: count for cell, count in filled.items() if not _is_mark(cell)}
    share = _share(marked, _is_number)
    others = {cell: count for cell, count in filled.items() if not _is_number(cell)}
    samples = ", ".join(f"{_plain(other)!r:.30}" for other in list(others)[:3])
    _check_written(marked, name)
    if share >= MOSTLY:
        count = sum(others.values())
        return _Judged(NUMBER, f"{count:,} of {total:,} cells of {name!r} are no numbers ({samples}): missing.")
    if share >= 0.5:
        note = f"{share:.0%} of the cells of {name!r} are numbers, and others are not ({samples}): read as categories."
        return _Judged(CATEGORY, note)
    words = sum(len(_plain(cell).split()) * count for cell, count in filled.items()) / total
    if words >= LONG_TEXT and 2 * len(filled) > total:
        advice = f"texts=[{name!r}] lets a module of texts read it"
        return _Judged("", f"The column {name!r} holds texts, and is left out: {advice}.")
    if total >= FEW_ROWS and len(filled) > 0.9 * total:
        note = f"The column {name!r} holds another text in almost every row, as names do, and is left out."
        return _Judged("", note)
    units = {match[1] if (match := _WORD_UNIT.fullmatch(_plain(cell))) else "" for cell in marked}
    if len(units) == 1 and units != {""}:
        note = f"The column {name!r} holds numbers in {units.pop()!r}, and is read as categories: write numbers alone."
        return _Judged(CATEGORY, note)
    return _Judged(CATEGORY)


def _check_written(marked: Mapping[Any, int], name: str) -> None:
    """Refuse numbers that are written for people: one column of them would become thousands of categories."""
    texts = {cell: count for cell, count in marked.items() if not _is_number(cell)}
    for pattern, signs in ((_COMMA, "commas, or points between thousands"), (_WITH_UNIT, "units")):
        odd = [cell for cell in texts if isinstance(cell, str) and pattern.fullmatch(cell.strip())]
        if odd and sum(texts[cell] for cell in odd) >= MOSTLY * sum(texts.values()):
            raise InputError(
                f"The column {name!r} holds numbers with {signs}, such as {odd[0]!r:.30}: write them as 1234.5, or say "
                f"that they are categories, categories=[{name!r}]."
            )


def _share(cells: Mapping[Any, int], is_so: Callable[[Any], bool]) -> float:
    """Share of the rows whose cell is so."""
    return sum(count for cell, count in cells.items() if is_so(cell)) / max(1, sum(cells.values()))


def _plain(cell: Any) -> str:
    return str(cell).strip()


def _is_nothing(cell: Any) -> bool:
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(cell, float | np.floating):
        return math.isnan(cell)
    return isinstance(cell, str) and is_missing(cell)


def _is_mark(cell: Any) -> bool:
    return isinstance(cell, str) and cell.strip().casefold() in MARKS


def _is_number(cell: Any) -> bool:
    return not _is_nothing(cell) and not math.isnan(_number(cell))


def _number(cell: Any) -> float:
    if isinstance(cell, bool | int | float | decimal.Decimal | np.generic) and not isinstance(cell, np.str_):
        try:
            return float(cell)
        except OverflowError:
            return math.inf
        except (TypeError, ValueError):
            return math.nan
    return number_in(cell) if isinstance(cell, str) else math.nan


def _category(cell: Any) -> str:
    if _is_nothing(cell) or (isinstance(cell, str) and cell.strip() == "?"):
        return ""
    whole = isinstance(cell, float | np.floating) and float(cell).is_integer()
    text = str(int(cell)) if whole else _plain(cell)
    written = _WHOLE_FLOAT.fullmatch(text)
    return _unicode(written[1] if written else text)


def _unicode(text: str) -> str:
    """The text without halves of characters, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _is_date(cell: Any) -> bool:
    if isinstance(cell, datetime.date | datetime.time | np.datetime64) or type(cell).__name__ == "Timestamp":
        return True
    return isinstance(cell, str) and _DATE.fullmatch(cell.strip()) is not None


# -- all columns


def _listed(columns: Sequence[TableColumn]) -> list[str]:
    """The types as they were established, a sentence each."""
    notes = []
    for kind, argument in zip((NUMBER, CATEGORY, TEXT, IMAGE), _ARGUMENTS, strict=True):
        names = [column.name for column in columns if column.kind == kind]
        if names:
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            notes.append(f"{argument.capitalize()} ({len(names)}): {', '.join(names[:20])}{more}.")
    renamed = [column for column in columns if column.input != column.name]
    if renamed:
        first = f"{renamed[0].name!r} is {renamed[0].input}"
        more = f", and {len(renamed) - 1} more are renamed likewise" if len(renamed) > 1 else ""
        notes.append(f"Inputs of the model have letters, digits and _ in their names: {first}{more}.")
    return notes


def _check_named(table: Mapping[str, Sequence[Any]], arguments: Mapping[str, Sequence[str]]) -> None:
    named: dict[str, str] = {}
    for word, names in arguments.items():
        if isinstance(names, str):
            raise InputError(f"`{word}` is a list of columns: {word}=[{names!r}].")
        for name in names:
            if name not in table:
                tables.column(table, name, word)
            if name in named:
                raise InputError(f"The column {name!r} is named in `{named[name]}` and in `{word}`: name it in one.")
            named[name] = word
