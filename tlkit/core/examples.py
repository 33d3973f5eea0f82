"""Labelled data as everything passes it on: frozen, with random access."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tlkit.core.brief import value_of
from tlkit.core.errors import InputError
from tlkit.core.files import sha256_bytes

Value = Any  # of one example: an array without a batch axis, a text, or a dict of them
Batch = Any  # values behind each other: an array, or a dict of them


@dataclass(frozen=True)
class ArraySpec:
    """Shape (without the batch; None is any size) and dtype of one input."""

    shape: tuple[int | None, ...]
    dtype: str


Spec = ArraySpec | Mapping[str, Any]  # of one array, or of several by name


class Column(Protocol):
    """One value an example; frozen, safe to read from many threads. The shelf `columns` has what tlkit brings."""

    @property
    def spec(self) -> Any:
        """`Spec` of a value in a batch; None is any size."""

    @property
    def digests(self) -> tuple[str, ...]:
        """sha256 of each example's content, before preprocessing."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Value: ...

    def batch(self, values: Sequence[Value]) -> Batch:
        """Values like this column's own as one batch."""

    def take(self, indices: np.ndarray) -> Batch:
        """The batch of the examples at `indices`."""

    def subset(self, indices: Sequence[int]) -> Column:
        """A column of the examples at `indices`."""


@dataclass(frozen=True)
class Pipeline:
    """What turned files into inputs: named steps with plain JSON arguments. Hashed into cache keys, kept in cards.

    Example:
        >>> Pipeline().then("image", size=[32, 32]).then("resize", size=[8, 8]).get("image")
        {'size': [32, 32]}
    """

    steps: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def then(self, name: str, **arguments: Any) -> Pipeline:
        """The pipeline with one more step."""
        return Pipeline((*self.steps, (name, arguments)))

    def get(self, name: str) -> Mapping[str, Any] | None:
        """Arguments of the last step of that name; None where there is none."""
        return next((arguments for step, arguments in reversed(self.steps) if step == name), None)

    def plain(self) -> list[list[Any]]:
        """The steps as JSON has them; `Pipeline.of` makes them again."""
        return [[name, dict(arguments)] for name, arguments in self.steps]

    @staticmethod
    def of(plain: Sequence[Sequence[Any]]) -> Pipeline:
        """What `plain` gave."""
        return Pipeline(tuple((str(name), dict(arguments)) for name, arguments in plain))

    @property
    def fingerprint(self) -> str:
        """sha256 of names and arguments, in order."""
        return sha256_bytes(json.dumps(self.plain(), sort_keys=True))


class Augment(Protocol):
    """Changed copies of training examples: a frozen dataclass, whose code and fields name it in caches.

    All three are pure functions, and inputs and targets are changed by one draw. What is drawn are shares (of height,
    width, length), never pixels, as inputs and targets may differ in size.
    """

    def draw(self, seed: int) -> Mapping[str, float]:
        """What is done to an example; asked once per example and epoch (or cached view)."""

    def inputs(self, value: Value, drawn: Mapping[str, float]) -> Value:
        """A changed copy of one example's input; called in many threads."""

    def targets(self, value: Value, drawn: Mapping[str, float]) -> Value:
        """The target of that copy."""


class LeavesTargets:
    """Base of an Augment that changes inputs alone, for which nothing is drawn where no inputs are read."""

    def targets(self, value: Value, drawn: Mapping[str, float]) -> Value:
        """As it is."""
        return value


@dataclass(frozen=True)
class InputsOnly(LeavesTargets):
    """A function `(input, seed)` as an Augment: it draws its seed, and leaves targets as they are."""

    function: Callable[[Value, int], Value]

    def draw(self, seed: int) -> Mapping[str, float]:
        """The seed itself, a whole number."""
        return {"seed": seed}

    def inputs(self, value: Value, drawn: Mapping[str, float]) -> Value:
        """What the function gives."""
        return self.function(value, int(drawn["seed"]))


Augmenting = Augment | Callable[[Value, int], Value]  # what examples may have as `augment`


