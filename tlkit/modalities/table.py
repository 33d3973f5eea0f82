"""Rows of a table, a tensor a column: clients send numbers and texts as they are, NaN and "" where one is missing.

Columns of texts are word pieces for the module that reads them, by its own vocabulary; clients of the SavedModel send
strings there too. The column of images is pixels at the size of its module.
"""

from __future__ import annotations

import dataclasses
import functools
import html
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, MergedColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.modality import FileInfo, InputInfo, Modality, Serving, Tensors
from tlkit.data.table import TABLE as READ
from tlkit.data.table import TableRows, columns_of, in_columns
from tlkit.data.table_columns import ENCODED, IMAGE, NUMBER, TEXT, TableColumn, checked_cells
from tlkit.data.table_formats import Table, read_any
from tlkit.data.table_images import grey, resized
from tlkit.data.table_module import MOST_VALUES
from tlkit.data.text import tokenized
from tlkit.formats.tflite_metadata import VOCABULARY, bert_tokenizer, image_input, plain_tensor
from tlkit.modalities.image import read, whole_pixels
from tlkit.modalities.image_shown import data_url
from tlkit.modalities.parsed import one_example
from tlkit.modalities.plain import serve_inputs
from tlkit.modalities.text import tables_of_pieces, tokenizer_of, vocabulary_file, wordpiece_in
from tlkit.tokenizing.wordpiece import INPUTS, WordPiece

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

_SAID = {
    NUMBER: "Number, NaN where it is missing",
    "category": 'Text, "" where it is missing',
    IMAGE: "RGB image, pixels 0 to 255; grey, 128, where there is none",
}
_DTYPES = {NUMBER: "float32", "category": "string", IMAGE: "float32"}
_SHOWN, _MOST = 60, 600  # columns of a row in the report, and characters of a cell
SEEN = "seen"  # of the pipeline's step: what training rows held, by input
CELL = "cell of "  # columns of examples that hold the texts of a column of texts begin so


def _prepare(data: Splits, layer: HubLayer, *, length: int | None = None) -> Splits:
    """Rows with the columns that the module takes; further ones are left out, which is noted.

    Args:
        data: Rows of a table.
        layer: The module of such a table.
        length: Word pieces of a row's texts, special ones included; None is what 99 % of the training rows need.

    Raises:
        InputError: If the module takes no table, or a column that the data lack or read as another kind.
    """
    columns, specs = columns_of(data.train.pipeline), layer.endpoint.inputs
    _check_taken(columns, layer)
    if isinstance(data.train.inputs, MergedColumn):
        return data  # it was made for such a module before
    chosen = [column for column in columns if column.input in specs or (column.kind == TEXT and INPUTS[0] in specs)]
    unknown = [_unknown(data, column) for column in layer.card.get("columns", ()) if "values" in column]
    notes = (*data.notes, *filter(None, unknown))
    further = [column.name for column in columns if column not in chosen]
    if further:
        notes = (*notes, f"{layer.handle} does not take the columns {', '.join(further[:10])}; they are left out.")
        data = _each(data, lambda part: _chosen(part, chosen))
    seen = _seen(data.train, chosen, layer)
    data = _each(dataclasses.replace(data, notes=notes), lambda part: _with_seen(part, seen))
    if all(column.kind in ENCODED for column in chosen):
        if length is not None:
            raise InputError("`length` is for tables with columns of texts; leave it out.")
        return data
    return _for_modules(data, chosen, layer, length)


def _check_taken(columns: Sequence[TableColumn], layer: HubLayer) -> None:
    specs = layer.endpoint.inputs
    if not isinstance(specs, Mapping):
        raise InputError(
            f"{layer.handle} takes no columns of a table: make a module for them, tlkit.data.table.module(data)."
        )
    kinds = {column.input: _DTYPES[column.kind] for column in columns if column.kind != TEXT}
    for name, spec in specs.items():
        if name in INPUTS:
            continue
        if name not in kinds:
            raise InputError(f"{layer.handle} takes the column {name!r}, and the data have {', '.join(kinds)}.")
        if kinds[name] != spec.dtype.name:
            raise InputError(
                f"{layer.handle} takes {spec.dtype.name} in the column {name!r}, and the data hold {kinds[name]}: read "
                "them with `like=` the data that the module was made of."
            )
    texts = [column.name for column in columns if column.kind == TEXT]
    needed = [column["name"] for column in layer.card.get("columns", ()) if column["kind"] == TEXT] or texts
    if INPUTS[0] in specs and texts != needed:
        raise InputError(f"{layer.handle} reads the texts of {', '.join(needed)}: read the data with texts={needed}.")


def _each(data: Splits, change: Callable[[Examples], Examples]) -> Splits:
    train, val, test = map(change, (data.train, data.val, data.test))
    return dataclasses.replace(data, train=train, val=val, test=test)


