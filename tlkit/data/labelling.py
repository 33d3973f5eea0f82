"""What people call labels -> targets that a task can learn, and the strata by which a split balances them."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError

_SMALLEST = 1e-36  # below it float32 has few digits or none
_BINS = 10  # strata of a quantity to regress
_MISSING = frozenset(  # what tables write where nothing is
    ("", "nan", "-nan", "<na>", "nat", "#n/a", "#value!", "#ref!", "#div/0!", "#name?", "#num!", "#null!")
)
_CONTROLS = ("Cc", "Zl", "Zp")  # Unicode's categories of control characters and line breaks


@dataclass(frozen=True, eq=False)
class Labelled:
    """Targets and the names of their classes, labels or quantities.

    `kind` is "classes" (int32 (n,)), "multi-label" (float32 (n, k) of 0 and 1) or "values" (float32 (n, k)); `notes`
    are sentences on how the targets were read.
    """

    targets: np.ndarray
    names: tuple[str, ...]
    kind: str
    notes: tuple[str, ...] = ()


def from_names(values: Sequence[str], names: Sequence[str] | None = None) -> Labelled:
    """Class numbers in the order of `names` (by default the names that occur, sorted by code point).

    Example:
        >>> labelled = from_names(["cat", "ant", "cat"])
        >>> labelled.targets.tolist(), labelled.names
        ([1, 0, 1], ('ant', 'cat'))
    """
    classes = checked_names(sorted(set(values)) if names is None else names)
    number = {name: i for i, name in enumerate(classes)}
    unknown = sorted(set(values) - set(classes))
    if unknown:
        raise InputError(f"The label {unknown[0]!r:.60} is not among the given labels {list(classes)[:10]}.")
    return Labelled(np.array([number[value] for value in values], dtype=np.int32), classes, "classes")


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

    Strings and integers (n,) are classes, and so are whole floats that go with two names or more; rows that all hold
    exactly one 1 are one-hot, so classes too; other rows of 0 and 1 (n, k) are multi-label; floats (n,) or (n, k) are
    quantities to regress.

    Raises:
        InputError: If they are neither, or not finite, or class numbers leave gaps.
    """
    array = _array(values)
    checked = None if names is None else checked_names(names)
    if array.size == 0:
        return Labelled(np.zeros(0, dtype=np.int32), checked or (), "classes")
    if array.ndim == 1 and array.dtype.kind == "U":
        return from_names(array.tolist(), checked)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        raise InputError(
            "Targets must be strings or numbers of shape (n,) or (n, k). "
            f"Received: dtype={array.dtype}, shape={array.shape}."
        )
    one_column = array.size == len(array)  # Keras' own datasets give (n, 1)
    if one_column and (array.dtype.kind in "biu" or (checked is not None and len(checked) > 1)):
        return _from_numbers(array.reshape(-1), checked)
    return _from_rows(array.reshape(len(array), -1), checked)


def from_parts(parts: Sequence[Any], names: Sequence[str] | None = None) -> Labelled:
    """Targets of training, validation and test one behind the other, each as `from_values` takes them.

    Raises:
        InputError: As `from_values`, or if they are of different kinds.
    """
    arrays = [array for array in map(_array, parts) if array.size]
    kinds = {("text" if array.dtype.kind == "U" else "numbers", array.shape[1:]) for array in arrays}
    if len(kinds) > 1:
        shapes = " and ".join(f"{kind} of shape (n{''.join(f', {k}' for k in shape)})" for kind, shape in sorted(kinds))
        raise InputError(f"The targets of the parts are of different kinds: {shapes}.")
    return from_values(np.concatenate(arrays) if arrays else [], names)


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of labels, as they can be written a line each.

    Raises:
        InputError: If one is empty, repeats, or holds what no file of labels can.
    """
    if isinstance(names, str | bytes) or not hasattr(names, "__iter__"):
        raise InputError(f"`labels` must be a sequence of names, one a class. Received: {names!r:.60}.")
    labels = tuple(str(name) for name in names)
    for name in labels:
        if not name.strip():
            raise InputError(f"The label {name!r} is empty: name it.")
        if any("\ud800" <= character < "\ue000" for character in name):
            raise InputError(f"The label {name!r:.60} holds half of a character (a lone surrogate): correct it.")
        if any(unicodedata.category(character) in _CONTROLS for character in name):
            raise InputError(f"The label {name!r:.60} holds a line break or another control character: rename it.")
    if len(set(labels)) < len(labels):
        twice = next(name for name in labels if labels.count(name) > 1)
        raise InputError(f"`labels` holds {twice!r:.60} twice: give each class a name of its own.")
    return labels


def is_missing(text: str) -> bool:
    """Whether a cell says that nothing is there: empty, or nan and its like; NA and None may be names.

    Example:
        >>> is_missing("NaN"), is_missing("NA")
        (True, False)
    """
    return text.strip().casefold() in _MISSING


def alike(names: Sequence[str]) -> list[str]:
    """Notes on names that differ in case, blanks, quotes or accents' form alone, and so may be one class.

    Example:
        >>> alike(["Cat", "cat ", "dog"])
        ["The labels 'Cat', 'cat ' are taken as different classes: make them the same if they are one."]
    """
    by_form: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_form[" ".join(unicodedata.normalize("NFKC", name).casefold().strip("\"' ").split())].append(name)
    return [
        f"The labels {', '.join(map(repr, several))} are taken as different classes: make them the same if they are "
        "one."
        for several in by_form.values()
        if len(several) > 1
    ]


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


def _array(values: Any) -> np.ndarray:
    """Targets as an array of numbers or of strings.

    Raises:
        InputError: If they are no sequence, ragged, of mixed types, or one is missing.
    """
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise InputError(f"Targets must be a sequence with one for each example. Received: {type(values).__name__}.")
    array = values if isinstance(values, list | tuple) else np.asarray(values)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "OUS":
        return _at_least_a_row(array)
    flat = isinstance(array, list | tuple) or array.ndim == 1
    if flat and any(_is_text(target) or (_is_nothing(target) and not isinstance(target, float)) for target in array):
        return _strings(array)
    values = array.tolist() if isinstance(array, np.ndarray) else array
    array = _numbers(values)
    if array.dtype.kind in "Of" and array.size and array.ndim and all(isinstance(target, int) for target in values):
        raise InputError("Class numbers must fit into 64 bits: number classes from 0 without gaps.")
    return _at_least_a_row(array)


def _numbers(values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError("All targets must have the same length: give rows of 0 and 1 for several labels.") from error


def _at_least_a_row(array: np.ndarray) -> np.ndarray:
    if array.ndim == 0:
        raise InputError(f"Targets must be a sequence with one for each example. Received: {array.dtype.name}.")
    return array


def _strings(values: Any) -> np.ndarray:
    for i, value in enumerate(values):
        if _is_nothing(value) or (_is_text(value) and is_missing(_decoded(value))):
            raise InputError(f"Example {i} has no label, but {value!r}: leave it out, or label it.")
    for i, value in enumerate(values):
        if not _is_text(value):
            raise InputError(f"Targets must be all text or all numbers, and example {i} has {value!r:.60}.")
    return np.array([_decoded(value) for value in values], dtype=str) if len(values) else np.zeros(0, dtype=str)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _is_nothing(value: Any) -> bool:
    """Whether a value is None, or pandas' NA or NaT; NaN among numbers is refused as not finite."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (type(value) is float and math.isnan(value))
    )


