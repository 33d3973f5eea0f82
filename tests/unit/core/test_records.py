"""The records: what a fingerprint sees, and how often each label occurs."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.core.columns import ArrayColumn, RaggedColumn, ReadColumn, joined
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Pipeline, Splits


def labelled(targets):
    inputs = ReadColumn(lambda i: np.zeros(2, np.float32), ArraySpec((2,), "float32"), ("0", "1"))
    return Examples(("0", "1"), inputs, targets)


def examples(targets):
    names = tuple(map(str, range(len(targets))))
    return Examples(
        names, ReadColumn(lambda i: np.zeros(2, np.float32), ArraySpec((2,), "float32"), names), ArrayColumn(targets)
    )


def ragged(*rows):
    return RaggedColumn([np.array(row) for row in rows])


def test_ragged_targets_have_the_fingerprint_of_their_content():
    prints = [labelled(ragged([1, 2], [3])).fingerprint for _ in range(2)]
    assert prints[0] == prints[1]
    others = (ragged([1, 2], [4]), ragged([1], [2, 3]), ragged([1.0, 2.0], [3.0]))
    assert len({prints[0], *(labelled(other).fingerprint for other in others)}) == 4


def test_a_batch_of_ragged_targets_keeps_its_shape():
    column = RaggedColumn([np.ones((2, 5)), np.ones((0, 5)), np.ones((3, 5))], fill=-1)
    assert column.take(np.array([1])).shape == (1, 3, 5) and (column.take(np.array([1])) == -1).all()
    assert column.subset([0, 1]).take(np.array([0, 1])).shape == (2, 3, 5)


def test_ragged_rows_share_the_dtype_that_holds_all():
    for rows in (([[0, 1, 2]], [[0.5, 0.25, 0.75]]), ([[0.5, 0.25, 0.75]], [[0, 1, 2]])):
        column = ragged(*rows)
        assert column.spec == ArraySpec((1, 3), "float64")
        assert column.take(np.array([0, 1])).tolist() == [list(row) for row in rows]
        assert column.take(np.array([1, 0])).tolist() == [list(row) for row in rows[::-1]]
    column = RaggedColumn([np.array([]), np.array([[1, 2]], np.int32), np.zeros((0, 2))])
    assert column.spec == ArraySpec((1, 2), "int32") and column.take(np.array([0])).tolist() == [[[0, 0]]]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (([1, 2], [[3, 4]]), {}, r"differ in their count alone.*shapes \[\(\), \(2,\)\]"),
        (([1, 2], ["a"]), {}, "all numbers or all texts"),
        ((1, 2), {}, r"holds arrays \(k, ...\)"),
        ((np.array([1, 2], np.uint8),), {"fill": -1}, r"RaggedColumn of uint8 must be .*fill=-1"),
        (([1, 2],), {"fill": float("nan")}, "must be a value of that"),
        (([True],), {"fill": 2}, "must be a value of that"),
    ],
)
def test_ragged_rows_that_are_no_batch_are_refused(rows, options, message):
    with pytest.raises(InputError, match=message):
        RaggedColumn([np.array(row) for row in rows], **options)


def test_a_ragged_batch_never_loses_fractions():
    column = ragged([1, 2], [3])
    with pytest.raises(InputError, match=r"of int64 rows .* cannot batch float64 rows"):
        column.batch([np.array([1.5])])
    assert column.batch([np.array([1], np.int32)]).dtype == np.int64


def test_joined_ragged_columns_share_dtype_and_shape():
    whole = joined([ragged([1, 2]), ragged([0.5, 1.5, 2.5])])
    assert whole.spec == ArraySpec((3,), "float64")
    assert whole.take(np.array([0, 1])).tolist() == [[1, 2, 0], [0.5, 1.5, 2.5]]


def test_a_part_without_examples_keeps_the_shape_of_ragged_rows():
    column = RaggedColumn([np.ones((2, 5), np.float32)]).subset([])
    assert column.spec == ArraySpec((2, 5), "float32")
    assert column.take(np.array([], np.int64)).shape == (0, 2, 5)


def test_targets_that_have_no_content_are_refused():
    targets = np.empty(1, dtype=object)
    targets[0] = object()
    with pytest.raises(InputError, match=r"numbers or texts\. Received: object"):
        examples(targets)


def test_columns_of_another_length_are_refused():
    with pytest.raises(InputError, match=r"There are 2 ids, and .'targets': 3."):
        labelled(ArrayColumn(np.zeros(3)))


def test_targets_that_are_no_array_are_named_where_one_is_needed():
    with pytest.raises(InputError, match=r"must be one array, an ArrayColumn\. Received: a RaggedColumn"):
        _ = labelled(ragged([1], [2])).target_array


def test_arrays_are_taken_as_columns():
    taken = Examples(("a", "b"), np.ones((2, 3), np.float32), np.array([0, 1]))
    assert taken.inputs.spec == ArraySpec((3,), "float32") and taken.target_array.tolist() == [0, 1]
    assert len(set(taken.digests)) == 1


def test_the_order_of_arguments_does_not_change_a_pipeline():
    first, other = Pipeline().then("x", a=1, b=None), Pipeline().then("x", b=None, a=1)
    assert first.fingerprint == other.fingerprint == Pipeline.of(first.plain()).fingerprint
    assert first.fingerprint != first.then("y").fingerprint and first.get("y") is None


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