def _chosen(examples: Examples, columns: Sequence[TableColumn]) -> Examples:
    inputs = TableRows({column.input: _values_of(examples)[column.input] for column in columns})
    pipeline = examples.pipeline.then(READ, columns=[list(dataclasses.astuple(column)) for column in columns])
    return dataclasses.replace(examples, inputs=inputs, pipeline=pipeline)


def _seen(train: Examples, columns: Sequence[TableColumn], layer: HubLayer) -> dict[str, list[Any]]:
    """By input, the values of a category that the module knows, or least and most of a number in training."""
    known = {column["input"]: column["values"] for column in layer.card.get("columns", ()) if "values" in column}
    seen: dict[str, list[Any]] = {}
    for column in (column for column in columns if column.kind in ENCODED and len(train)):
        values = _values_of(train)[column.input].take(np.arange(len(train)))[:, 0]
        if column.kind != NUMBER:
            seen[column.input] = list(known.get(column.input, np.unique(values).tolist()))
        elif np.isfinite(values).any():
            seen[column.input] = [float(np.nanmin(values)), float(np.nanmax(values))]
    return {name: values for name, values in seen.items() if len(values) <= MOST_VALUES}


def _with_seen(examples: Examples, seen: Mapping[str, list[Any]]) -> Examples:
    """Examples whose pipeline says what was seen in training, which files and predictions have from it."""
    step = examples.pipeline.get(READ) or {}
    return dataclasses.replace(examples, pipeline=examples.pipeline.then(READ, **{**step, SEEN: seen}))


def _unlike(row: Mapping[str, Any], columns: Sequence[TableColumn], seen: Mapping[str, list[Any]]) -> list[str]:
    """What in a row was not in training, a sentence a column; what is missing is told elsewhere."""
    notes = []
    for column in (column for column in columns if column.input in seen):
        cell, values = row[column.input][0], seen[column.input]
        if column.kind != NUMBER and cell and cell not in values:
            notes.append(f"{column.name} {str(cell)!r:.40} is rare or unknown")
        if column.kind == NUMBER and (cell < values[0] or cell > values[1]):
            notes.append(f"{column.name} {cell:.6g} is outside {values[0]:.6g} to {values[1]:.6g}, where training was")
    return notes


def _values_of(examples: Examples) -> Mapping[str, Column]:
    if not isinstance(examples.inputs, DictColumn):
        raise InputError("Rows of a table must be a dict of columns, as tlkit.data.table reads them.")
    return examples.inputs.columns


# -- for the modules of texts and images


def _for_modules(data: Splits, columns: Sequence[TableColumn], layer: HubLayer, length: int | None) -> Splits:
    """Rows with word pieces in place of texts, and images at the size of their module."""
    specs = layer.endpoint.inputs
    names = [column.input for column in columns if column.kind == TEXT]
    pieces = None
    if names:
        fixed = specs[INPUTS[0]].shape[1]
        if fixed is not None and length not in (None, fixed):
            raise InputError(f"{layer.handle} takes texts of {fixed} pieces only. Received: length={length}.")
        if layer.tokenizer is None:
            raise InputError(f"{layer.handle} brings no vocabulary, so the texts of {names[0]!r} cannot be read.")
        pieces = tokenized(_each(data, lambda part: _of_texts(part, names)), layer.tokenizer, fixed or length)
        data = dataclasses.replace(data, notes=pieces.notes)
    image = next((column.input for column in columns if column.kind == IMAGE), None)
    size = None if image is None else (image, tuple(specs[image].shape[1:3]))
    rows = (data.train, data.val, data.test)
    token_parts = (None, None, None) if pieces is None else (pieces.train, pieces.val, pieces.test)
    train, val, test = (_merged(part, tokens, names, size) for part, tokens in zip(rows, token_parts, strict=True))
    return dataclasses.replace(data, train=train, val=val, test=test)


def _of_texts(examples: Examples, names: Sequence[str]) -> Examples:
    """The texts of each row as one, a line each."""
    cells = [_values_of(examples)[name] for name in names]
    texts = TextColumn([_joined([texts_of_column[i] for texts_of_column in cells]) for i in range(len(examples))])
    return dataclasses.replace(examples, inputs=texts, columns={})


def _joined(texts: Sequence[Any]) -> str:
    return "\n".join(map(str, texts))