def as_augment(augment: Any) -> Augment:
    """What examples have as `augment`, as an Augment.

    Raises:
        InputError: If it is none, and no function of an input and a seed either.
    """
    if any(base.__module__.startswith("keras.") for base in type(augment).__mro__):
        raise InputError(
            f"A Keras layer ({type(augment).__name__}) as `augment` would change other pixels in every run, as it does "
            "not take a seed: use tlkit.data.image.augmentation(), or write a tlkit.Augment."
        )
    if not isinstance(augment, type):
        if all(callable(getattr(augment, name, None)) for name in ("draw", "inputs", "targets")):
            valid: Augment = augment
            return valid
        if callable(augment):
            return InputsOnly(augment)
    raise InputError(
        "`augment` must be a tlkit.Augment, which has draw, inputs and targets, or a function (input, seed). "
        f"Received: augment={augment!r:.80}."
    )


@dataclass(frozen=True, eq=False, repr=False)
class Examples:
    """Random access to labelled data.

    Attributes:
        ids: A stable name for each example (a path relative to its folder, a row number).
        inputs: What goes in; an array (n, ...) is taken as the ArrayColumn of it, here and as `targets`.
        targets: What is to be predicted: int32 (n,) class numbers, float32 (n, k) labels 0/1 or values to regress,
            masks, boxes; of several heads a dict by head. An ArrayColumn (n, 0) where nothing is.
        modality: Name of the modality: "image", "text", "pairs", "audio", "plain", or your own.
        pipeline: What turned files into inputs (image size, background), so that cached results know it.
        columns: What travels with an example: "text" that people read where word pieces hide it, "length" (int32) of a
            sequence before any cut, for batches of like sizes; and your own. No part of the fingerprint.
        groups: A name a group for each example that must stay on one side of a split; () where there are none.
        weights: float32 (n,) weight of each example in the loss, or None.
        augment: How training examples are changed, an `Augment`; or a function `(input, seed)` that gives a changed
            copy of an input as a pure function of both, and leaves targets as they are.
    """

    ids: tuple[str, ...]
    inputs: Column
    targets: Column
    modality: str = "plain"
    pipeline: Pipeline = Pipeline()
    columns: Mapping[str, Column] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    weights: np.ndarray | None = None
    augment: Augmenting | None = None

    def __post_init__(self) -> None:
        from tlkit.core.columns import ArrayColumn

        for name in ("inputs", "targets"):
            if isinstance(getattr(self, name), np.ndarray):
                object.__setattr__(self, name, ArrayColumn(getattr(self, name)))
        if self.augment is not None:
            as_augment(self.augment)
        sizes = {"inputs": len(self.inputs), "targets": len(self.targets)}
        sizes |= {f"columns[{name!r}]": len(column) for name, column in self.columns.items()}
        sizes |= {"groups": len(self.groups)} if self.groups else {}
        sizes |= {} if self.weights is None else {"weights": len(self.weights)}
        wrong = {name: size for name, size in sizes.items() if size != len(self.ids)}
        if wrong:
            raise InputError(f"There are {len(self.ids)} ids, and {wrong}: one of each belongs to every example.")

    def __repr__(self) -> str:
        parts = f"{len(self)} examples, ids={value_of(self.ids)}, inputs={value_of(self.inputs.spec)}"
        return f"Examples({parts}, targets={value_of(self.targets)}, modality={self.modality!r})"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digests(self) -> tuple[str, ...]:
        """sha256 of each example's content, before any resizing."""
        return self.inputs.digests

    @property
    def target_array(self) -> np.ndarray:
        """The targets as one array, first axis the examples.

        Raises:
            InputError: If they are no array, but ragged, files or a dict.
        """
        from tlkit.core.columns import array_of

        return array_of(self.targets)

    @property
    def lengths(self) -> np.ndarray | None:
        """int32 (n,) of the column "length"; None where sequences have one size."""
        column = self.columns.get("length")
        return None if column is None else np.asarray(column.take(np.arange(len(self))))

    @property
    def fingerprint(self) -> str:
        """Hash of the content: names, inputs, targets, weights and the pipeline, in order."""
        weights = b"" if self.weights is None else np.ascontiguousarray(self.weights).tobytes()
        columns = [sha256_bytes(str(column.spec), *column.digests) for column in (self.inputs, self.targets)]
        return sha256_bytes(self.pipeline.fingerprint, *columns, *self.ids, weights)

    def subset(self, indices: Sequence[int]) -> Examples:
        """The examples at `indices`, in that order."""
        chosen = [int(i) for i in indices]
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            inputs=self.inputs.subset(chosen),
            targets=self.targets.subset(chosen),
            columns={name: column.subset(chosen) for name, column in self.columns.items()},
            groups=tuple(self.groups[i] for i in chosen) if self.groups else (),
            weights=None if self.weights is None else self.weights[np.asarray(chosen, dtype=np.int64)],
        )


