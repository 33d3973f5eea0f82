"""Stand-ins for the seams of docs/seams.md, so that what is inside the plug-ins runs before the seams are there.

They hold what they are given and do the little that a plug-in's own functions need. They go with the last xfail.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

import tlkit
from tlkit.core.section import Facts, Section


@dataclass(frozen=True)
class Spec:
    shape: tuple[int | None, ...]


class Column:
    """By `self[i]` and `len`; ragged ones say how they are stacked."""

    def batch(self, values: Sequence[Any]) -> Any:
        return np.stack(values)

    def take(self, indices: np.ndarray) -> Any:
        return self.batch([self[int(i)] for i in indices])


@dataclass(frozen=True, eq=False)
class ArrayColumn(Column):
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Any:
        return self.values[index]

    @property
    def spec(self) -> Spec:
        return Spec(self.values.shape[1:])

    def subset(self, indices: Sequence[int]) -> ArrayColumn:
        return ArrayColumn(self.values[list(indices)])


@dataclass(frozen=True, eq=False)
class RaggedColumn(Column):
    rows: Sequence[np.ndarray]
    fill: float = 0
    most: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", self.most or max(map(len, self.rows)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]

    @property
    def spec(self) -> Spec:
        return Spec((self.most, *self.rows[0].shape[1:]))

    def batch(self, values: Sequence[Any]) -> Any:
        filled = np.full((len(values), *self.spec.shape), self.fill, np.float32)
        for row, value in zip(filled, values, strict=True):
            row[: len(value)] = value
        return filled

    def subset(self, indices: Sequence[int]) -> RaggedColumn:
        return RaggedColumn([self.rows[i] for i in indices], self.fill, self.most)


@dataclass(frozen=True, eq=False)
class FileColumn(Column):
    paths: Sequence[Path]
    read: Callable[[Path], np.ndarray]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.read(self.paths[index])

    @property
    def spec(self) -> Spec:
        return Spec(self[0].shape)

    def subset(self, indices: Sequence[int]) -> FileColumn:
        return FileColumn([self.paths[i] for i in indices], self.read)


@dataclass(frozen=True)
class Pipeline:
    steps: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def then(self, name: str, **arguments: Any) -> Pipeline:
        return Pipeline((*self.steps, (name, arguments)))

    def get(self, name: str) -> Mapping[str, Any] | None:
        return next((arguments for step, arguments in reversed(self.steps) if step == name), None)


@dataclass(frozen=True, eq=False)
class Examples:
    ids: tuple[str, ...]
    inputs: Any
    targets: Any
    modality: str = "plain"
    pipeline: Pipeline = Pipeline()
    columns: Mapping[str, Any] = field(default_factory=dict)
    augment: Any = None

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, indices: Sequence[int]) -> Examples:
        parts = {name: column.subset(indices) for name, column in self.columns.items()}
        ids, inputs, targets = tuple(self.ids[i] for i in indices), self.inputs, self.targets
        return replace(self, ids=ids, inputs=inputs.subset(indices), targets=targets.subset(indices), columns=parts)


@dataclass(frozen=True, eq=False)
class Splits:
    train: Examples
    val: Examples
    test: Examples
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileInfo:
    pipeline: Pipeline
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    loss: Callable[[], Any]
    metrics: Callable[[], list[Any]] = list
    weights: Any = None
    monitor: tuple[str, str] | None = ("val_loss", "min")
    check: Callable[[Any], None] = lambda data: None


@dataclass(frozen=True)
class Answer:
    name: str
    decode: Callable[[Any], Mapping[str, Any]]
    agree: Callable[..., Agreement]
    say: Callable[..., list[tuple[str, float]]]
    labels: tuple[str, ...] = ()
    merit: Callable[..., np.ndarray] | None = None
    again: Callable[..., Any] | None = None
    signatures: Mapping[str, Any] = field(default_factory=dict)
    describe: Any = None
    sections: tuple[Section, ...] = ()


class Agreement(NamedTuple):
    difference: np.ndarray
    equal: np.ndarray
    margin: np.ndarray


@dataclass(frozen=True)
class Task:
    name: str
    made_by: tuple[str, Mapping[str, Any]]
    reads: Any
    head: Callable[[Any], Any]
    objective: Objective
    answers: tuple[Answer, ...]
    scorer: Callable[[], Any]


@dataclass(frozen=True)
class Evaluation:
    scores: Mapping[str, float]
    details: Mapping[str, Any]
    outputs: Any


@dataclass(frozen=True)
class Modality:
    name: str
    prepare: Callable[..., Any]
    parse: Callable[..., Any] | None = None
    show: Callable[..., str] | None = None


def made_by(function: Callable[..., Any], **arguments: Any) -> tuple[str, Mapping[str, Any]]:
    return f"{function.__module__}.{function.__qualname__}", arguments


# -- a `Reads` here is a function of a Keras model, whose layers are called stride_4, hidden and table


def maps(*strides: int) -> Callable[[keras.Model], Any]:
    return lambda model: {stride: model.get_layer(f"stride_{stride}").output for stride in strides}


def pooled() -> Callable[[keras.Model], Any]:
    return lambda model: model.output


class Table(keras.layers.Layer):
    """The weights of an embedding as a tensor without a batch axis, which `hidden_and_embedding` gives."""

    def __init__(self, embedding: keras.layers.Embedding) -> None:
        super().__init__(name="table_given")
        self.embedding = embedding

    def call(self, inputs: Any) -> Any:
        return keras.ops.convert_to_tensor(self.embedding.embeddings)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(self.embedding.embeddings.shape)


def hidden_and_embedding() -> Callable[[keras.Model], Any]:
    return lambda model: {"hidden": model.output, "embedding": Table(model.get_layer("table"))(model.input)}


NAMES = (
    Agreement, Answer, Evaluation, Examples, Facts, FileInfo, Modality, Objective, Pipeline, Section, Splits,
    Task, made_by,
)  # fmt: skip


def put_in_place(patch: pytest.MonkeyPatch, plugins: Sequence[str]) -> None:
    """Let `tlkit` have the names of the seams, and the plug-ins be imported anew with them."""
    for member in NAMES:
        patch.setattr(tlkit, member.__name__, member, raising=False)
    shelves = {"columns": (ArrayColumn, RaggedColumn, FileColumn), "reads": (maps, pooled, hidden_and_embedding)}
    for name, members in shelves.items():
        shelf = types.SimpleNamespace(**{member.__name__: member for member in members})
        patch.setattr(tlkit, name, shelf, raising=False)
    for name in plugins:
        patch.delitem(sys.modules, name, raising=False)
