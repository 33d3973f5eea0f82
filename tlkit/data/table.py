"""Rows of tables as `Splits`: numbers, categories, texts and images by column, of CSV, Parquet, pandas or TFDS.

Inputs are a dict of columns by name: float32 (1,), NaN where a number is missing, and a text (1,), "" where a category
is; whole texts and images for modules of their own. What a column holds is established from all rows and noted; `like`
takes it from other data, so that a slice of few rows is read as the whole was. `module` makes the module that such data
are learned through.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Pipeline, Splits
from tlkit.core.files import sha256_bytes
from tlkit.core.remote import beside
from tlkit.data import table_images, tfds_source
from tlkit.data.assembly import assemble
from tlkit.data.image_source import IMAGE as IMAGE_STEP
from tlkit.data.labelling import Labelled
from tlkit.data.listing import noted
from tlkit.data.splitting import SHARES, Groups, checked_shares, group_names, shares_of
from tlkit.data.table_columns import (
    ENCODED,
    IMAGE,
    MOSTLY,
    NUMBER,
    Established,
    TableColumn,
    as_categories,
    as_numbers,
    as_texts,
    checked_cells,
    establish,
)
from tlkit.data.table_formats import Table, read_any
from tlkit.data.table_module import module
from tlkit.formats.hub_module import CARD_FILE

__all__ = ["from_frame", "from_table", "from_tfds", "module"]


def __dir__() -> list[str]:
    return sorted(__all__)


TABLE = "table"  # the modality, and the step of the pipeline that says the columns
_EACH_SAYS = 50  # rows from which a column that tells every label is suspicious
_FEW_VALUES = 0.2  # share of the rows below which its values are few


def from_table(
    table: str | os.PathLike[str],
    *,
    label: str | Sequence[str] = "label",
    numbers: Sequence[str] = (),
    categories: Sequence[str] = (),
    texts: Sequence[str] = (),
    images: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    like: Splits | str | os.PathLike[str] | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    split: Sequence[float] | str = SHARES,
    seed: int = 0,
    groups: Groups | str | None = None,
) -> Splits:
    """A table with a header, one example a row: CSV or TSV, JSON Lines, or Parquet (extra `text`).

    Args:
        table: The file: .csv, .tsv, .jsonl or .parquet.
        label: Column of the classes; a list of columns gives numbers to regress, float32 (n, k).
        numbers: Columns that hold numbers whatever else is in them; None of them need be named.
        categories: Columns that hold categories though they are numbers, such as postcodes.
        texts: Columns that hold texts, which `module` has a module for; several are read as one, in this order.
        images: The column that holds paths of images, from the table's folder on; `module` has a module for them too.
        leave_out: Columns that the model does not get, such as other labels.
        like: Data whose columns and labels these rows have too, or the folder of a table's module; what columns hold is
            then not established again, and `numbers`, `categories`, `texts` and `images` must be left out.
        encoding: Python's name of the file's encoding; None reads UTF-8, and notes what else is found.
        separator: The character between the columns of CSV and TSV; None finds it.
        split: Shares of training, validation and test, or the column that holds train, val or test.
        seed: Another seed gives another division.
        groups: What must stay on one side: the column that names the groups, a function of ids such as "row 17", or a
            mapping from them.

    Raises:
        InputError: If the table cannot be read, a column or a label is missing, or no column tells rows apart.
    """
    rows = read_any(table, encoding, separator)
    named = {"numbers": numbers, "categories": categories, "texts": texts, "images": images, "leave_out": leave_out}
    return _read(rows, label, named, like, split, seed, groups, folder=functools.partial(beside, table))


def from_frame(
    frame: Any,
    *,
    label: str | Sequence[str] = "label",
    numbers: Sequence[str] = (),
    categories: Sequence[str] = (),
    texts: Sequence[str] = (),
    images: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    like: Splits | str | os.PathLike[str] | None = None,
    split: Sequence[float] | str = SHARES,
    seed: int = 0,
    groups: Groups | str | None = None,
) -> Splits:
    """A pandas DataFrame, or a dict of columns; rows are named by their position.

    Args:
        frame: What `.items()` gives names and columns of.
        label, numbers, categories, texts, leave_out, like, split, seed, groups: As in `from_table`.
        images: As in `from_table`; paths from the current folder on.

    Raises:
        InputError: If it is no frame, its columns differ in length, and as `from_table`.

    Example:
        >>> rows = {"age": [25, 38, 51, 44], "job": ["cook", "clerk", "cook", "clerk"], "label": ["a", "b"] * 2}
        >>> from_frame(rows, split=(0.5, 0, 0.5)).train.inputs.spec["age"]
        ArraySpec(shape=(1,), dtype='float32')
    """
    if not hasattr(frame, "items"):
        raise InputError(f"`frame` must be a pandas DataFrame or a dict of columns. Received: {type(frame).__name__}.")
    columns: dict[str, list[Any]] = {}
    for name, column in frame.items():
        if str(name) in columns:
            raise InputError(f"The frame has two columns {str(name)!r:.60}: rename one of them.")
        columns[str(name)] = _cells(column, str(name))
    sizes = {name: len(cells) for name, cells in columns.items()}
    if len(set(sizes.values())) != 1 or not next(iter(sizes.values())):
        raise InputError(f"The columns of a frame must have one length, above 0. Received: {sizes}.")
    named = {"numbers": numbers, "categories": categories, "texts": texts, "images": images, "leave_out": leave_out}
    return _read(Table(columns, 0), label, named, like, split, seed, groups)


def from_tfds(
    builder: Any,
    *,
    label: str | Sequence[str] = "label",
    numbers: Sequence[str] = (),
    categories: Sequence[str] = (),
    texts: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    split: Sequence[float] = SHARES,
    seed: int = 0,
) -> Splits:
    """A TensorFlow Datasets builder whose features are single numbers, texts and classes.

    Args:
        builder: Its name, its folder, or the builder itself.
        label: The feature to predict; a list of features gives numbers to regress.
        numbers, categories, texts, leave_out, seed: As in `from_table`.
        split: As in `from_table`, for a builder with one split; of several, one that is missing is taken out of train.

    Raises:
        InputError: If it cannot be opened, or has features of several values, and as `from_table`.
    """
    rows = tfds_source.open_rows(builder)
    table = Table({name: list(cells) for name, cells in rows.columns.items()}, 0, rows.notes)
    named = {"numbers": numbers, "categories": categories, "texts": texts, "leave_out": leave_out}
    return _read(table, label, named, None, split, seed, None, rows)


def columns_of(pipeline: Pipeline) -> tuple[TableColumn, ...]:
    """The columns of data that were read as tables; () of others."""
    step = pipeline.get(TABLE)
    return () if step is None else tuple(TableColumn(*row) for row in step["columns"])


@dataclass(frozen=True, eq=False, repr=False)
class TableRows(DictColumn):
    """Columns of one value a row, with one digest a row: the same for the same cells, whatever table they are in."""

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """sha256 of names and cells of each row."""
        cells = [
            column.values[:, 0].tolist() if isinstance(column, ArrayColumn) else column.digests
            for column in self.columns.values()
        ]
        names = "\x1f".join(self.columns)
        return tuple(sha256_bytes(names, "\x1f".join(map(str, row))) for row in zip(*cells, strict=True))

    def subset(self, indices: Sequence[int]) -> TableRows:
        """The rows at `indices`, with their digests."""
        chosen = TableRows({name: column.subset(indices) for name, column in self.columns.items()})
        if "digests" in self.__dict__:
            chosen.__dict__["digests"] = tuple(self.digests[int(i)] for i in indices)
        return chosen


def in_columns(columns: Sequence[TableColumn], cells: Mapping[str, Sequence[Any]]) -> TableRows:
    """Cells by the names of a header as a model takes them; what is no number in a column of numbers is missing.

    Columns of images hold their paths.

    Raises:
        InputError: If a cell holds several values, or a number that float32 cannot hold.
    """
    for column in columns:
        checked_cells(column, cells[column.name])
    return TableRows({column.input: _column(column.kind, cells[column.name]) for column in columns})


def _column(kind: str, cells: Sequence[Any]) -> Column:
    if kind not in ENCODED:
        return TextColumn(as_texts(cells))
    return ArrayColumn((as_numbers if kind == NUMBER else as_categories)(cells))


# -- how it is read


def _cells(column: Any, name: str) -> list[Any]:
    values = column.tolist() if hasattr(column, "tolist") else column
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise InputError(f"The column {name!r} of a frame must hold one value a row. Received: {values!r:.60}.")
    return list(values)


def _read(
    rows: Table,
    label: str | Sequence[str],
    named: Mapping[str, Sequence[str]],
    like: Splits | str | os.PathLike[str] | None,
    split: Sequence[float] | str,
    seed: int,
    groups: Groups | str | None,
    fixed: tfds_source.Rows | None = None,
    folder: Callable[[], Path] = Path,
) -> Splits:
    started = time.perf_counter()
    shares = checked_shares(shares_of(split))
    labelled = _like_labels(rows.labelled(label), like)
    aside = [label] if isinstance(label, str) else list(label)
    aside += [name for name in (split, groups) if isinstance(name, str)]
    cells_of_column = {name: cells for name, cells in rows.columns.items() if name not in aside}
    established = establish(cells_of_column, **named) if like is None else _like_columns(cells_of_column, like, named)
    parts = rows.parts(split) or (list(fixed.parts) if fixed is not None else [])
    ids = fixed.ids if fixed is not None else tuple(f"row {rows.first + i}" for i in range(len(labelled.targets)))
    whole = Examples(
        ids=ids,
        inputs=in_columns(established.columns, cells_of_column),
        targets=ArrayColumn(labelled.targets),
        modality=TABLE,
        pipeline=Pipeline().then(TABLE, columns=[list(dataclasses.astuple(column)) for column in established.columns]),
        groups=group_names(rows.owners(groups), ids),
    )
    missing = _missing(whole)
    pictures = _images_of(whole, folder, like)
    if pictures is not None:
        whole, labelled, parts = _with_images(whole, labelled, parts, pictures)
    splits = assemble(
        whole,
        dataclasses.replace(labelled, notes=()),
        shares=shares,
        seed=seed,
        fixed=parts,
        quarantine=() if pictures is None else pictures.quarantine,
    )
    odd = () if pictures is None else pictures.notes
    leaks = _leaks(whole, labelled, established.columns)
    notes = (*rows.notes, *established.notes, *odd, *labelled.notes, *missing, *leaks)
    of_rows = tuple(note for note in splits.notes if "under different labels" not in note)  # common, and no mistake
    splits = dataclasses.replace(splits, duplicates=(), notes=of_rows, seconds=0.0)
    return dataclasses.replace(noted(splits, (*notes, *_repeated(splits))), seconds=time.perf_counter() - started)


def _images_of(whole: Examples, folder: Callable[[], Path], like: Like | None) -> table_images.Opened | None:
    """The images of the rows; None where no column holds any."""
    columns = [column for column in columns_of(whole.pipeline) if column.kind == IMAGE]
    if len(columns) > 1:
        raise InputError(f"A table has one column of images. Received: {', '.join(c.name for c in columns)}.")
    if not columns:
        return None
    cells = whole.inputs.columns[columns[0].input].texts  # type: ignore[attr-defined]
    step = like.train.pipeline.get(IMAGE_STEP) if isinstance(like, Splits) else None
    return table_images.opened(whole.ids, cells, folder(), step)


def _with_images(
    whole: Examples, labelled: Labelled, parts: Sequence[int], pictures: table_images.Opened
) -> tuple[Examples, Labelled, list[int]]:
    """The rows whose images can be read, with these in place of their paths."""
    sound, (input_name,) = pictures.sound, [c.input for c in columns_of(whole.pipeline) if c.kind == IMAGE]
    cells = {name: column.subset(sound) for name, column in whole.inputs.columns.items()}  # type: ignore[attr-defined]
    pipeline = whole.pipeline.then(IMAGE_STEP, **pictures.pipeline.get(IMAGE_STEP) or {})
    whole = dataclasses.replace(
        whole.subset(sound), inputs=TableRows({**cells, input_name: pictures.column}), pipeline=pipeline
    )
    labelled = dataclasses.replace(labelled, targets=labelled.targets[np.asarray(sound, np.int64)])
    return whole, labelled, [parts[i] for i in sound] if len(parts) else []


Like = Splits | str | os.PathLike[str]


def _like_labels(labelled: Labelled, like: Like | None) -> Labelled:
    """Class numbers as other data have them."""
    if not isinstance(like, Splits) or labelled.kind != "classes":
        return labelled
    unknown = sorted(set(labelled.names) - set(like.labels))
    if unknown:
        raise InputError(f"The label {unknown[0]!r:.60} is not among those of `like`: {', '.join(like.labels[:10])}.")
    number = np.array([like.labels.index(name) for name in labelled.names], np.int32)
    return dataclasses.replace(labelled, targets=number[labelled.targets], names=like.labels)


def _like_columns(table: Mapping[str, Sequence[Any]], like: Like, named: Mapping[str, Sequence[str]]) -> Established:
    """The columns of `like`, which says what they hold: `named` may leave out others, and nothing else."""
    columns = columns_of(like.train.pipeline) if isinstance(like, Splits) else _of_card(Path(like))
    if not columns:
        received = "" if isinstance(like, Splits) else f" Received: {str(like)!r:.200}."
        raise InputError(
            f"`like` must be data that tlkit.data.table has read, or the folder of a table's module.{received}"
        )
    word = next((word for word, names in named.items() if names and word != "leave_out"), None)
    if word is not None:
        raise InputError(
            f"`like` says what the columns hold: leave out `{word}`. Received: {word}={list(named[word])}."
        )
    for column in columns:
        if column.name in named["leave_out"]:
            raise InputError(f"`like` has the column {column.name!r}: `leave_out` may name columns that it lacks.")
    absent = [column.name for column in columns if column.name not in table]
    if absent:
        raise InputError(f"The table lacks the column {absent[0]!r} that `like` has: it has {', '.join(table)}.")
    return Established(columns, tuple(_slips(columns, table)))


def _slips(columns: Sequence[TableColumn], table: Mapping[str, Sequence[Any]]) -> list[str]:
    """A note on each column of numbers that holds something else, which is missing then.

    Raises:
        InputError: If that is more than some slips: the column is written otherwise than that of `like`.
    """
    notes = []
    for column in columns:
        odd, total = checked_cells(column, table[column.name]), len(table[column.name])
        if len(odd) > (1 - MOSTLY) * total:
            raise InputError(
                f"The column {column.name!r} of `like` holds numbers, and {len(odd):,} of {total:,} cells here are "
                f"none, such as {odd[0][1]!r:.30}: write them as 1234.5."
            )
        if odd:
            notes.append(
                f"{len(odd):,} of {total:,} cells of {column.name!r} are no numbers ({odd[0][1]!r:.30}): missing."
            )
    return notes


def _of_card(folder: Path) -> tuple[TableColumn, ...]:
    """The columns that the card of a table's module names; () where there is none."""
    try:
        rows = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))["columns"]
        return tuple(TableColumn(row["name"], row["input"], row["kind"]) for row in rows)
    except (OSError, ValueError, LookupError, TypeError):
        return ()


