"""The records: what a fingerprint sees, and how often each label occurs."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits


def examples(targets):
    names = tuple(map(str, range(len(targets))))
    return Examples(names, lambda i: np.zeros(2, np.float32), targets, ArraySpec((2,), "float32"), names)


def ragged(*rows):
    targets = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        targets[i] = np.array(row)
    return targets


def test_ragged_targets_have_the_fingerprint_of_their_content():
    prints = [examples(ragged([1, 2], [3])).fingerprint for _ in range(2)]
    assert prints[0] == prints[1]
    others = (ragged([1, 2], [4]), ragged([1], [2, 3]), ragged([1.0, 2.0], [3.0]))
    assert len({prints[0], *(examples(other).fingerprint for other in others)}) == 4
    fields = np.empty(2, dtype=[("a", object), ("b", "i4")])
    fields["a"], fields["b"] = ragged([1], [2, 3]), 0
    same, changed = fields.copy(), fields.copy()
    same["a"] = ragged([1], [2, 3])
    changed["b"] = 1
    assert examples(fields).fingerprint == examples(same).fingerprint != examples(changed).fingerprint


def test_targets_that_have_no_content_are_refused():
    targets = np.empty(1, dtype=object)
    targets[0] = object()
    with pytest.raises(InputError, match="Target 0 is neither numbers nor text"):
        examples(targets).fingerprint  # noqa: B018


def test_labels_of_words_are_counted_one_by_one():
    words = np.array([[3, 3, 3, 0], [0, 0, 3, 3], [0, 0, -1, -1]], np.int32)  # as many steps as labels
    part = examples(words)
    splits = Splits(part, part.subset([0]), part.subset([]), ("a", "b", "c", "d"))
    assert splits.counts == {"a": (5, 1, 0), "b": (0, 0, 0), "c": (0, 0, 0), "d": (5, 3, 0)}


def test_classes_and_several_labels_are_counted_and_values_are_not():
    classes = examples(np.array([0, 1, 1], np.int32))
    assert Splits(classes, classes, classes, ("a", "b")).counts == {"a": (1, 1, 1), "b": (2, 2, 2)}
    several = examples(np.array([[1, 1], [0, 1]], np.float32))
    assert Splits(several, several, several, ("a", "b")).counts == {"a": (1, 1, 1), "b": (2, 2, 2)}
    ages = examples(np.array([[31.5], [0.7]], np.float32))
    assert Splits(ages, ages, ages, ("age",)).counts == {}
