"""task_mix: the examples of several tasks as one training set, in which each has the labels that it has."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core import multi_targets
from tlkit.core.batches import steps_of
from tlkit.core.columns import ArrayColumn, blank, joined
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, LeavesTargets, Splits, as_augment
from tlkit.core.excerpts import OF
from tlkit.core.identity import identity
from tlkit.data.assembly import duplicates
from tlkit.data.collection import one_pipeline
from tlkit.data.labelling import from_names

SPLITS = ("train", "val", "test")

Key = tuple[str, str, int]  # id, digest, and how often both have come before


def task_mix(**data: Splits) -> Splits:
    """Data of several tasks as one set for `methods.multitask`, each under the name of its head.

    An example that several of them have (the same id and content) is one example with several labels; any other has
    the labels that it came with and counts in no other head.

    Args:
        **data: Splits of each head, read alike: at one size, with one vocabulary and length, and one `augment` or none.

    Returns:
        Splits whose targets hold one field a head; `heads` keeps the names of each head's labels.

    Raises:
        InputError: If there are fewer than two, or they are not read or augmented alike.

    Example:
        >>> from tlkit.datasets import samples
        >>> noto = samples.emoji10(style="both")
        >>> mixed = task_mix(picture=noto, style=relabelled(noto, lambda name: name.partition("/")[0]))
        >>> len(mixed.train) == len(noto.train), mixed.heads["style"]
        (True, ('noto', 'twemoji'))
    """
    _check(data)
    train, val, test = (_mixed({name: getattr(splits, split) for name, splits in data.items()}) for split in SPLITS)
    shared = _across(train, val, test)
    return Splits(
        train=train,
        val=val,
        test=test,
        quarantine=tuple(dict.fromkeys(item for splits in data.values() for item in splits.quarantine)),
        duplicates=shared,
        notes=(*dict.fromkeys(note for splits in data.values() for note in splits.notes), *_leaks(shared)),
        seconds=sum(splits.seconds for splits in data.values()),
        heads={name: splits.labels for name, splits in data.items()},
    )


def relabelled(data: Splits, label: Callable[[str], str]) -> Splits:
    """The same examples in the same parts, under another label each.

    Args:
        data: Splits of anything.
        label: Id of an example -> the name of its label.

    Returns:
        Splits with class numbers as targets, and the names sorted.

    Example:
        >>> from tlkit.datasets import samples
        >>> relabelled(samples.emoji10(style="both"), lambda name: name.partition("/")[0]).labels
        ('noto', 'twemoji')
    """
    names = tuple(sorted({label(name) for split in SPLITS for name in getattr(data, split).ids}))

    def changed(examples: Examples) -> Examples:
        return dataclasses.replace(
            examples, targets=ArrayColumn(from_names([label(name) for name in examples.ids], names).targets)
        )

    return dataclasses.replace(
        data, train=changed(data.train), val=changed(data.val), test=changed(data.test), labels=names
    )


def _check(data: Mapping[str, Splits]) -> None:
    if len(data) < 2:
        raise InputError(
            f"`task_mix` joins the data of two heads or more: task_mix(a=..., b=...). Received: {', '.join(data) or 0}."
        )
    first, *other_names = data
    for name in other_names:
        if data[name].train.inputs.spec != data[first].train.inputs.spec:
            raise InputError(
                f"The data of all heads must be read alike, and {first} and {name} differ: "
                f"{data[first].train.inputs.spec} and {data[name].train.inputs.spec}. Read both at one size, or texts "
                "with one `length`."
            )
    augments = [head_data.train.augment for head_data in data.values()]
    changes = {identity(augment): repr(augment) for augment in augments}  # as caches tell them apart
    if len(changes) > 1:
        raise InputError(
            "The training examples of all heads must be changed alike, as one set has one way to do it: give all "
            f"data the same `augment`, or none. Received: {', '.join(sorted(changes.values()))}."
        )
    for name, head_data in data.items():
        if not isinstance(head_data.train.targets, ArrayColumn):
            kind = type(head_data.train.targets).__name__
            raise InputError(
                f"Heads share one array of targets, and those of {name} are a {kind}, as boxes and masks in files are: "
                "leave that head out, and train it by itself."
            )
        if not len(head_data.train):
            raise InputError(f"The data of {name} have no training examples: give it a share of them.")


def _mixed(data: Mapping[str, Examples]) -> Examples:
    """All examples, those of the first head first, with the targets of each head that has them."""
    keys = {name: _keys(examples) for name, examples in data.items()}
    row = {key: i for i, key in enumerate(dict.fromkeys(key for head_keys in keys.values() for key in head_keys))}
    targets = multi_targets.unlabelled({name: examples.target_array for name, examples in data.items()}, len(row))
    places: dict[Key, tuple[int, int]] = {}
    for number, (name, examples) in enumerate(data.items()):
        rows = [row[key] for key in keys[name]]
        targets[name][multi_targets.TARGET][rows] = examples.target_array
        targets[name][multi_targets.KNOWN][rows] = True
        targets[name][multi_targets.WEIGHT][rows] = 1.0 if examples.weights is None else examples.weights
        for i, key in enumerate(keys[name]):
            places.setdefault(key, (number, i))
    return _joined(data, [places[key] for key in row], targets)


def _keys(examples: Examples) -> list[Key]:
    repeats: Counter[tuple[str, str]] = Counter()
    keys = []
    for pair in zip(examples.ids, examples.digests, strict=True):
        keys.append((*pair, repeats[pair]))
        repeats[pair] += 1
    return keys


def _joined(data: Mapping[str, Examples], places: Sequence[tuple[int, int]], targets: np.ndarray) -> Examples:
    heads, sets = tuple(data), tuple(data.values())
    if any(OF in part.columns for part in sets):
        raise InputError('Texts in windows cannot be shared by several heads; read them with long="cut".')

    def of_each(values: Callable[[Examples], Sequence[Any]]) -> list[Any]:
        per_set = [values(part) for part in sets]
        return [per_set[number][i] for number, i in places]

    ids = of_each(lambda part: part.ids)
    shared = {name for name, count in Counter(ids).items() if count > 1}
    at = np.array(places, np.int64).reshape(-1, 2)
    return dataclasses.replace(
        sets[0],
        ids=tuple(f"{heads[n]}/{name}" if name in shared else name for name, (n, _) in zip(ids, places, strict=True)),
        inputs=joined([part.inputs for part in sets], at),
        targets=ArrayColumn(targets),
        pipeline=one_pipeline(sets),
        columns={name: joined(columns, at) for name, columns in _columns(sets).items()},
        groups=tuple(of_each(lambda part: part.groups)) if all(part.groups for part in sets if len(part)) else (),
        weights=None,
        augment=_augment(sets),
    )


def _augment(sets: Sequence[Examples]) -> Any:
    """How all are changed; what moves targets moves those of each head."""
    augment = next((part.augment for part in sets if part.augment is not None), None)
    moves = augment is not None and not isinstance(as_augment(augment), LeavesTargets)
    return multi_targets.MovesEachHead(as_augment(augment)) if moves else augment


def _columns(sets: Sequence[Examples]) -> dict[str, list[Column]]:
    """Each column that a set has, of all sets: a set without it holds nothing there, and is as long as it is read."""
    columns: dict[str, list[Column]] = {}
    for name in dict.fromkeys(name for part in sets for name in part.columns):
        like = next(part.columns[name] for part in sets if name in part.columns)
        columns[name] = [part.columns[name] if name in part.columns else blank(like, len(part)) for part in sets]
        if name == "length":
            steps = steps_of(sets[0].inputs.spec)
            columns[name] = [
                part.columns[name] if name in part.columns else ArrayColumn(np.full(len(part), steps, np.int32))
                for part in sets
            ]
    return columns


def _across(*splits: Examples) -> tuple[tuple[str, ...], ...]:
    parts = [number for number, split in enumerate(splits) for _ in split.ids]
    ids, digests = ([value for split in splits for value in getattr(split, key)] for key in ("ids", "digests"))
    return duplicates(ids, digests, parts)


def _leaks(shared: Sequence[Sequence[str]]) -> tuple[str, ...]:
    if not shared:
        return ()
    return (
        f"{len(shared)} inputs lie in more than one of training, validation and test, such as {shared[0][0]!r}: heads "
        "that share examples should share their division too (`methods.relabelled` keeps it).",
    )
