"""Labelled data as everything passes it on: frozen, with random access."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.brief import brief, value_of
from tlkit.core.errors import InputError
from tlkit.core.files import sha256_bytes

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class ArraySpec:
    """Shape (without the batch; None is any size) and dtype of one input."""

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, eq=False, repr=False)
class Selected:
    """`read` of a subset: its example i is example `indices[i]` of what `read` gave before."""

    read: Callable[[int], Any]
    indices: tuple[int, ...]

    def __repr__(self) -> str:
        return brief(self)

    def __call__(self, i: int) -> Any:
        """Read example i of the subset."""
        return self.read(self.indices[i])


@dataclass(frozen=True, eq=False, repr=False)
class Passage:
    """A text that a question is asked of, as far as one example shows it.

    Attributes:
        text: The text.
        answers: The question's answers, each of them right; () where the text holds none.
        offsets: int32 (n, 2) first character, and the one behind the last, of each piece of the text that is shown.
        step: Step of the example's input at which the first of these pieces stands.
    """

    text: str
    answers: tuple[str, ...] = ()
    offsets: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    step: int = 0

    def __repr__(self) -> str:
        return brief(self)

    def words(self, first: int, last: int) -> str:
        """What the text says at steps `first` to `last` of the input, white space made single blanks.

        Example:
            >>> Passage("in Rome,\\n1960", offsets=np.array([[0, 2], [3, 7], [7, 8], [9, 13]]), step=5).words(6, 8)
            'Rome, 1960'
        """
        start, end = self.offsets[first - self.step, 0], self.offsets[last - self.step, 1]
        return " ".join(self.text[start:end].split())


@dataclass(frozen=True)
class Excerpt:
    """A text of which one example shows a window.

    Attributes:
        id: The text's id.
        text: The text.
        digest: sha256 of its content.
        share: Of its pieces, how many the window shows, in (0, 1].
    """

    id: str
    text: str
    digest: str
    share: float


@dataclass(frozen=True, eq=False, repr=False)
class Examples:
    """Random access to labelled data.

    Attributes:
        ids: A stable name for each example (a path relative to its folder, a row number).
        read: `read(i)` gives the input of example i: one array, or a dict of arrays, as `spec` says.
        targets: What is to be predicted, first axis the examples: int32 (n,) class numbers, float32 (n, k) labels
            0/1 or values to regress; of several heads a structured array (n,), as `methods.task_mix` makes it.
        spec: `ArraySpec`, or a dict of them, of what `read` gives.
        digests: sha256 of each example's content, before any resizing.
        groups: A name a group for each example that must stay on one side of a split; () where there are none.
        weights: float32 (n,) weight of each example in the loss, or None.
        augment: `augment(x, seed)` gives a changed copy of an input as a pure function of it and of the integer seed.
        recipe: What turned the files into inputs (image size, background), so that cached results know it.
        lengths: int32 (n,) size of each example before any cut (the word pieces of a text), or None; for batches of
            like sizes and for reports, and no part of the fingerprint.
        texts: What people read of each example where its input hides it: the text behind word pieces; () elsewhere.
        passages: Where examples are questions on a text, that text and the answers; () elsewhere. No part of the
            fingerprint.
        excerpts: Where examples are windows of texts that are longer than the module takes, the text of each; ()
            elsewhere. Windows of a text follow each other. No part of the fingerprint.
    """

    ids: tuple[str, ...]
    read: Callable[[int], Any]
    targets: np.ndarray
    spec: Any
    digests: tuple[str, ...]
    groups: tuple[str, ...] = ()
    weights: np.ndarray | None = None
    augment: Callable[[Any, int], Any] | None = None
    recipe: str = ""
    lengths: np.ndarray | None = None
    texts: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    excerpts: tuple[Excerpt, ...] = ()

    def __repr__(self) -> str:
        named = f"{len(self)} examples, ids={value_of(self.ids)}, spec={value_of(self.spec)}"
        return f"Examples({named}, targets={value_of(self.targets)})"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        """Hash of the content: names, digests, targets and the recipe, in order."""
        weights = b"" if self.weights is None else np.ascontiguousarray(self.weights).tobytes()
        return sha256_bytes(
            self.recipe,
            str(self.spec),
            *self.ids,
            *self.digests,
            str(self.targets.dtype),
            *_content(self.targets),
            weights,
        )

    def subset(self, indices: Sequence[int]) -> Examples:
        """The examples at `indices`, in that order."""
        chosen = [int(i) for i in indices]
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            read=Selected(self.read, tuple(chosen)),
            targets=self.targets[np.asarray(chosen, dtype=np.int64)],
            digests=tuple(self.digests[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen) if self.groups else (),
            weights=None if self.weights is None else self.weights[np.asarray(chosen, dtype=np.int64)],
            lengths=None if self.lengths is None else self.lengths[np.asarray(chosen, dtype=np.int64)],
            texts=tuple(self.texts[i] for i in chosen) if self.texts else (),
            passages=tuple(self.passages[i] for i in chosen) if self.passages else (),
            excerpts=tuple(self.excerpts[i] for i in chosen) if self.excerpts else (),
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
        rest = {name: len(getattr(self, name)) for name in ("quarantine", "duplicates", "notes")}
        odd = "".join(f", {count} {name}" for name, count in rest.items() if count)
        return f"Splits({sizes} examples{names}{heads}{odd}, spec={value_of(self.train.spec)})"

    @property
    def fingerprint(self) -> str:
        """Hash of the content of all three."""
        names = [*self.labels, *(name for head in self.heads for name in (head, *self.heads[head]))]
        return sha256_bytes(*(e.fingerprint for e in (self.train, self.val, self.test)), *names)

    @property
    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Label -> examples (or words, where each has a label) in training, validation and test that carry it.

        {} where the targets are values to regress, and where labels have no names.
        """
        parts = (self.train, self.val, self.test)
        if not self.labels or not all(_is_labelled(part.targets, len(self.labels)) for part in parts):
            return {}
        columns = [_label_counts(part.targets, len(self.labels)) for part in parts]
        return {label: (int(a), int(b), int(c)) for label, a, b, c in zip(self.labels, *columns, strict=True)}


def _is_labelled(targets: np.ndarray, labels: int) -> bool:
    """Whether targets are numbers of labels, or a column of 0 and 1 for each label."""
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


def _content(targets: np.ndarray) -> list[bytes | str]:
    """What decides targets, of ragged ones element by element: the memory of objects holds their addresses."""
    if not targets.dtype.hasobject:
        return [np.ascontiguousarray(targets).tobytes()]
    if targets.dtype.names:
        return [part for name in targets.dtype.names for part in _content(targets[name])]
    content: list[bytes | str] = []
    for i, element in enumerate(targets.reshape(-1)):
        row = np.asarray(element)
        if row.dtype.hasobject:
            raise InputError(
                f"Target {i} is neither numbers nor text, so that nobody can tell when it changes: {element!r:.60}."
            )
        content += [str((row.shape, row.dtype.str)), np.ascontiguousarray(row).tobytes()]
    return content
