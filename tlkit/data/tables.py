"""CSV files with a header -> columns, and columns -> labels, parts and paths."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlkit.data.labelling import Labelled, from_names, from_sets, from_values
from tlkit.data.splitting import PART_NAMES
from tlkit.errors import InputError

SEPARATOR = "|"  # between the labels of a multi-label cell


def read_table(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Columns of a CSV file by name, stripped of outer blanks.

    Raises:
        InputError: If the file is missing, not UTF-8, empty, or a row has another count of cells than the header.
    """
    table = Path(path).expanduser()
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table {str(table)!r} cannot be read as CSV in UTF-8: {error}.") from error
    return columns(rows, str(table))


def columns(rows: Sequence[Sequence[str]], name: str) -> dict[str, list[str]]:
    """Rows, a header first, as columns by name, stripped of outer blanks; empty rows are passed over.

    Raises:
        InputError: If there are none, or a row has another count of cells than the header. `name` names the table.
    """
    filled = [row for row in rows if row]
    if len(filled) < 2:
        raise InputError(f"The table {name!r} holds no rows: give a header and one row for each example.")
    header = [cell.strip() for cell in filled[0]]
    for number, row in enumerate(filled[1:], start=2):
        if len(row) != len(header):
            raise InputError(f"Row {number} of {name!r} has {len(row)} cells, and the header has {len(header)}.")
    return {cell: [row[i].strip() for row in filled[1:]] for i, cell in enumerate(header)}


def column(table: dict[str, list[str]], name: str) -> list[str]:
    """One column.

    Raises:
        InputError: If there is no such column.
    """
    if name not in table:
        raise InputError(f"The table has no column {name!r}: it has {', '.join(map(repr, table))}.")
    return table[name]


def class_column(cells: Sequence[str], first: int = 2) -> Labelled:
    """Classes, or multi-label targets if any cell holds several labels; `first` is the number of the first row.

    Raises:
        InputError: If a cell of a single-label column is empty.
    """
    if any(SEPARATOR in cell for cell in cells):
        return from_sets([[name.strip() for name in cell.split(SEPARATOR) if name.strip()] for cell in cells])
    for number, cell in enumerate(cells, start=first):
        if not cell:
            raise InputError(f"Row {number} of the table has no label.")
    return from_names(cells)


def value_columns(table: dict[str, list[str]], names: Sequence[str], first: int = 2) -> Labelled:
    """Numbers to regress, one column each; `first` is the number of the first row.

    Raises:
        InputError: If a cell is no finite number.
    """
    values = np.array(
        [[_number(cell, i, name) for i, cell in enumerate(column(table, name), start=first)] for name in names]
    )
    labelled = from_values(values.T, names)
    return Labelled(values.T.astype(np.float32), labelled.names, "values")


def part_column(cells: Sequence[str], first: int = 2) -> list[int]:
    """The part of each row, from names such as train, val and test; `first` is the number of the first row.

    Raises:
        InputError: If a cell is no name of a part.
    """
    for number, cell in enumerate(cells, start=first):
        if cell.casefold() not in PART_NAMES:
            raise InputError(f"Row {number} of the table names the part {cell!r}: write train, val or test.")
    return [PART_NAMES[cell.casefold()] for cell in cells]


def path_column(cells: Sequence[str], folder: Path) -> list[Path]:
    """Paths of files that exist, below `folder` where they are relative.

    Raises:
        InputError: If a path appears twice, or a file is missing.
    """
    seen: dict[str, int] = {}
    for number, cell in enumerate(cells, start=2):
        if cell in seen:
            raise InputError(
                f"Rows {seen[cell]} and {number} of the table both name {cell!r}: "
                f"write one row for each file, several labels separated by {SEPARATOR!r}."
            )
        seen[cell] = number
    paths = [folder / cell for cell in cells]
    missing = [cell for cell, path in zip(cells, paths, strict=True) if not cell or not os.path.lexists(path)]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(cells)} files of the table are not there: {', '.join(map(repr, missing[:3]))}. "
            f"Relative paths start at {str(folder)!r}; pass `folder` if they start elsewhere."
        )
    return paths


def _number(cell: str, row: int, name: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"Row {row} of the table holds no finite number in column {name!r}: {cell!r}.")
    return value
