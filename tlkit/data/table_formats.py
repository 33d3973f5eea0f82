"""Tables in CSV, TSV, JSON Lines and Parquet -> columns of cells."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.remote import beside, local
from tlkit.data import labelling, tables
from tlkit.data.decoding import read_noted
from tlkit.data.delimited import parse
from tlkit.data.labelling import Labelled
from tlkit.data.splitting import Groups

_FORMATS = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


_SUMS = ("total", "totals", "grand total", "sum", "subtotal", "mean", "average")


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of cells by name; the row that comes first has the number `first`.

    The header of CSV is row 1, empty lines are not counted, and a cell over several lines is in one row. `notes`
    are sentences on how the file was read, `names` what rows are called in messages where that is known.
    """

    columns: dict[str, list[Any]]
    first: int
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def rows(self) -> tables.Rows:
        """What rows are called in messages: by their numbers, and lines of the file that differ from them."""
        return self.names or self.first

    def row(self, i: int) -> str:
        """What row i is called in messages."""
        return self.names[i] if self.names else str(self.first + i)

    def texts(self, name: str, option: str = "") -> list[str]:
        """One column as strings: what is missing is empty. `option` is the argument that names the column.

        Raises:
            InputError: If there is no such column, or a cell holds several values.
        """
        return [
            _text(cell, i, name) for i, cell in tables.numbered(tables.column(self.columns, name, option), self.rows)
        ]

    def labelled(self, label: str | Sequence[str]) -> Labelled:
        """Targets: of one column classes or, where a cell holds several labels, multi-label; of several, numbers.

        Raises:
            InputError: If a column or a label is missing.
        """
        column_names(label)
        if not isinstance(label, str):
            return tables.value_columns({name: self.texts(name, "label") for name in label}, label, self.rows)
        cells = tables.column(self.columns, label, "label")
        if any(isinstance(cell, list) for cell in cells):
            return labelling.from_sets([_labels(cell) for cell in cells])
        return tables.class_column(self.texts(label), self.rows, label)

    def parts(self, split: Sequence[float] | str) -> list[int]:
        """The part of each row, where `split` is the column that names it; [] where it holds shares.

        Raises:
            InputError: If a cell is no name of a part.
        """
        return tables.part_column(self.texts(split, "split"), self.rows) if isinstance(split, str) else []

    def owners(self, groups: Groups | str | None) -> Groups | None:
        """`groups`, or the cells of the column of that name."""
        return self.texts(groups, "groups") if isinstance(groups, str) else groups

    def files(
        self,
        names: Sequence[str],
        table: str | os.PathLike[str],
        folder: str | os.PathLike[str] | None,
        *,
        progress: bool = True,
    ) -> tuple[list[Path], tuple[str, ...]]:
        """Paths of the files that rows name, from `folder` or the table's own on, and notes on how all was read.

        Raises:
            InputError: If a path appears twice, or a file is missing.
        """
        start = beside(table, progress=progress) if folder is None else local(folder, progress=progress)
        paths, notes = tables.path_column(names, start, self.rows)
        return paths, (*self.notes, *notes)


def column_names(value: Any, option: str = "label") -> list[str]:
    """The columns that an argument names, one or several.

    Raises:
        InputError: If it is neither a name nor a list of names.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"`{option}` must name a column, or be a list of columns. Received: {option}={value!r:.60}.")
    return list(names)


def read_any(
    path: str | os.PathLike[str], encoding: str | None = None, separator: str | None = None, *, progress: bool = True
) -> Table:
    """A table by the ending of its name; a header comes first in CSV and TSV.

    Args:
        path: .csv (or .txt), .tsv (or .tab), .jsonl (or .ndjson) or .parquet (or .pq).
        encoding: As in `decoding.decode`; Parquet needs none. One that must be guessed is noted.
        separator: The character between the columns of CSV and TSV; None finds it, and notes another than usual.
        progress: Say how far the copy of a URL is.

    Raises:
        InputError: If the file cannot be read, or holds no rows.
    """
    table = local(path, progress=progress)
    kind = _FORMATS.get(table.suffix.lower())
    if kind is None:
        if not table.suffix and not table.exists():
            raise InputError(f"There is no file {str(table)!r}: give a table, .csv, .tsv, .jsonl or .parquet.")
        raise InputError(f"The table {str(table)!r} must end in .csv, .tsv, .jsonl or .parquet, as its content does.")
    if kind == "parquet":
        return Table(_parquet(table), first=1)
    text, notes = read_noted(table, encoding, "table")
    if kind == "jsonl":
        return Table(_json_lines(text, table), 1, notes)
    parsed = parse(text, "\t" if kind == "tsv" else ",", separator, str(table))
    names = tuple(tables.row_names([line for row, line in zip(parsed.rows, parsed.lines, strict=False) if row]))
    columns = tables.columns(parsed.rows, str(table), names or 2)
    return Table(columns, 2, (*notes, *parsed.notes, *_sums(columns)), names)


def _sums(columns: dict[str, list[Any]]) -> list[str]:
    """A note on a last row that seems to be the sum of the others, as spreadsheets have one."""
    for name, cells in columns.items():
        last = str(cells[-1]).strip()
        if last.casefold().rstrip(":") in _SUMS and cells.count(cells[-1]) == 1 < len(cells):
            return [
                f"The last row, {len(cells) + 1}, holds {last!r} in the column {name!r}: take it out if it sums up."
            ]
    return []


def _json_lines(text: str, table: Path) -> dict[str, list[Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            rows.append(_json_row(line, number, table))
    if not rows:
        raise InputError(f"The table {str(table)!r} holds no rows: write one JSON object a line.")
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _json_row(line: str, number: int, table: Path) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except InputError as error:
        raise InputError(f"Line {number} of {str(table)!r} {error}.") from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets a hundred thousand deep
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"Line {number} of {str(table)!r} is no JSON: {reason}.") from error
    if not isinstance(row, dict):
        raise InputError(f'Line {number} of {str(table)!r} is no JSON object, such as {{"text": ..., "label": ...}}.')
    return row


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(f"names {next(name for name in names if names.count(name) > 1)!r} twice")
    return row


def _parquet(table: Path) -> dict[str, list[Any]]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise InputError(
            f'Reading {str(table)!r} needs pyarrow: run `pip install "tlkit[text]"`, or save the table as JSONL.'
        ) from error
    try:
        columns: dict[str, list[Any]] = parquet.ParquetFile(table).read().to_pydict()
    except (OSError, ValueError, ArrowException) as error:
        raise InputError(f"The table {str(table)!r} cannot be read as Parquet: {error}.") from error
    if not columns or not len(next(iter(columns.values()))):
        raise InputError(f"The table {str(table)!r} holds no rows: give one for each example.")
    return columns


def _text(cell: Any, row: int | str, name: str) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, list | dict | bytes):
        raise InputError(f"Row {row} of the table holds {type(cell).__name__}, not text, in column {name!r}.")
    if isinstance(cell, float) and math.isinf(cell):
        raise InputError(f"Row {row} of the table holds an infinite number in column {name!r}: correct it.")
    if isinstance(cell, float) and cell.is_integer():  # how tables store whole numbers beside missing ones
        return str(int(cell))
    return str(cell).strip()


def _labels(cell: Any) -> list[str]:
    """The labels of a row; None and NaN are none."""
    labels = cell if isinstance(cell, list) else [cell]
    return [str(label) for label in labels if label is not None and not labelling.is_missing(str(label))]
