"""Tables in CSV, TSV, JSON Lines and Parquet -> columns of cells."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.data import labelling, tables
from tlkit.data.decoding import read
from tlkit.data.labelling import Labelled
from tlkit.errors import InputError

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
_CELL_LIMIT = 2**31 - 1  # csv's own limit would refuse a whole table for one long cell
_LIMIT_LOCK = threading.Lock()


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of cells by name; the row that comes first has the number `first`, as an editor shows it."""

    columns: dict[str, list[Any]]
    first: int

    def texts(self, name: str) -> list[str]:
        """One column as strings: what is missing is empty.

        Raises:
            InputError: If there is no such column, or a cell holds several values.
        """
        return [_text(cell, i, name) for i, cell in enumerate(tables.column(self.columns, name), start=self.first)]

    def labelled(self, label: str | Sequence[str]) -> Labelled:
        """Targets: of one column classes or, where a cell holds several labels, multi-label; of several, numbers.

        Raises:
            InputError: If a column or a label is missing.
        """
        if not isinstance(label, str):
            return tables.value_columns({name: self.texts(name) for name in label}, label, self.first)
        cells = tables.column(self.columns, label)
        if any(isinstance(cell, list) for cell in cells):
            return labelling.from_sets([[str(one) for one in _several(cell)] for cell in cells])
        return tables.class_column(self.texts(label), self.first, label)


def read_any(path: str | os.PathLike[str], encoding: str | None = None) -> Table:
    """A table by the ending of its name; a header comes first in CSV and TSV.

    Args:
        path: .csv (or .txt), .tsv (or .tab), .jsonl (or .ndjson) or .parquet (or .pq).
        encoding: As in `decoding.decode`; Parquet needs none.

    Raises:
        InputError: If the file cannot be read, or holds no rows.
    """
    table = Path(path).expanduser()
    kind = _FORMATS.get(table.suffix.lower())
    if kind is None:
        raise InputError(f"The table {str(table)!r} must end in .csv, .tsv, .jsonl or .parquet, as its content does.")
    if kind == "parquet":
        return Table(_parquet(table), first=1)
    text = read(table, encoding, "table")
    if kind == "jsonl":
        return Table(_json_lines(text, table), first=1)
    return Table(tables.columns(_delimited(text, "\t" if kind == "tsv" else ",", table), str(table)), first=2)


def _delimited(text: str, delimiter: str, table: Path) -> list[list[str]]:
    """Rows of CSV; of TSV too, with quotes where they are used as such, and as plain characters elsewhere."""
    with _long_cells():
        if delimiter == "\t":
            with contextlib.suppress(csv.Error):
                rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
                if len({len(row) for row in rows if row}) <= 1:
                    return rows
            return list(csv.reader(io.StringIO(text), delimiter=delimiter, quoting=csv.QUOTE_NONE))
        try:
            return list(csv.reader(io.StringIO(text), delimiter=delimiter))
        except csv.Error as error:
            raise InputError(f"The table {str(table)!r} cannot be read as CSV: {error}.") from error


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    with _LIMIT_LOCK:
        before = csv.field_size_limit(_CELL_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(before)


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
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"Line {number} of {str(table)!r} is no JSON: {error}.") from error
    if not isinstance(row, dict):
        raise InputError(f'Line {number} of {str(table)!r} is no JSON object, such as {{"text": ..., "label": ...}}.')
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
    except (OSError, ArrowException) as error:
        raise InputError(f"The table {str(table)!r} cannot be read as Parquet: {error}.") from error
    if not columns or not len(next(iter(columns.values()))):
        raise InputError(f"The table {str(table)!r} holds no rows: give one for each example.")
    return columns


def _text(cell: Any, row: int, name: str) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, list | dict | bytes):
        raise InputError(f"Row {row} of the table holds {type(cell).__name__}, not text, in column {name!r}.")
    if isinstance(cell, float) and cell.is_integer():  # how tables store whole numbers beside missing ones
        return str(int(cell))
    return str(cell).strip()


def _several(cell: Any) -> list[Any]:
    if isinstance(cell, list):
        return cell
    return [] if cell is None else [cell]
