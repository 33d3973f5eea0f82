"""Texts that a module sees in windows: what their windows say together, and the texts themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core.columns import DigestedColumn
from tlkit.core.examples import Examples

OF = "window_of"  # the column of windows: "id" and "digest" of its text, and which "share" of it it shows


def texts_of(examples: Examples, name: str) -> tuple[str, ...]:
    """One field of the column that says which text each window is of."""
    return tuple(str(examples.columns[OF][i][name]) for i in range(len(examples)))


def owners(examples: Examples) -> np.ndarray:
    """int64 (n,): which text each window is of, in the order in which texts first come."""
    number: dict[str, int] = {}
    return np.asarray([number.setdefault(owner, len(number)) for owner in texts_of(examples, "id")], np.int64)


def whole(examples: Examples) -> Examples:
    """The texts, one example each, where examples are windows of texts; else the examples as they are.

    Their inputs are those of their first windows, and their weights those of all.
    """
    if OF not in examples.columns:
        return examples
    of = owners(examples)
    _, first = np.unique(of, return_index=True)
    texts = examples.subset(first.tolist())
    weights = None if examples.weights is None else np.bincount(of, examples.weights).astype(np.float32)
    return dataclasses.replace(
        texts,
        ids=texts_of(texts, "id"),
        inputs=DigestedColumn(texts.inputs, texts_of(texts, "digest")),
        columns={name: column for name, column in texts.columns.items() if name != OF},
        weights=weights,
    )


def together(examples: Examples, outputs: Any) -> Any:
    """What windows say of their texts: the mean of each text's rows, weighted by how much of it a window shows.

    Args:
        examples: Windows, or examples of another kind, whose outputs pass as they are.
        outputs: Decoded outputs (n, ...), or a dict of them.

    Returns:
        float32, first axis the texts.
    """
    if OF not in examples.columns:
        return outputs
    if isinstance(outputs, Mapping):
        return {name: together(examples, output) for name, output in outputs.items()}
    return averaged(outputs, owners(examples), examples.columns[OF].take(np.arange(len(examples)))["share"])


def averaged(rows: np.ndarray, of: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The mean of the rows of each owner, weighted by shares: float32 (owners, ...).

    Example:
        >>> averaged(np.array([[1.0], [0.0], [0.5]]), np.array([0, 0, 1]), np.array([0.75, 0.25, 1.0])).tolist()
        [[0.75], [0.5]]
    """
    count = int(of.max(initial=-1)) + 1
    weights = shares / np.bincount(of, shares, minlength=count)[of]  # windows may be a part of their text's
    sums = np.zeros((count, *rows.shape[1:]))
    np.add.at(sums, of, rows * weights.reshape(-1, *(1,) * (rows.ndim - 1)))
    return sums.astype(np.float32)


def of_texts(examples: Examples, chosen: Sequence[int]) -> Examples:
    """The examples at some positions; where they are windows, all windows of the texts at these positions."""
    if OF not in examples.columns:
        return examples.subset(chosen)
    of = owners(examples)
    return examples.subset([int(i) for number in chosen for i in np.flatnonzero(of == number)])


def by_text(examples: Examples, values: np.ndarray) -> np.ndarray:
    """What is known of each text, for each of its windows."""
    return values[owners(examples)] if OF in examples.columns else values