@dataclass(frozen=True)
class Quarantined:
    """A file that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Splits:
    """Training, validation and test examples, the names of the labels, and what the preflight found.

    `duplicates` holds groups of ids with the same content that lie in more than one split; `notes` are sentences
    on whatever else is odd about the data, for the report; `seconds` is what finding and checking it all took. Data for
    several heads have no `labels` of their own but in `heads` those of each.
    """

    train: Examples
    val: Examples
    test: Examples
    labels: tuple[str, ...] = ()
    quarantine: tuple[Quarantined, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{part}={len(getattr(self, part))}" for part in ("train", "val", "test"))
        names = f", labels={value_of(self.labels)}" if self.labels else ""
        heads = f", heads={value_of(self.heads)}" if self.heads else ""
        lengths = {name: len(getattr(self, name)) for name in ("quarantine", "duplicates", "notes")}
        odd = "".join(f", {count} {name}" for name, count in lengths.items() if count)
        return f"Splits({sizes} examples{names}{heads}{odd}, inputs={value_of(self.train.inputs.spec)})"

    @property
    def fingerprint(self) -> str:
        """Hash of the content of all three."""
        names = [*self.labels, *(name for head in self.heads for name in (head, *self.heads[head]))]
        return sha256_bytes(*(e.fingerprint for e in (self.train, self.val, self.test)), *names)

    @property
    def multi_label(self) -> bool:
        """Whether an example may have several labels: targets are a column of 0 and 1 for each."""
        values = getattr(self.train.targets, "values", None)
        return values is not None and values.ndim == 2

    @property
    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Label -> examples (or words, where each has a label) in training, validation and test that carry it.

        {} where the targets are values to regress, and where labels have no names.
        """
        arrays = [getattr(part.targets, "values", None) for part in (self.train, self.val, self.test)]
        if not self.labels or not all(a is not None and _is_labelled(a, len(self.labels)) for a in arrays):
            return {}
        columns = [_label_counts(array, len(self.labels)) for array in arrays if array is not None]
        return {label: (int(a), int(b), int(c)) for label, a, b, c in zip(self.labels, *columns, strict=True)}


def _is_labelled(targets: np.ndarray, labels: int) -> bool:
    """Whether targets are numbers of labels, or a column of 0 and 1 for each label."""
    if targets.ndim > 2:
        return False  # masks: a label for each pixel, and not for the example
    if targets.dtype.kind in "iu" or not len(targets):
        return True
    return targets.dtype.kind == "f" and targets.shape[1:] == (labels,) and bool(np.isin(targets, (0, 1)).all())


def _label_counts(targets: np.ndarray, labels: int) -> np.ndarray:
    """How often each label occurs; -1 is none."""
    if not len(targets):
        return np.zeros(labels, np.int64)
    if targets.dtype.kind == "f":
        return np.asarray((targets == 1).sum(axis=0))
    return np.bincount(targets[(targets >= 0) & (targets < labels)].reshape(-1), minlength=labels)


def check_splits(data: Any) -> None:
    """Refuse what is no Splits, such as a tf.data.Dataset or a tuple of arrays.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(data, Splits):
        raise InputError(
            "`data` must be Splits, as the functions of tlkit.data return them: of a tf.data.Dataset "
            "tlkit.data.image.from_dataset(dataset), of arrays tlkit.data.image.from_arrays(images, targets). "
            f"Received: data={data!r:.80}."
        )
