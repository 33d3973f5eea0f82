"""Collections without labels, for `tlkit.index` and for features: `Examples` whose targets are all 0."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.data import text_source
from tlkit.data.labelling import Labelled
from tlkit.data.sourcing import Division
from tlkit.data.table_formats import read_any
from tlkit.errors import InputError
from tlkit.types import Examples, Splits

__all__ = ["joined", "texts"]


def texts(
    source: str | os.PathLike[str],
    *,
    text: str = "text",
    encoding: str | None = None,
    strict: bool = False,
    progress: bool = True,
    max_characters: int = text_source.MAX_CHARACTERS,
) -> Splits:
    """Texts of a table or a folder, folders inside it included; none needs a label.

    A file is judged by its content, not its ending. Hidden files, tables and code are passed over; everything else
    that is no text, or an empty one, is quarantined.

    Args:
        source: A folder, or a table: CSV or TSV with a header, JSON Lines, or Parquet (extra `text`).
        text: Column of the texts, in a table.
        encoding: As in `data.text.from_folder`, like all that are not named here.
        strict: As in `data.text.from_folder`.
        progress: As in `data.text.from_folder`.
        max_characters: As in `data.text.from_folder`.

    Returns:
        Splits whose `train` holds all; ids are paths relative to the folder, or "row 17", as an editor counts.

    Raises:
        InputError: If there is no such folder, table or column, or no text in it.
    """
    options = text_source.Options(Division((1.0, 0.0, 0.0), 0, None, strict, progress), encoding, max_characters)
    path = Path(source).expanduser()
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file.relative_to(path))]
        if not files:
            raise InputError(f"The folder {str(path)!r} holds no files; give one with a file for each text.")
        names = [file.relative_to(path).as_posix() for file in files]
        return text_source.from_files(names, files, _unlabelled(len(files)), fixed=(), options=options)
    rows = read_any(path, encoding)
    column = rows.texts(text)
    ids = [f"row {number}" for number in range(rows.first, rows.first + len(column))]
    return text_source.from_texts(ids, column.__getitem__, _unlabelled(len(ids)), fixed=(), options=options)


def joined(parts: Mapping[str, Examples]) -> Examples:
    """One collection of several of a kind; ids get the part's name in front: "movies/17".

    Args:
        parts: Name -> examples, all of one spec.

    Raises:
        InputError: If there are none, or their specs differ.
    """
    several = list(parts.values())
    if not several or any(one.spec != several[0].spec for one in several):
        kinds = ", ".join(f"{name}: {one.spec}" for name, one in parts.items())
        raise InputError(f"Only examples of one kind can be joined. Received: {kinds or 'nothing'}.")
    starts = np.cumsum([0, *map(len, several)])

    def read(i: int) -> Any:
        part = int(np.searchsorted(starts, i, side="right")) - 1
        return several[part].read(i - int(starts[part]))

    return Examples(
        ids=tuple(f"{name}/{own}" for name, one in parts.items() for own in one.ids),
        read=read,
        targets=np.zeros(int(starts[-1]), np.int32),
        spec=several[0].spec,
        digests=tuple(digest for one in several for digest in one.digests),
        recipe=" and ".join(dict.fromkeys(one.recipe for one in several)),
        texts=tuple(text for one in several for text in one.texts) if all(one.texts for one in several) else (),
    )


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _unlabelled(count: int) -> Labelled:
    return Labelled(np.zeros((count, 1), np.float32), (), "values")
