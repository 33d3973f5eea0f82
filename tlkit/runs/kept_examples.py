"""The few examples that a run keeps, so that later exports can be measured and judged."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core import excerpts
from tlkit.core.batches import chunks, order_of_epoch, outputs_at_once
from tlkit.core.columns import ArrayColumn, DictColumn, DigestedColumn, RaggedColumn, TextColumn
from tlkit.core.disk_arrays import disk_array
from tlkit.core.examples import ArraySpec, Column, Examples, Pipeline, Spec, Splits
from tlkit.core.files import PARTIAL, atomic_file
from tlkit.core.run import Run
from tlkit.runs import earlier_examples

KEPT_TRAIN, KEPT_TEST = 100, 500  # examples kept for later exports: int8 calibration, and those to check on
Arrays = dict[str, np.ndarray]


def keep(run: Run, path: Path) -> None:
    """Write the examples of a run that later exports need, whole or not at all."""
    data = run.data
    arrays: Arrays = {"labels": np.asarray(data.labels, dtype=str)}
    arrays["about"] = _as_bytes({"heads": dict(data.heads), "notes": data.notes})
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as scratch, atomic_file(path) as partial:
        pack = Packer(arrays, Path(scratch))
        for name, examples in _to_keep(data).items():
            about = {
                "modality": examples.modality,
                "pipeline": examples.pipeline.plain(),
                "inputs": pack(examples.inputs, f"{name}.inputs"),
                "targets": pack(examples.targets, f"{name}.targets"),
                "columns": {key: pack(part, f"{name}.columns.{key}") for key, part in examples.columns.items()},
                "groups": examples.groups,
            }
            if examples.weights is not None:
                arrays[f"{name}.weights"] = examples.weights
            arrays[f"{name}.ids"] = np.asarray(examples.ids, dtype=str)
            arrays[f"{name}.digests"] = np.asarray(examples.digests, dtype=str)
            arrays[f"{name}.about"] = _as_bytes(about)
        np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]


def kept_splits(arrays: Mapping[str, np.ndarray]) -> Splits:
    """The examples that `keep` wrote, and what is known of all of them.

    Raises:
        ValueError, LookupError, TypeError: If the arrays are not what it wrote.
    """
    about = json.loads(arrays["about"].tobytes()) if "about" in arrays else {"heads": {}, "notes": []}
    test = kept(arrays, "test")
    return Splits(
        train=kept(arrays, "train"),
        val=kept(arrays, "val") if "val.ids" in arrays else test.subset([]),
        test=test,
        labels=tuple(str(name) for name in arrays["labels"]),
        notes=tuple(about["notes"]),
        heads={name: tuple(labels) for name, labels in about["heads"].items()},
    )


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
        inputs=DigestedColumn(inputs, digests),
        targets=_unpacked(about["targets"], f"{name}.targets", arrays),
        modality=str(about["modality"]),
        pipeline=Pipeline.of(about["pipeline"]),
        columns={key: _unpacked(form, f"{name}.columns.{key}", arrays) for key, form in dict(about["columns"]).items()},
        groups=tuple(about.get("groups", ())),
        weights=arrays.get(f"{name}.weights"),
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


@dataclass(frozen=True, eq=False)
class Packer:
    """Puts columns into arrays.

    Attributes:
        arrays: What a file is to hold, by name.
        scratch: Folder for what is read from files: it is never in memory as a whole.
    """

    arrays: Arrays
    scratch: Path

    def __call__(self, column: Column, place: str) -> dict[str, Any]:
        """Put the values of a column under names that begin with `place`; returns how they lie there."""
        if isinstance(column, DigestedColumn):
            return self(column.column, place)
        if isinstance(column, DictColumn):
            return {"dict": {key: self(part, f"{place}.{key}") for key, part in column.columns.items()}}
        if isinstance(column, TextColumn):
            different = {text: number for number, text in enumerate(dict.fromkeys(column.texts))}
            self.arrays[place] = _as_bytes([list(different), [different[text] for text in column.texts]])
            return {"texts": len(column)}
        if isinstance(column, RaggedColumn):
            self.arrays[place] = np.concatenate(column.rows or [column.take(np.arange(0))[:, 0]])
            self.arrays[f"{place}.sizes"] = np.array([len(row) for row in column.rows])
            return {"ragged": column.fill, "most": column.most}
        if isinstance(column, ArrayColumn):
            self.arrays[place] = column.values
            return {"array": len(column)}
        return self(self._read(column, place), place)

    def _read(self, column: Column, place: str) -> Column:
        """What a column reads: texts in memory, numbers on disk."""
        parts: dict[str, Any] = {}
        for piece in chunks(range(len(column)), _at_once(column.spec)) or [np.arange(0)]:
            values = column.take(piece)
            for name, batch in (values if isinstance(values, Mapping) else {"": values}).items():
                array = np.asarray(batch)
                if array.dtype.kind in "OUS":
                    parts.setdefault(name, []).append(array)
                    continue
                if name not in parts:
                    file = self.scratch / f"{len(self.arrays)}-{len(parts)}.npy"
                    parts[name] = disk_array(file, array.dtype, (len(column), *array.shape[1:]))
                parts[name][piece] = array
        columns = {name: _plain_array(np.concatenate(p) if isinstance(p, list) else p) for name, p in parts.items()}
        return DictColumn(columns) if isinstance(column.spec, Mapping) else columns[""]


def _at_once(spec: Spec) -> int:
    """How many examples are read together."""
    fields = spec.values() if isinstance(spec, Mapping) else [spec]
    return outputs_at_once([(None, *field.shape) for field in fields if isinstance(field, ArraySpec)], 32)


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
        sizes = arrays[f"{place}.sizes"]
        column = RaggedColumn(np.split(arrays[place], np.cumsum(sizes)[:-1]), form["ragged"], form["most"])
        return column if len(sizes) else column.subset([])
    return ArrayColumn(arrays[place])


def _as_bytes(plain: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(plain).encode(), np.uint8)
