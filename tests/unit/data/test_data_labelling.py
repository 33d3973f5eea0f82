"""Targets from what people call labels."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.data.labelling import from_names, from_sets, from_values, strata
from tlkit.errors import InputError


@pytest.mark.parametrize(
    ("values", "kind", "targets", "names"),
    [
        (["b", "a", "b"], "classes", [1, 0, 1], ("a", "b")),
        ([b"b", b"a"], "classes", [1, 0], ("a", "b")),
        ([1, 0, 2], "classes", [1, 0, 2], ("0", "1", "2")),
        ([[1], [0]], "classes", [1, 0], ("0", "1")),
        ([True, False], "classes", [1, 0], ("0", "1")),
        ([[0, 1], [1, 0]], "classes", [1, 0], ("0", "1")),
        ([[0.0, 1.0], [1.0, 1.0]], "multi-label", [[0, 1], [1, 1]], ("0", "1")),
        ([0.5, 2.0], "values", [[0.5], [2.0]], ("0",)),
        ([[0.5, 1.0], [2.0, 1.0]], "values", [[0.5, 1.0], [2.0, 1.0]], ("0", "1")),
    ],
)
def test_values_say_what_they_are(values, kind, targets, names):
    labelled = from_values(values)
    assert (labelled.kind, labelled.names) == (kind, names)
    np.testing.assert_array_equal(labelled.targets, targets)
    assert labelled.targets.dtype == (np.int32 if kind == "classes" else np.float32)


def test_given_names_decide_the_order():
    assert from_values(["cat", "ant"], ["cat", "ant"]).targets.tolist() == [0, 1]
    assert from_values([1, 0], ["cat", "ant"]).names == ("cat", "ant")


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        ([0, 2], None, "No example has class number 1: number classes from 0 without gaps"),
        ([-1, 0], None, r"Class numbers must lie in \[0, 1\)"),
        ([0, 3], ["a", "b"], r"Class numbers must lie in \[0, 2\), one a label. Received: 0 to 3"),
        (["a", "z"], ["a", "b"], "The label 'z' is not among the given labels"),
        ([0.5, float("nan")], None, "Targets must be finite, and row 1 is not"),
        ([[0.0, 1.0]], ["a"], "There are 1 names for 2 columns"),
        ([[1], [1, 0]], None, "All targets must have the same length"),
        ([[[1]]], None, "Targets must be strings or numbers"),
        ([{"a": 1}], None, "Targets must be strings or numbers"),
    ],
)
def test_what_is_no_target_is_refused(values, names, message):
    with pytest.raises(InputError, match=message):
        from_values(values, names)


def test_strata_of_quantities_are_cut_by_rank():
    falling = from_values(np.linspace(9, 0, 100))
    assert [row[0] for row in strata(falling)] == sorted([*range(10)] * 10, reverse=True)
    assert strata(falling, units=15) == [[]] * 100
    assert {row[0] for row in strata(falling, units=20)} == {0, 1}


def test_strata_of_classes_and_labels():
    assert strata(from_names(["b", "a"])) == [[1], [0]]
    assert strata(from_sets([["b", "a"], []])) == [[0, 1], []]
