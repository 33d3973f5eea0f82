"""The few examples that a run keeps, so that later exports can be measured and judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core import excerpts
from tlkit.core.batches import order_of_epoch
from tlkit.core.columns import ArrayColumn, DictColumn, RaggedColumn, ReadColumn, TextColumn
from tlkit.core.examples import Column, Examples, Pipeline, Splits
from tlkit.core.files import atomic_file
from tlkit.core.run import Run
from tlkit.runs import earlier_examples

KEPT_TRAIN, KEPT_TEST = 100, 500  # examples kept for later exports: int8 calibration, and those to check on
Arrays = dict[str, np.ndarray]


def keep(run: Run, path: Path) -> None:
    """Write the examples of a run that later exports need, whole or not at all."""
    arrays: Arrays = {"labels": np.asarray(run.data.labels, dtype=str)}
    for name, examples in _to_keep(run.data).items():
        about = {
            "modality": examples.modality,
            "pipeline": examples.pipeline.plain(),
            "inputs": _packed(examples.inputs, f"{name}.inputs", arrays),
            "targets": _packed(examples.targets, f"{name}.targets", arrays),
            "columns": {key: _packed(part, f"{name}.columns.{key}", arrays) for key, part in examples.columns.items()},
        }
        arrays[f"{name}.ids"] = np.asarray(examples.ids, dtype=str)
        arrays[f"{name}.digests"] = np.asarray(examples.digests, dtype=str)
        arrays[f"{name}.about"] = _as_bytes(about)
    with atomic_file(path) as partial:
        np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]


def kept(arrays: Mapping[str, np.ndarray], name: str) -> Examples:
    """The examples of one part ("train", "val", "test"), out of the arrays that `keep` wrote.

    Raises:
        ValueError, LookupError, TypeError: If the arrays are not what it wrote.
    """
    if f"{name}.about" not in arrays:
        return earlier_examples.kept(arrays, name)
    about = json.loads(arrays[f"{name}.about"].tobytes())
    inputs = _unpacked(about["inputs"], f"{name}.inputs", arrays)
    digests = tuple(str(digest) for digest in arrays[f"{name}.digests"])
    return Examples(
        ids=tuple(str(i) for i in arrays[f"{name}.ids"]),
        inputs=ReadColumn(inputs.__getitem__, inputs.spec, digests),
        targets=_unpacked(about["targets"], f"{name}.targets", arrays),
        modality=str(about["modality"]),
        pipeline=Pipeline.of(about["pipeline"]),
        columns={key: _unpacked(form, f"{name}.columns.{key}", arrays) for key, form in dict(about["columns"]).items()},
    )


def _to_keep(data: Splits) -> dict[str, Examples]:
    """Examples by split: some to measure ranges with, and those that later exports are checked on."""
    if len(data.test):
        return {"train": _chosen(data.train, KEPT_TRAIN), "test": _chosen(data.test, KEPT_TEST)}
    if len(data.val):
        return {"train": _chosen(data.train, KEPT_TRAIN), "val": _chosen(data.val, KEPT_TEST), "test": data.test}
    return {"train": _chosen(data.train, KEPT_TEST), "test": data.test}


def _chosen(examples: Examples, most: int) -> Examples:
    """At most `most` of the examples, spread evenly over a fixed order."""
    count = len(excerpts.whole(examples))
    if count <= most:
        return examples
    return excerpts.of_texts(examples, np.sort(order_of_epoch(count, 0, 0, 0)[:most]).tolist())


def _packed(column: Column, place: str, arrays: Arrays) -> dict[str, Any]:
    """Put the values of a column into `arrays`, under names that begin with `place`; returns how they lie there."""
    if isinstance(column, DictColumn):
        return {"dict": {key: _packed(part, f"{place}.{key}", arrays) for key, part in column.columns.items()}}
    if isinstance(column, TextColumn):
        different = {text: number for number, text in enumerate(dict.fromkeys(column.texts))}
        arrays[place] = _as_bytes([list(different), [different[text] for text in column.texts]])
        return {"texts": len(column)}
    if isinstance(column, RaggedColumn):
        rows = column.rows or (np.zeros(0, np.float32),)
        arrays[place], arrays[f"{place}.sizes"] = np.concatenate(rows), np.array([len(row) for row in column.rows])
        return {"ragged": column.fill, "most": column.most}
    if isinstance(column, ArrayColumn):
        arrays[place] = column.values
        return {"array": len(column)}
    return _packed(_plain(column), place, arrays)


def _plain(column: Column) -> Column:
    """What a column reads, in memory."""
    values = column.take(np.arange(len(column)))
    if isinstance(values, Mapping):
        return DictColumn({key: _plain_array(np.asarray(array)) for key, array in values.items()})
    return _plain_array(np.asarray(values))


def _plain_array(values: np.ndarray) -> Column:
    if not values.dtype.hasobject:
        return ArrayColumn(values)
    return TextColumn([str(value) for value in values]) if values.ndim == 1 else ArrayColumn(values.astype(str))


def _unpacked(form: Mapping[str, Any], place: str, arrays: Mapping[str, np.ndarray]) -> Column:
    if "dict" in form:
        return DictColumn({key: _unpacked(packed, f"{place}.{key}", arrays) for key, packed in form["dict"].items()})
    if "texts" in form:
        texts, rows = json.loads(arrays[place].tobytes())
        return TextColumn([texts[row] for row in rows])
    if "ragged" in form:
        ends = np.cumsum(arrays[f"{place}.sizes"])[:-1]
        rows = np.split(arrays[place], ends) if len(arrays[f"{place}.sizes"]) else []
        return RaggedColumn(rows, form["ragged"], form["most"])
    return ArrayColumn(arrays[place])


def _as_bytes(plain: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(plain).encode(), np.uint8)
