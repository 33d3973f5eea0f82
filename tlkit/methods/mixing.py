"""domain_mix: labelled examples of a source and unlabelled ones of a target as one training set."""

from __future__ import annotations

import dataclasses

import numpy as np

from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.data.collection import joined

SOURCE, TARGET = 0, 1


def domain_mix(source: Splits, target: Splits) -> Splits:
    """Labelled examples of a source domain and unlabelled ones of a target, for `methods.dann` and its like.

    The labels of the target's training and validation examples are not read: their targets are 0 throughout. The
    smaller domain is repeated, so that an epoch shows as many examples of one as of the other, and a random batch
    holds both. The test is the target's, with its own labels; of a target without a test, such as
    `data.collection.images` gives, it is the source's.

    Args:
        source: Labelled splits; its training and validation examples are used.
        target: Splits of the other domain, read alike; of training and validation only the inputs are used.

    Returns:
        Splits whose training and validation targets have one more column behind those of the task: 0 for the source,
        1 for the target; int32 (n, 2) of class numbers, float32 (n, k + 1) of several labels or values.

    Raises:
        InputError: If inputs differ in shape, labels in name, or a domain has no training examples.
    """
    check_domains(source, target)
    notes = () if len(target.test) else ("the target has no test, so the scores are those of the source's",)
    return Splits(
        train=_mixed(source.train, target.train, even=True),
        val=_mixed(source.val, target.val, even=False),
        test=target.test if len(target.test) else source.test,
        labels=source.labels,
        quarantine=(*source.quarantine, *target.quarantine),
        duplicates=(*source.duplicates, *target.duplicates),
        notes=(*source.notes, *target.notes, *notes),
        seconds=source.seconds + target.seconds,
    )


def source_only(mixed: Splits) -> Splits:
    """The source's labelled examples again, each once, with the target's test."""
    return dataclasses.replace(mixed, train=labelled(mixed.train), val=labelled(mixed.val))


def labelled(examples: Examples) -> Examples:
    """Examples of the source with the targets that they had; what holds no domains is given back as it is."""
    if not len(examples):
        return examples
    of_source = _of_domain(examples, SOURCE)
    return dataclasses.replace(of_source, targets=ArrayColumn(labels_of(of_source.target_array)))


def of_target(mixed: Splits) -> Examples:
    """Examples of the target, each once: those for validation, or those for training where there are none."""
    parts = [_of_domain(part, TARGET) for part in (mixed.val, mixed.train) if len(part)]
    return next((part for part in parts if len(part)), mixed.train)


def _of_domain(examples: Examples, domain: int) -> Examples:
    rows = np.flatnonzero(examples.target_array[:, -1] == domain)
    _, once = np.unique([examples.ids[i] for i in rows], return_index=True)
    return examples.subset(rows[np.sort(once)].tolist())


def labels_of(targets: np.ndarray) -> np.ndarray:
    """Targets without the column of domains: class numbers (n,) where they are whole numbers, else (n, k).

    Example:
        >>> labels_of(np.array([[3, 0], [0, 1]], np.int32)).tolist()
        [3, 0]
    """
    are_classes = np.issubdtype(targets.dtype, np.integer) and targets.shape[1] == 2
    return targets[:, 0] if are_classes else targets[:, :-1]


def _mixed(source: Examples, target: Examples, *, even: bool) -> Examples:
    """Both by turns; with `even`, the smaller one as often as it takes to give as many as the larger."""
    most = max(len(source), len(target))
    counts = (most, most) if even else (len(source), len(target))
    chosen = [np.arange(n) % max(1, len(part)) for n, part in zip(counts, (source, target), strict=True)]
    rows = np.concatenate([chosen[0], chosen[1] + len(source)])
    turns = np.argsort(np.concatenate([np.arange(n) / max(1, n) for n in counts]), kind="stable")
    return _joined(source, target).subset(rows[turns].tolist())


def _joined(source: Examples, target: Examples) -> Examples:
    unread = np.zeros_like(source.target_array, shape=(len(target), *source.target_array.shape[1:]))
    targets = np.concatenate([_with_domain(source.target_array, SOURCE), _with_domain(unread, TARGET)])
    return joined({"source": source, "target": target}, targets)


def _with_domain(targets: np.ndarray, domain: int) -> np.ndarray:
    columns = targets[:, None] if targets.ndim == 1 else targets
    return np.concatenate([columns, np.full_like(columns, domain, shape=(len(columns), 1))], axis=1)


def check_domains(source: Splits, target: Splits) -> None:
    """Refuse domains that are not read alike, or lack training examples."""
    for name, splits in (("source", source), ("target", target)):
        if not len(splits.train):
            raise InputError(f"The {name} has no training examples: give it a share of them.")
    if source.train.inputs.spec != target.train.inputs.spec:
        raise InputError(
            f"Source and target must be read alike, and differ: {source.train.inputs.spec} and "
            f"{target.train.inputs.spec}. Read both at one size, image_size=(224, 224) for instance."
        )
    if source.labels and target.labels and source.labels != target.labels:
        raise InputError(
            f"Source and target must have the same labels in the same order: {', '.join(source.labels)} and "
            f"{', '.join(target.labels)}."
        )
