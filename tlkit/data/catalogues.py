"""The catalogue of items: what people read of them, and what a module, or the table alone, says they are like."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.remote import beside
from tlkit.data.table_formats import Table, read_any

# Whether an item is what its column is called; an empty cell says no.
_FLAGS = {"": False, "0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


@dataclass(frozen=True, repr=False)
class Catalogue:
    """All items.

    Attributes:
        ids: As ratings name them.
        titles: What people read.
        texts: What a module of texts reads: the title and the other columns.
        images: Paths of their images, "" where there is none; () without a column of images.
        columns: Cells of the columns that describe them, by name.
        notes: Sentences on how the table was read.
    """

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    texts: tuple[str, ...]
    images: tuple[str, ...] = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Catalogue({len(self.ids)} items)"


def catalogue(
    table: str | os.PathLike[str],
    *,
    item: str = "item",
    title: str = "title",
    image: str | None = None,
    columns: Sequence[str] | None = None,
    encoding: str | None = None,
) -> Catalogue:
    """The items of a table; a column of 0 and 1 says by its name what an item is, as genres do.

    Args:
        table: CSV, TSV, JSONL or Parquet.
        item: Column of the ids.
        title: Column of what people read.
        image: Column of paths of images, from the table's folder on.
        columns: What describes an item besides; None is all other columns, of which texts, lists of texts, and 0 and 1
            are read as texts.
        encoding: Python's name of the table's encoding.

    Raises:
        InputError: If a column is missing, or an id is empty or there twice.
    """
    if isinstance(columns, str):
        raise InputError(f"`columns` is a list of columns: columns=[{columns!r}].")
    rows = read_any(table, encoding)
    ids, titles = rows.texts(item, "item"), rows.texts(title, "title")
    _check_ids(ids, item)
    folder = Path() if image is None else beside(table)
    images = () if image is None else tuple(str(folder / path) if path else "" for path in rows.texts(image, "image"))
    others = [name for name in rows.columns if name not in (item, title, image)] if columns is None else list(columns)
    cells = {name: _described(rows, name) for name in others}
    flags = [name for name in others if any(cells[name]) and {cell.casefold() for cell in cells[name]} <= _FLAGS.keys()]
    words = [name for name in others if name not in flags and (columns is not None or _are_words(cells[name]))]
    raised = [", ".join(name for name in flags if _FLAGS[cells[name][i].casefold()]) for i in range(len(ids))]
    texts = [
        ". ".join(filter(None, [titles[i], *(cells[name][i] for name in words), raised[i]])) for i in range(len(ids))
    ]
    lines = (" ".join((name or ids[i]).split()) for i, name in enumerate(titles))  # a line each in labels.txt
    return Catalogue(tuple(ids), tuple(lines), tuple(texts), images, cells, (*rows.notes, *_told(title, words, flags)))


def _told(title: str, words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """A note on which columns are the text of an item."""
    named = ", ".join(map(repr, [title, *words]))
    raised = f", and by their names {', '.join(map(repr, flags[:5]))}" if flags else ""
    more = f" and {len(flags) - 5} more" if len(flags) > 5 else ""
    return [f"The text of an item is of its columns {named}{raised}{more}; `columns` names others."]


def of_ratings(names: Sequence[str]) -> Catalogue:
    """The items that are rated, which nothing describes."""
    ids = tuple(sorted(set(names)))
    return Catalogue(ids, ids, ids)


def _described(rows: Table, name: str) -> list[str]:
    """A column as texts; a list of texts in a cell is one text."""
    cells = [", ".join(map(str, c)) if isinstance(c, list) else c for c in rows.columns.get(name, ())]
    if strange := {type(cell).__name__ for cell in cells if isinstance(cell, dict | bytes)}:
        raise InputError(
            f"The column {name!r} of the catalogue holds {', '.join(strange)}, not text: name the columns that "
            "describe items, `columns`."
        )
    return Table({**rows.columns, name: cells} if cells else rows.columns, rows.first).texts(name, "columns")


def _check_ids(ids: Sequence[str], name: str) -> None:
    if "" in ids:
        raise InputError(f"An item of the catalogue has no {name}: give each an id.")
    twice = next((item_id for item_id, count in Counter(ids).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"The catalogue names the item {twice!r:.60} twice: keep one row of it.")


def _are_words(cells: Sequence[str]) -> bool:
    """Whether cells describe: letters in most, no addresses."""
    filled = [cell for cell in cells if cell]
    if not filled or any("://" in cell for cell in filled[:20]):
        return False
    return sum(any(letter.isalpha() for letter in cell) for cell in filled) > len(filled) / 2