def _merged(
    rows: Examples, pieces: Examples | None, names: Sequence[str], image: tuple[str, tuple[int, int]] | None
) -> Examples:
    """Rows with pieces, which come first, as lengths are those of the first input.

    Args:
        rows: With texts and images as they were read.
        pieces: The same rows as word pieces alone; None without texts.
        names: Inputs of the columns of texts.
        image: Input of the images, and (height, width).
    """
    cells = {name: column for name, column in _values_of(rows).items() if name not in names}
    columns = dict(rows.columns)
    if image is not None:
        cells[image[0]] = resized(cells[image[0]], image[1])
    elif pieces is not None:
        columns["length"] = pieces.columns["length"]
    columns |= {CELL + name: _values_of(rows)[name] for name in names}
    parts = [*([] if pieces is None else [pieces.inputs]), *([DictColumn(cells)] if cells else [])]
    pipeline = rows.pipeline if pieces is None else pieces.pipeline
    return dataclasses.replace(
        rows, inputs=MergedColumn(tuple(parts), rows.digests), columns=columns, pipeline=pipeline, modality=READ
    )


def _unknown(data: Splits, column: Mapping[str, Any]) -> str:
    """A note on test rows whose category the module does not know."""
    if not len(data.test) or column["input"] not in data.test.inputs.spec:
        return ""
    values = _values_of(data.test)[column["input"]].take(np.arange(len(data.test)))[:, 0]
    share = float((~np.isin(values, ["", *column["values"]])).mean())
    return f"{share:.1%} of the test rows have a rare or unknown {column['name']}." if share > 0.05 else ""


def _serve(model: keras.Model, examples: Examples) -> Serving:
    """Clients send a tensor a column, strings of texts among them, and images of any size."""
    import tensorflow as tf

    from tlkit.tokenizing.wordpiece_graph import GraphInputs

    columns = {column.input: column for column in columns_of(examples.pipeline)}
    tensors = {tensor.name: tensor for tensor in model.inputs}
    names = [name for name, column in columns.items() if column.kind == TEXT] if INPUTS[0] in tensors else []
    images = [name for name in tensors if name in columns and columns[name].kind == IMAGE]
    if not names and not images:
        return serve_inputs(model, examples)
    specs = {name: tf.TensorSpec(t.shape, t.dtype, name=name) for name, t in tensors.items() if name not in INPUTS}
    specs |= {name: tf.TensorSpec((None, 1), tf.string, name=name) for name in names}
    specs |= {name: tf.TensorSpec((None, None, None, 3), tf.uint8, name=name) for name in images}
    in_graph = None
    if names:
        length = int(examples.inputs.spec[INPUTS[0]].shape[0])
        in_graph = GraphInputs(tokenizer_of(model, WordPiece), length)

    def prepare(sent: Tensors) -> Tensors:
        ready = {name: sent[name] for name in tensors if name in sent}
        ready |= {name: whole_pixels(sent[name], tensors[name]) for name in images}
        if in_graph is None:
            return ready
        return ready | in_graph(tf.strings.join([sent[name][:, 0] for name in names], "\n"))

    return Serving(specs, prepare, in_graph, functools.partial(_sent, tuple(specs), tuple(names)))


def _sent(taken: Sequence[str], texts: Sequence[str], examples: Examples) -> Mapping[str, np.ndarray]:
    """What clients send for the examples."""
    rows = examples.inputs.take(np.arange(len(examples)))
    sent = {name: np.asarray(rows[name]) for name in taken if name not in texts}
    cells = {name: examples.columns[CELL + name] for name in texts}
    return sent | {
        name: np.array([str(column[i]) for i in range(len(column))], dtype=str).reshape(-1, 1)
        for name, column in cells.items()
    }


def _describe(model: keras.Model, examples: Examples) -> InputInfo:
    columns = {column.input: column for column in columns_of(examples.pipeline)}
    tables = {}
    for tensor in model.inputs:
        column = columns.get(tensor.name)
        text = "Input as the model was trained on." if column is None else f"{column.name}: {_SAID[column.kind]}."
        table = image_input(tensor.name) if column is not None and column.kind == IMAGE else {}
        tables[tensor.name] = plain_tensor(tensor.name, text) | table
    if INPUTS[0] not in tables:
        return InputInfo(tables)
    names = ", ".join(column.name for column in columns.values() if column.kind == TEXT)
    says = f"Word pieces are of the texts of {names}, a line each."
    files = {VOCABULARY: vocabulary_file(model)}
    return InputInfo(tables | tables_of_pieces(), (bert_tokenizer(),), files, says)


