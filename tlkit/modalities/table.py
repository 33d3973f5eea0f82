"""Rows of a table, a tensor a column: clients send numbers and texts as they are, NaN and "" where one is missing."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.modality import FileInfo, InputInfo, Modality
from tlkit.data.table import TABLE as READ
from tlkit.data.table import TableRows, columns_of, in_columns
from tlkit.data.table_columns import NUMBER, TableColumn, checked_cells
from tlkit.data.table_formats import read_any
from tlkit.formats.tflite_metadata import plain_tensor
from tlkit.modalities.parsed import one_example

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

_SAID = {NUMBER: "Number, NaN where it is missing", "category": 'Text, "" where it is missing'}
_SHOWN = 60  # columns of a row in the report


def _prepare(data: Splits, layer: HubLayer) -> Splits:
    """Rows with the columns that the module takes; further ones are left out, which is noted.

    Raises:
        InputError: If the module takes no table, or a column that the data lack or read as another kind.
    """
    taken = layer.endpoint.inputs
    if not isinstance(taken, Mapping):
        raise InputError(
            f"{layer.handle} takes no columns of a table: make a module for them, tlkit.data.table.module(data)."
        )
    columns = columns_of(data.train.pipeline)
    kinds = {column.input: "string" if column.kind != NUMBER else "float32" for column in columns}
    for name, spec in taken.items():
        if name not in kinds:
            raise InputError(f"{layer.handle} takes the column {name!r}, and the data have {', '.join(kinds)}.")
        if kinds[name] != spec.dtype.name:
            raise InputError(
                f"{layer.handle} takes {spec.dtype.name} in the column {name!r}, and the data hold {kinds[name]}: read "
                "them with `like=` the data that the module was made of."
            )
    further = [column for column in columns if column.input not in taken]
    notes = data.notes
    if further:
        names = ", ".join(column.name for column in further[:10])
        notes = (*notes, f"{layer.handle} does not take the columns {names}; they are left out.")
        train, val, test = (_chosen(part, taken) for part in (data.train, data.val, data.test))
        data = dataclasses.replace(data, train=train, val=val, test=test)
    unknown = [_unknown(data, column) for column in layer.card.get("columns", ()) if "values" in column]
    return dataclasses.replace(data, notes=(*notes, *filter(None, unknown)))


def _chosen(examples: Examples, taken: Mapping[str, Any]) -> Examples:
    columns = [column for column in columns_of(examples.pipeline) if column.input in taken]
    inputs = TableRows({name: _values_of(examples)[name] for name in taken})
    pipeline = examples.pipeline.then(READ, columns=[list(dataclasses.astuple(column)) for column in columns])
    return dataclasses.replace(examples, inputs=inputs, pipeline=pipeline)


def _values_of(examples: Examples) -> Mapping[str, Column]:
    if not isinstance(examples.inputs, DictColumn):
        raise InputError("Rows of a table must be a dict of columns, as tlkit.data.table reads them.")
    return examples.inputs.columns


def _unknown(data: Splits, column: Mapping[str, Any]) -> str:
    """A note on test rows whose category the module does not know."""
    if not len(data.test) or column["input"] not in data.test.inputs.spec:
        return ""
    values = np.asarray(data.test.inputs.take(np.arange(len(data.test)))[column["input"]])[:, 0]
    share = float((~np.isin(values, ["", *column["values"]])).mean())
    return f"{share:.1%} of the test rows have a rare or unknown {column['name']}." if share > 0.05 else ""


def _describe(model: keras.Model, examples: Examples) -> InputInfo:
    columns = {column.input: column for column in columns_of(examples.pipeline)}
    tables = {}
    for tensor in model.inputs:
        column = columns.get(tensor.name)
        said = "Input as the model was trained on." if column is None else f"{column.name}: {_SAID[column.kind]}."
        tables[tensor.name] = plain_tensor(tensor.name, said)
    return InputInfo(tables)


def _parse(source: Any, info: FileInfo) -> list[Examples]:
    """The rows of a file with the header of the training table, or of a JSON object; a mapping is one row."""
    columns = columns_of(info.pipeline)
    if isinstance(source, Mapping):
        name, rows = "row", {key: [value] for key, value in source.items()}
    else:
        name, rows = str(source), dict(_rows(Path(source)))
    absent = [column.name for column in columns if column.name not in rows]
    if absent:
        raise InputError(f"{name!r} lacks the column {absent[0]!r}: the model takes {_listed(columns)}.")
    inputs = in_columns(columns, rows)
    odd = [(row, column, cell) for column in columns for row, cell in checked_cells(column, rows[column.name])]
    count = len(inputs)
    names = [name] if count == 1 else [f"{name}, row {number}" for number in range(1, count + 1)]
    return [
        one_example(
            names[i], READ, _encoded(inputs.subset([i]), columns), _note(inputs[i], columns, said), info.pipeline
        )
        for i in range(count)
        for said in [[f"{cell!r:.30} is no number in {column.name}" for row, column, cell in odd if row == i]]
    ]


def _rows(file: Path) -> Mapping[str, list[Any]]:
    if file.suffix.lower() != ".json":
        return read_any(file).columns
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{str(file)!r} cannot be read as JSON: {error}.") from error
    rows = value if isinstance(value, list) else [value]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{str(file)!r} must hold a JSON object, one value a column, or a list of such.")
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _encoded(row: Column, columns: Sequence[TableColumn]) -> DictColumn:
    """Texts in UTF-8, as files take them."""
    values = row.take(np.arange(len(row)))
    return DictColumn(
        {
            column.input: ArrayColumn(np.char.encode(values[column.input], "utf-8"))
            if column.kind != NUMBER
            else ArrayColumn(values[column.input])
            for column in columns
        }
    )


def _note(row: Mapping[str, Any], columns: Sequence[TableColumn], said: Sequence[str]) -> str:
    lacking = [c.name for c in columns if row[c.input][0] == "" or row[c.input][0] != row[c.input][0]]
    return "; ".join([*said, f"missing: {', '.join(lacking)}"] if lacking else said)


def _listed(columns: Sequence[TableColumn]) -> str:
    return ", ".join(column.name for column in columns[:20])


def _show(examples: Examples, index: int) -> str:
    """The cells of a row as HTML."""
    row = examples.inputs[index]
    cells = "".join(
        f"<tr><th>{html.escape(column.name)}</th><td>{html.escape(_cell(row[column.input][0]))}</td></tr>"
        for column in columns_of(examples.pipeline)[:_SHOWN]
    )
    return f"<table>{cells}</table>"


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, str) else "" if np.isnan(value) else f"{float(value):g}"


TABLE = Modality("table", _prepare, describe=_describe, parse=_parse, show=_show)
