"""Targets from what people call labels."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.data.labelling import alike, from_names, from_parts, from_sets, from_values, strata


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


def test_whole_floats_with_names_are_classes():
    for values in ([0.0, 1.0, 1.0], [[0.0], [1.0], [1.0]]):  # Keras' label_mode="binary" gives (n, 1)
        labelled = from_values(np.array(values, np.float32), ["cat", "dog"])
        assert (labelled.targets.tolist(), labelled.names, labelled.kind) == ([0, 1, 1], ("cat", "dog"), "classes")
    labelled = from_values([0.0, 1.0])
    assert labelled.kind == "values" and ".astype(int)" in labelled.notes[0]
    assert from_values([0.0, 2.0]).notes == ()


def test_strings_of_pandas_are_classes():
    assert from_values(np.array(["b", "a"], dtype=object)).targets.tolist() == [1, 0]
    assert from_values(np.array([1, 0, 2], dtype=object)).targets.tolist() == [1, 0, 2]


def test_parts_are_one_behind_the_other():
    assert from_parts([["b", "a"], ["c"]]).targets.tolist() == [1, 0, 2]
    assert from_parts([[0, 1], []]).targets.tolist() == [0, 1]
    with pytest.raises(InputError, match=r"different kinds: numbers of shape \(n\) and text of shape \(n\)"):
        from_parts([["b", "a"], [1]])
    with pytest.raises(InputError, match=r"numbers of shape \(n\) and numbers of shape \(n, 2\)"):
        from_parts([[0, 1], [[0, 1]]])


def test_names_that_may_be_one_class_are_noted():
    assert alike(["Cat", "cat", '"cat', "dog", "caf\u00e9", "cafe\u0301"]) == [
        "The labels 'Cat', 'cat', '\"cat' are taken as different classes: make them the same if they are one.",
        "The labels 'caf\u00e9', 'cafe\u0301' are taken as different classes: make them the same if they are one.",
    ]


@pytest.mark.parametrize("number", [10**8, 10**12, 2**62, 2**63, 2**70])
def test_large_class_numbers_are_refused_at_once(number):
    with pytest.raises(InputError, match=r"number classes from 0 without gaps"):
        from_values([0, number, number])


def test_given_names_decide_the_order():
    assert from_values(["cat", "ant"], ["cat", "ant"]).targets.tolist() == [0, 1]
    assert from_values([1, 0], ["cat", "ant"]).names == ("cat", "ant")


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        ([0, 2], None, "No example has class number 1: number classes from 0 without gaps"),
        ([-1, 0], None, r"Class numbers must lie in \[0, 1\)"),
        ([0, 3], ["a", "b"], r"must lie in \[0, 2\), for `labels` gives 2 names. Received: 0 to 3"),
        (["a", "z"], ["a", "b"], "The label 'z' is not among the given labels"),
        ([0.5, float("nan")], None, "Targets must be finite, and row 1 is not"),
        ([[0.0, 1.0]], ["a"], "There are 1 names for 2 columns"),
        ([[1], [1, 0]], None, "All targets must have the same length"),
        ([[[1]]], None, "Targets must be strings or numbers"),
        ([0.5, 1.0], ["a", "b"], "2 names for targets that are floats such as 0.5"),
        (["a", None], None, "Example 1 has no label, but None"),
        (["a", float("nan")], None, "Example 1 has no label, but nan"),
        (["a", "NaN"], None, "Example 1 has no label, but 'NaN'"),
        *((["a", word], None, f"Example 1 has no label, but '{word}'") for word in ("-nan", "#DIV/0!", "#NUM!")),
        ([1e39, 0.5], None, r"such as 1e\+39 \(column 0\) are too large for float32: write them in another unit"),
        ([[0.5, 1e-60], [1.5, 0.0]], None, r"such as 1e-60 \(column 1\) are too small for float32"),
        ([1e9 + 0.5, 1e9 + 1.5], None, "lie within 1 of 1e\\+09, which float32 does not tell apart: subtract"),
        (["a", ""], None, "Example 1 has no label, but ''"),
        (["a", 1], None, "all text or all numbers, and example 1 has 1"),
        ([1, None], None, "Example 1 has no label"),
        (["a", "\ud800"], None, "half of a character"),
        (["a", "b\nc"], None, r"The label 'b\\nc' holds a line break"),
        (["a", "b\x1b"], None, "another control character"),
        ([0, 1], "ab", "`labels` must be a sequence of names"),
        ([0, 1], ["a", "a"], "`labels` holds 'a' twice"),
        ("ab", None, "Targets must be a sequence with one for each example. Received: str"),
        (3, None, "Targets must be a sequence with one for each example. Received: int"),
        ({0, 1}, None, "Received: set"),
        ([1j], None, "Targets must be strings or numbers"),
        ([{"a": 1}], None, "Targets must be strings or numbers"),
    ],
)
def test_what_is_no_target_is_refused(values, names, message):
    with pytest.raises(InputError, match=message):
        from_values(values, names)


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e9, 1e30])
def test_quantities_of_any_size_that_float32_holds_are_taken(size):
    labelled = from_values(size * np.array([1.0, -2.0, 3.5]))
    np.testing.assert_allclose(labelled.targets[:, 0] / size, [1.0, -2.0, 3.5], rtol=1e-6)


def test_strata_of_quantities_are_cut_by_rank():
    falling = from_values(np.linspace(9, 0, 100))
    assert [row[0] for row in strata(falling)] == sorted([*range(10)] * 10, reverse=True)
    assert strata(falling, units=15) == [[]] * 100
    assert {row[0] for row in strata(falling, units=20)} == {0, 1}


def test_strata_of_classes_and_labels():
    assert strata(from_names(["b", "a"])) == [[1], [0]]
    assert strata(from_sets([["b", "a"], []])) == [[0, 1], []]
