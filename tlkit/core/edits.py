"""The fewest insertions, deletions and substitutions that turn one sequence into another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

EQUAL, SUBSTITUTED, DELETED, INSERTED = "equal", "substituted", "deleted", "inserted"


class Edit(NamedTuple):
    """One step of an alignment: `true` is None where something was inserted, `said` where something was deleted."""

    kind: str
    true: Any
    said: Any


def distance(true: Sequence[Any], said: Sequence[Any]) -> int:
    """How many edits turn one sequence into the other.

    Example:
        >>> distance("kitten", "sitting")
        3

    Source: Levenshtein 1966, Soviet Physics Doklady 10:707-710.
    """
    return int(_table(true, said)[-1, -1])


def align(true: Sequence[Any], said: Sequence[Any]) -> list[Edit]:
    """The edits that turn `true` into `said`, with what stays equal, in order.

    Example:
        >>> [edit.kind for edit in align("press one now".split(), "press won now".split())]
        ['equal', 'substituted', 'equal']
    """
    table, i, j, edits = _table(true, said), len(true), len(said), list[Edit]()
    while i or j:
        same = i > 0 and j > 0 and true[i - 1] == said[j - 1]
        if i and j and table[i, j] == table[i - 1, j - 1] + (not same):
            i, j = i - 1, j - 1
            edits.append(Edit(EQUAL if same else SUBSTITUTED, true[i], said[j]))
        elif i and table[i, j] == table[i - 1, j] + 1:
            i -= 1
            edits.append(Edit(DELETED, true[i], None))
        else:
            j -= 1
            edits.append(Edit(INSERTED, None, said[j]))
    return edits[::-1]


def _table(true: Sequence[Any], predicted: Sequence[Any]) -> np.ndarray:
    """Edits between all beginnings of both sequences: int (len(true) + 1, len(predicted) + 1)."""
    numbers: dict[Any, int] = {}
    first, second = (
        np.array([numbers.setdefault(x, len(numbers)) for x in side], np.int64) for side in (true, predicted)
    )
    columns = np.arange(len(second) + 1)
    table = np.zeros((len(first) + 1, len(second) + 1), np.int64)
    table[0] = columns
    for i, symbol in enumerate(first, start=1):
        row = np.minimum(table[i - 1, 1:] + 1, table[i - 1, :-1] + (second != symbol))
        # what is inserted costs one a place: the minimum over all places before, less their distance
        table[i] = np.minimum.accumulate(np.concatenate([[i], row]) - columns) + columns
    return table
