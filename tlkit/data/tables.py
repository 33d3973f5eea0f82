"""Rows with a header -> columns, and columns -> labels, parts and paths."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.numeric import number_in
from tlkit.data.labelling import Labelled, from_names, from_sets, from_values, is_missing
from tlkit.data.part_names import part_names

SEPARATOR = "|"  # between the labels of a multi-label cell
NEAR = 0.75  # difflib's ratio from which one name is a slip of another; that of "item" and "title" is .67
T = TypeVar("T")
Rows = int | Sequence[str]  # the number of the first row, or what each is called in messages
_FEW_ROWS = 10  # below these, as many numbers as rows say nothing
_FOR_NOTHING = ("null", "none", "na", "n/a", "nil", "missing", "undefined", "?", "-")  # or a class of that name
_MANY_CLASSES = 20  # numbers above which a column of them may be quantities


def columns(rows: Sequence[Sequence[str]], name: str, called: Rows = 2) -> dict[str, list[str]]:
    """Rows, a header first, as columns by name, stripped of outer blanks; empty rows are passed over.

    Args:
        rows: The cells of each.
        name: Of the table, for messages.
        called: The number of the first row behind the header, or the names of all, for messages.

    Raises:
        InputError: If there are none, or a row has another count of cells than the header.
    """
    filled = [row for row in rows if row]
    if len(filled) < 2:
        raise InputError(f"The table {name!r} holds no rows: give a header and one row for each example.")
    header = [cell.strip() for cell in filled[0]]
    for number, row in numbered(filled[1:], called):
        if len(row) != len(header):
            raise InputError(f"Row {number} of {name!r} has {len(row)} cells, and the header has {len(header)}.")
    twice = next((cell for cell in header if cell and header.count(cell) > 1), None)
    if twice is not None:
        raise InputError(f"The header of {name!r} names the column {twice!r:.60} twice: rename one of them.")
    nameless = [i for i, cell in enumerate(header) if not cell and any(row[i].strip() for row in filled[1:])]
    if len(nameless) > 1:
        raise InputError(
            f"The header of {name!r} has {len(nameless)} columns without a name that hold cells: name them."
        )
    return {cell: [row[i].strip() for row in filled[1:]] for i, cell in enumerate(header) if cell or i in nameless}


def row_names(lines: Sequence[int]) -> list[str]:
    """What the rows behind the header are called where rows are no lines; [] where they are.

    Args:
        lines: The line in which the header and each row begin.

    Example:
        >>> row_names([1, 2, 5])
        ['2', '3 (line 5)']
    """
    if list(lines) == list(range(1, len(lines) + 1)):
        return []
    return [
        f"{number}" if line == number else f"{number} (line {line})" for number, line in enumerate(lines[1:], start=2)
    ]


def numbered(cells: Sequence[T], rows: Rows) -> Iterator[tuple[int | str, T]]:
    """Each cell with the number or the name of its row."""
    return zip(itertools.count(rows) if isinstance(rows, int) else rows, cells, strict=False)


def column(table: Mapping[str, Sequence[Any]], name: str, option: str = "") -> Sequence[Any]:
    """One column; `option` is the argument that names it.

    Raises:
        InputError: If there is no such column; it says which may be meant.
    """
    if not isinstance(name, str) or name not in table:
        raise InputError(f"The table has no column {name!r}: it has {_quoted(table)}{_meant(name, table, option)}")
    return table[name]


def usual(table: Mapping[str, Sequence[Any]], name: str, option: str) -> str | None:
    """The name of a column that is taken where there is one, or None.

    Raises:
        InputError: If a column is called so but for capitals.
    """
    if name in table:
        return name
    if any(other.casefold() == name.casefold() for other in table):
        column(table, name, option)
    return None


def _meant(name: str, names: Iterable[str], option: str) -> str:
    """The end of a sentence on a column that is not there: the one that is written nearly so, and what takes it."""
    forms, plain = {other.casefold(): other for other in names}, str(name).casefold()
    longer = sorted((form for form in forms if plain in form), key=len)  # as "userid" and "timestamp" are
    close = longer or difflib.get_close_matches(plain, forms, n=1, cutoff=NEAR)
    if close:
        return f"; did you mean {option}{'=' * bool(option)}{forms[close[0]]!r:.200}?"
    return f"; name the one that is meant, `{option}`." if option else "."


def class_column(cells: Sequence[str], rows: Rows = 2, name: str = "label") -> Labelled:
    """Classes, or multi-label targets if any cell holds several labels.

    `rows` is the number of the first row, or the names of all.

    Raises:
        InputError: If a cell of a single-label column is empty, or its numbers are no classes.
    """
    if any(SEPARATOR in cell for cell in cells):
        split = [[label.strip() for label in cell.split(SEPARATOR)] for cell in cells]
        note = (
            f"{sum(SEPARATOR in cell for cell in cells):,} of {len(cells):,} rows hold several labels, separated by "
            f"{SEPARATOR!r} in the column {name!r}: a row may have any number of them. If that character is part of a "
            "name, write another one."
        )
        labelled = from_sets([[label for label in row if not is_missing(label)] for row in split])
        return dataclasses.replace(labelled, notes=(note,))
    missing = [(number, cell) for number, cell in numbered(cells, rows) if is_missing(cell)]
    if missing:
        number, cell = missing[0]
        but = f", but {cell!r:.60}" if cell else ""
        more = f" (nor have {len(missing) - 1} more rows)" if len(missing) > 1 else ""
        raise InputError(f"Row {number} of the table has no label{but}{more}: write one, or take the row out.")
    notes = (*_numbers_as_classes(cells, name), *_words_for_nothing(cells))
    return dataclasses.replace(from_names(cells), notes=notes)


def _numbers_as_classes(cells: Sequence[str], name: str) -> tuple[str, ...]:
    """A note where a column of numbers is read as classes and may be meant as quantities."""
    numbers = sorted(set(cells))
    if not all(_is_number(cell) for cell in numbers):
        return ()
    if len(cells) >= _FEW_ROWS and 2 * len(numbers) > len(cells):
        raise InputError(
            f"The column {name!r} holds {len(numbers)} different numbers in {len(cells)} rows, which are no classes: "
            f"for numbers to predict, name it in a list, label=[{name!r}]."
        )
    if len(numbers) <= _MANY_CLASSES and all(cell.lstrip("+-").isdigit() for cell in numbers):
        return ()
    return (
        f"The {len(numbers)} different numbers of the column {name!r} are taken as classes; for numbers to predict, "
        f"name it in a list, label=[{name!r}].",
    )


def _words_for_nothing(cells: Sequence[str]) -> tuple[str, ...]:
    """A note where a class may be what other programs write into an empty cell; it may be a name, too."""
    doubtful = sorted({cell for cell in cells if cell.casefold() in _FOR_NOTHING})
    return tuple(
        f"{cells.count(word):,} rows have the label {word!r}, which is taken as a class; if it means that nothing is "
        "there, take these rows out."
        for word in doubtful
    )


def value_columns(table: dict[str, list[str]], names: Sequence[str], rows: Rows = 2) -> Labelled:
    """Numbers to regress, one column each; or classes and labels, where several columns hold 0 and 1 alone.

    `rows` is the number of the first row or the names of all.

    Raises:
        InputError: If a cell is no finite number.
    """
    columns_ = [[_number(cell, i, name) for i, cell in numbered(table[name], rows)] for name in names]
    values = np.array(columns_, dtype=np.float64).reshape(len(columns_), -1)
    labelled = from_values(values.T, names)
    quoted = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    if labelled.kind == "classes":
        note = f"The columns {quoted} hold exactly one 1 in each row, and are read as classes."
    elif labelled.kind == "multi-label":
        note = f"The columns {quoted} hold 0 and 1 alone, and are read as labels that an example may have several of."
    else:
        return Labelled(values.T.astype(np.float32), labelled.names, "values")
    return dataclasses.replace(labelled, notes=(note,))


def part_column(cells: Sequence[str], rows: Rows = 2) -> list[int]:
    """The part of each row, from names such as train, val and test.

    `rows` is the number of the first row, or the names of all.

    Raises:
        InputError: If a cell is no name of a part.
    """
    parts = part_names(sorted(set(cells)))
    for number, cell in numbered(cells, rows):
        if cell not in parts:
            raise InputError(f"Row {number} of the table names the part {cell!r:.60}: write train, val or test.")
    return [parts[cell] for cell in cells]


def path_column(cells: Sequence[str], folder: Path, rows: Rows = 2) -> tuple[list[Path], tuple[str, ...]]:
    """Paths of files that exist, below `folder` where they are relative, and notes on how they were found.

    Where a path is of Windows, or lacks its ending, the file that it must mean is taken.

    Raises:
        InputError: If a path appears twice, or a file is missing.
    """
    first_rows: dict[str, int | str] = {}
    for number, cell in numbered(cells, rows):
        if cell in first_rows:
            raise InputError(
                f"Rows {first_rows[cell]} and {number} of the table both name {cell!r:.200}: "
                f"write one row for each file, several labels separated by {SEPARATOR!r}."
            )
        first_rows[cell] = number
    stems: dict[Path, dict[str, list[Path]]] = {}
    located = [_located(cell, folder, stems) for cell in cells]
    missing = [cell for cell, (path, _) in zip(cells, located, strict=True) if path is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(cells)} files of the table are not there: {_quoted(missing[:3])}. "
            f"Relative paths start at {str(folder)!r}; pass `folder` if they start elsewhere."
        )
    paths = [path for path, _ in located if path is not None]
    if len(set(paths)) < len(paths):
        twice = next(cell for cell, path in zip(cells, paths, strict=True) if paths.count(path) > 1)
        raise InputError(f"Several rows of the table name the file that {twice!r:.200} means: write one row a file.")
    counts = Counter(how for _, how in located if how)
    return paths, tuple(f"{count:,} of {len(cells):,} files were found {how}." for how, count in sorted(counts.items()))


def _located(cell: str, folder: Path, stems: dict[Path, dict[str, list[Path]]]) -> tuple[Path | None, str]:
    """The file that a cell names, and how it was found where not by that name; `stems` keeps folders that were read."""
    if not cell:
        return None, ""
    path = folder / cell
    if os.path.lexists(path):
        return path, ""
    turned = folder / cell.replace("\\", "/")
    if "\\" in cell and os.path.lexists(turned):
        return turned, "after turning the slashes of Windows"
    above = turned.parent
    if above not in stems:
        stems[above] = _by_stem(above)
    meant = stems[above].get(turned.name, [])
    return (meant[0], "after adding the ending of their names") if len(meant) == 1 else (None, "")


def _quoted(names: Iterable[str]) -> str:
    """The first of some names, none longer than a line."""
    return ", ".join(f"{name!r:.200}" for name in list(names)[:20])


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError, ValueError):
        for entry in os.scandir(folder):
            if not entry.name.startswith("."):
                stems.setdefault(Path(entry.name).stem, []).append(Path(entry.path))
    return stems


def _is_number(cell: str) -> bool:
    return math.isfinite(number_in(cell))


def _number(cell: str, row: int | str, name: str) -> float:
    value = number_in(cell)
    if not math.isfinite(value):
        raise InputError(f"Row {row} of the table holds no finite number in column {name!r}: {cell!r:.60}.")
    return value