def _parse(source: Any, info: FileInfo) -> list[Examples]:
    """The rows of a file with the header of the training table, or of a JSON object; a mapping is one row."""
    columns, seen = columns_of(info.pipeline), (info.pipeline.get(READ) or {}).get(SEEN, {})
    if isinstance(source, Mapping):
        name, folder, rows = "row", Path(), Table({key: [value] for key, value in source.items()}, 1)
    else:
        name, folder, rows = str(source), Path(source).parent, _rows(Path(source))
    absent = [column.name for column in columns if column.name not in rows.columns]
    if absent:
        raise InputError(f"{name!r} lacks the column {absent[0]!r}: the model takes {_listed(columns)}.")
    inputs = in_columns(columns, rows.columns)
    odd = [(row, column, cell) for column in columns for row, cell in checked_cells(column, rows.columns[column.name])]
    count = len(inputs)
    names = [name] if count == 1 else [f"{name}, row {number}" for number in range(1, count + 1)]
    parsed = []
    for i in range(count):
        slips = [note.removesuffix(".") for note in rows.notes]
        slips += [f"{cell!r:.30} is no number in {column.name}" for row, column, cell in odd if row == i]
        slips += _unlike(inputs[i], columns, seen)
        encoded = _encoded(inputs.subset([i]), columns)
        if any(column.kind not in ENCODED for column in columns):
            more, cut = _of_modules(inputs[i], columns, info, folder)
            encoded, slips = DictColumn({**encoded.columns, **more}), [*slips, *cut]
        parsed.append(one_example(names[i], READ, encoded, _note(inputs[i], columns, slips), info.pipeline))
    return parsed


def _of_modules(
    row: Mapping[str, Any], columns: Sequence[TableColumn], info: FileInfo, folder: Path
) -> tuple[dict[str, Column], list[str]]:
    """What the modules of texts and images take of a row, and what was done to it."""
    arrays: dict[str, np.ndarray] = {}
    notes: list[str] = []
    for column in columns:
        if column.kind == IMAGE:
            height, width = info.shapes[column.input][:2]
            cell = row[column.input]
            path = folder / Path(cell).expanduser() if cell else None
            if path is None:
                arrays[column.input] = grey(height, width)
            else:
                arrays[column.input], odd = read(path, height, width, info.pipeline)
                notes += [f"{cell!r:.100}: {odd}"] if odd else []
    names = [column.input for column in columns if column.kind == TEXT]
    if names:
        wordpiece, length = wordpiece_in(info), info.shapes[INPUTS[0]][0]
        joined = _joined([row[name] for name in names])
        arrays |= wordpiece.inputs(joined, length)
        needed = wordpiece.count(joined)
        notes += [f"cut to {length} of {needed} word pieces"] if needed > length else []
    return {name: ArrayColumn(array[None]) for name, array in arrays.items()}, notes


def _rows(file: Path) -> Table:
    if file.suffix.lower() != ".json":
        return read_any(file)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{str(file)!r} cannot be read as JSON: {error}.") from error
    rows = value if isinstance(value, list) else [value]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{str(file)!r} must hold a JSON object, one value a column, or a list of such.")
    names = dict.fromkeys(name for row in rows for name in row)
    return Table({name: [row.get(name) for row in rows] for name in names}, 1)


def _encoded(row: Column, columns: Sequence[TableColumn]) -> DictColumn:
    """Texts in UTF-8, as files take them."""
    values = row.take(np.arange(len(row)))
    return DictColumn(
        {
            column.input: ArrayColumn(np.char.encode(values[column.input], "utf-8"))
            if column.kind != NUMBER
            else ArrayColumn(values[column.input])
            for column in columns
            if column.kind in ENCODED
        }
    )


def _note(row: Mapping[str, Any], columns: Sequence[TableColumn], slips: Sequence[str]) -> str:
    cells = {c.name: row[c.input] if c.kind not in ENCODED else row[c.input][0] for c in columns}
    lacking = [name for name, cell in cells.items() if cell == "" or (isinstance(cell, np.floating) and np.isnan(cell))]
    return "; ".join([*slips, f"missing: {', '.join(lacking)}"] if lacking else slips)


def _listed(columns: Sequence[TableColumn]) -> str:
    return ", ".join(column.name for column in columns[:20])


def _show(examples: Examples, index: int) -> str:
    """The cells of a row as HTML."""
    row = examples.inputs[index]
    cells = "".join(
        f"<tr><th>{html.escape(column.name)}</th><td>{_cell(column, row, examples, index)}</td></tr>"
        for column in columns_of(examples.pipeline)[:_SHOWN]
    )
    return f"<table>{cells}</table>"


def _cell(column: TableColumn, row: Mapping[str, Any], examples: Examples, index: int) -> str:
    if column.kind == IMAGE:
        url = data_url(np.asarray(row[column.input]))
        return "" if url is None else f'<img src="{url}" alt="{html.escape(column.name)}" loading="lazy">'
    if column.kind == TEXT:
        return html.escape(str(examples.columns[CELL + column.input][index])[:_MOST])
    value = row[column.input][0]
    return html.escape(str(value)) if isinstance(value, str) else "" if np.isnan(value) else f"{float(value):g}"


TABLE = Modality("table", _prepare, serve=_serve, describe=_describe, parse=_parse, show=_show)