# -- notes


def _missing(whole: Examples) -> list[str]:
    """A note on columns with missing cells."""
    shares = {c.name: missing_share(_cells_of(whole, c.input)) for c in columns_of(whole.pipeline)}
    lacking = {name: share for name, share in shares.items() if share}
    if not lacking:
        return []
    listed = ", ".join(f"{name} {share:.1%}" for name, share in list(lacking.items())[:10])
    counted = f"{len(lacking)} column{'s' * (len(lacking) != 1)}"
    return [f"Cells are missing in {counted}: {listed}{', ...' if len(lacking) > 10 else ''}."]


def _cells_of(examples: Examples, name: str) -> np.ndarray:
    """What a column holds, (n,)."""
    column = examples.inputs.columns[name]  # type: ignore[attr-defined]
    return np.asarray(column.take(np.arange(len(column)))).reshape(-1)


def missing_share(values: np.ndarray) -> float:
    """Share of numbers that are NaN, or of texts that are ""."""
    missing = np.isnan(values) if values.dtype.kind == "f" else values == ""
    return float(missing.mean()) if len(values) else 0.0


def _repeated(splits: Splits) -> list[str]:
    """A note on rows of val and test that equal a row of training in every column."""
    trained = set(splits.train.digests)
    held_out = (*splits.val.digests, *splits.test.digests)
    count = sum(digest in trained for digest in held_out)
    if not count:
        return []
    return [f"{count:,} of {len(held_out):,} rows of val and test equal a training row in every column."]


def _leaks(whole: Examples, labelled: Labelled, columns: Sequence[TableColumn]) -> list[str]:
    """A note on each column whose few values, or bounds, tell every label: the label under another name, perhaps."""
    if labelled.kind != "classes" or len(whole) < _EACH_SAYS:
        return []
    suspects = []
    for column in (c for c in columns if c.kind in ENCODED):
        values = _cells_of(whole, column.input)
        _, of_value = np.unique(values, return_inverse=True)
        pairs = len(np.unique(of_value.astype(np.int64) * len(labelled.names) + labelled.targets))
        one_label = pairs == of_value.max() + 1  # for each value
        if one_label and (pairs <= _FEW_VALUES * len(whole) or _bounded(values, labelled)):
            suspects.append(column.name)
    return [
        f"The column {name!r} alone tells the label of every row: leave it out if it is not known beforehand."
        for name in suspects
    ]


def _bounded(values: np.ndarray, labelled: Labelled) -> bool:
    """Whether numbers of each label lie together: as many runs in their order as there are labels."""
    if values.dtype.kind != "f":
        return False
    in_order = np.asarray(labelled.targets)[np.argsort(values, kind="stable")]
    return int((np.diff(in_order) != 0).sum()) + 1 == len(np.unique(in_order))