def _decoded(value: str | bytes) -> str:
    return str(value) if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _from_numbers(array: np.ndarray, names: tuple[str, ...] | None) -> Labelled:
    numbers = np.unique(array)  # counted by what occurs, for class numbers may be as large as a product's
    if array.dtype.kind == "f" and not (np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all()):
        odd = next(number for number in numbers.tolist() if not float(number).is_integer())
        raise InputError(
            f"There are {len(names or ())} names for targets that are floats such as {odd!r}: names go with class "
            "numbers; leave `labels` out for numbers to predict."
        )
    low, high = int(numbers[0]), int(numbers[-1])
    count = len(names) if names is not None else high + 1
    if low < 0 or high >= count:
        hint = "" if names is None else f", for `labels` gives {len(names)} names"
        raise InputError(f"Class numbers must lie in [0, {max(1, count)}){hint}. Received: {low} to {high}.")
    if names is None and len(numbers) < count:
        absent = next(i for i, number in enumerate(numbers.tolist()) if i != number)
        raise InputError(
            f"No example has class number {absent}: number classes from 0 without gaps, or give `labels`. "
            f"Received: {low} to {high}."
        )
    classes = tuple(str(i) for i in range(count)) if names is None else names
    return Labelled(array.astype(np.int32), classes, "classes")


def _from_rows(array: np.ndarray, names: tuple[str, ...] | None) -> Labelled:
    rows = _in_float32(array)
    columns = tuple(str(i) for i in range(rows.shape[1])) if names is None else names
    if len(columns) != rows.shape[1]:
        raise InputError(f"There are {len(columns)} names for {rows.shape[1]} columns of targets.")
    binary = bool(np.isin(rows, (0, 1)).all())
    if rows.shape[1] == 1 or not binary:
        return Labelled(rows, columns, "values", _as_numbers() if binary else ())
    if (rows.sum(axis=1) == 1).all():
        return Labelled(rows.argmax(axis=1).astype(np.int32), columns, "classes")
    return Labelled(rows, columns, "multi-label")


def _in_float32(array: np.ndarray) -> np.ndarray:
    """Rows of numbers as they are learned, where nothing of them is lost."""
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise InputError(f"Targets must be finite, and row {bad} is not.")
    with np.errstate(over="ignore", under="ignore"):
        rows = array.astype(np.float32)
    for column, exact, rounded in zip(range(rows.shape[1]), array.astype(np.float64).T, rows.T, strict=True):
        largest = float(np.abs(exact).max())
        if not np.isfinite(rounded).all() or 0 < largest < _SMALLEST:
            size = "large" if largest > 1 else "small"
            raise InputError(
                f"Targets such as {largest:.3g} (column {column}) are too {size} for float32: write them in another "
                "unit."
            )
        if np.ptp(rounded) == 0 and np.ptp(exact) > 0:
            raise InputError(
                f"The targets of column {column} lie within {float(np.ptp(exact)):.2g} of {float(exact[0]):.9g}, which "
                "float32 does not tell apart: subtract a fixed number from them."
            )
    return rows


def _as_numbers() -> tuple[str, ...]:
    return (
        "The targets are floats that are all 0 or 1, and are taken as numbers to predict; whole numbers, as "
        "`.astype(int)` makes them, are classes.",
    )
