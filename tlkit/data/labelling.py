"""What people call labels -> targets that a task can learn, and the strata by which a split balances them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.errors import InputError

_BINS = 10  # strata of a quantity to regress


@dataclass(frozen=True, eq=False)
class Labelled:
    """Targets and the names of their classes, labels or quantities.

    `kind` is "classes" (int32 (n,)), "multi-label" (float32 (n, k) of 0 and 1) or "values" (float32 (n, k)).
    """

    targets: np.ndarray
    names: tuple[str, ...]
    kind: str


def from_names(values: Sequence[str], names: Sequence[str] | None = None) -> Labelled:
    """Class numbers in the order of `names` (by default the names that occur, sorted by code point).

    Example:
        >>> labelled = from_names(["cat", "ant", "cat"])
        >>> labelled.targets.tolist(), labelled.names
        ([1, 0, 1], ('ant', 'cat'))
    """
    known = tuple(sorted(set(values)) if names is None else names)
    number = {name: i for i, name in enumerate(known)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"The label {unknown[0]!r} is not among the given labels {list(known)[:10]}.")
    return Labelled(np.array([number[value] for value in values], dtype=np.int32), known, "classes")


def from_sets(values: Sequence[Sequence[str]], names: Sequence[str] | None = None) -> Labelled:
    """Multi-label targets: one column a label, 1 where an example carries it.

    Example:
        >>> from_sets([["red"], [], ["blue", "red"]]).targets.tolist()
        [[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    """
    flat = from_names([name for several in values for name in several], names)
    rows = np.repeat(np.arange(len(values)), [len(several) for several in values])
    targets = np.zeros((len(values), len(flat.names)), dtype=np.float32)
    targets[rows, flat.targets] = 1
    return Labelled(targets, flat.names, "multi-label")


def from_values(values: Any, names: Sequence[str] | None = None) -> Labelled:
    """Targets from an array or a list, by what it holds.

    Strings and integers (n,) are classes; rows that all hold exactly one 1 are one-hot, so classes too; other rows of
    0 and 1 (n, k) are multi-label; floats (n,) or (n, k) are quantities to regress.

    Raises:
        InputError: If they are neither, or not finite, or class numbers leave gaps.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError("All targets must have the same length: give rows of 0 and 1 for several labels.") from error
    if array.size == 0:
        return Labelled(np.zeros(0, dtype=np.int32), tuple(names or ()), "classes")
    if array.ndim == 1 and array.dtype.kind in "US":
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array.tolist()]
        return from_names(texts, names)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        raise InputError(
            "Targets must be strings or numbers of shape (n,) or (n, k). "
            f"Received: dtype={array.dtype}, shape={array.shape}."
        )
    if array.dtype.kind in "biu" and array.size == len(array):  # Keras' own datasets give (n, 1)
        return _from_numbers(array.reshape(-1), names)
    return _from_rows(array.reshape(len(array), -1), names)


def strata(labelled: Labelled, units: int | None = None) -> list[list[int]]:
    """The labels of each example for `splitting.divide`; quantities are cut by rank, ten units or more to a stratum.

    Args:
        labelled: Targets.
        units: How many things are divided, if not the examples: the count of groups.
    """
    if labelled.kind == "classes":
        return [[int(target)] for target in labelled.targets]
    if labelled.kind == "multi-label":
        return [np.flatnonzero(row).tolist() for row in labelled.targets]
    count = len(labelled.targets)
    bins = min(_BINS, (count if units is None else units) // 10)
    if bins < 2:
        return [[] for _ in range(count)]
    ranks = np.argsort(np.argsort(labelled.targets[:, 0], kind="stable"), kind="stable")
    return [[int(rank) * bins // count] for rank in ranks]


def _from_numbers(array: np.ndarray, names: Sequence[str] | None) -> Labelled:
    numbers = array.astype(np.int64)
    count = len(names) if names is not None else int(numbers.max(initial=-1)) + 1
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= count):
        raise InputError(
            f"Class numbers must lie in [0, {count}), one a label. Received: {numbers.min()} to {numbers.max()}."
        )
    absent = sorted(set(range(count)) - set(numbers.tolist())) if names is None else []
    if absent:
        raise InputError(
            f"No example has class number {absent[0]}: number classes from 0 without gaps, or give `labels`."
        )
    known = tuple(str(i) for i in range(count)) if names is None else tuple(names)
    return Labelled(numbers.astype(np.int32), known, "classes")


def _from_rows(array: np.ndarray, names: Sequence[str] | None) -> Labelled:
    rows = array.astype(np.float32)
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(f"Targets must be finite, and row {bad} is not.")
    known = tuple(str(i) for i in range(rows.shape[1])) if names is None else tuple(names)
    if len(known) != rows.shape[1]:
        raise InputError(f"There are {len(known)} names for {rows.shape[1]} columns of targets.")
    if rows.shape[1] == 1 or not np.isin(rows, (0, 1)).all():
        return Labelled(rows, known, "values")
    if (rows.sum(axis=1) == 1).all():
        return Labelled(rows.argmax(axis=1).astype(np.int32), known, "classes")
    return Labelled(rows, known, "multi-label")
