"""Tables: what columns hold, how rows are read, and each sentence that refuses."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.data import table
from tlkit.data.table_columns import as_categories, as_numbers, establish, input_names
from tlkit.data.table_module import MOST_VALUES, _edges, _encoded, known_values, measured

COUNT = 60


def frame(**changes):
    """Rows of two classes: a number, a category, and what is changed of them."""
    rng = np.random.default_rng(0)
    columns = {
        "age": rng.normal(40, 10, COUNT).round(1).tolist(),
        "job": rng.choice(["cook", "clerk", "nurse"], COUNT).tolist(),
        "label": ["yes", "no"] * (COUNT // 2),
    }
    return {name: cells for name, cells in (columns | changes).items() if cells is not None}


def spread(*cells):
    """A column of these cells again and again."""
    return [cells[i % len(cells)] for i in range(COUNT)]


KINDS = {
    "numbers as texts": (spread("1", "2.5", "", "-3e2"), "number"),
    "Python's numbers": (spread(1, 2.5, None, math.nan), "number"),
    "truth values": (spread(True, False, None), "number"),
    "texts": (spread("red", "blue", "?", ""), "category"),
    "postcodes": (spread("01234", "98765"), "category"),
    "some numbers": (spread("1", "2", "red"), "category"),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_are_established(name):
    cells, kind = KINDS[name]
    (column,) = establish({"x": cells}).columns
    assert (column.name, column.kind) == ("x", kind)


LEFT_OUT = {
    "constant": (spread("same"), "holds 'same' in every row"),
    "empty": (spread("", None, "nan"), "is empty"),
    "dates": (spread("2024-01-05", "2024-02-07", "2023-12-31"), "holds dates"),
    "dates of Python": (spread(datetime.date(2024, 1, 5), datetime.date(2024, 1, 6)), "holds dates"),
    "dates of two digits": (spread("05/01/24", "06/01/24"), "holds dates"),
    "dates in words": (spread("5-Jan-2024", "Jan 6, 2024"), "holds dates"),
    "row numbers": (list(range(7, 7 + COUNT)), "counts the rows"),
    "row numbers out of order": (np.random.default_rng(0).permutation(COUNT).tolist(), "counts the rows"),
    "names": ([f"person {i} of {i}" for i in range(COUNT)], "another text in almost every row"),
    "texts": ([f"this is review number {i} of the shop" for i in range(COUNT)], "holds texts"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_columns_that_tell_nothing_are_left_out_and_noted(name):
    cells, sentence = LEFT_OUT[name]
    established = establish({"x": cells, "age": spread(1, 2, 3)})
    assert [column.name for column in established.columns] == ["age"]
    assert any(sentence in note and "'x'" in note for note in established.notes)


NOTED = {
    "whole numbers that all differ": ([7 * i * i for i in range(2 * COUNT)], "if it names them, leave_out=['x']"),
    "a unit": (spread("36 months", "60 months"), "holds numbers in 'months'"),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_may_be_meant_otherwise_is_noted(name):
    cells, sentence = NOTED[name]
    established = establish({"x": cells})
    assert len(established.columns) == 1 and any(sentence in note for note in established.notes)


def test_slips_among_numbers_are_missing_and_noted():
    established = establish({"x": [*map(str, range(0, 3 * COUNT, 3)), "?", "abc"]})
    assert established.columns[0].kind == "number" and any(
        "2 of 62 cells of 'x' are no numbers" in n for n in established.notes
    )
    assert np.isnan(as_numbers(["3", "abc", None, "1_000"])[:, 0]).tolist() == [False, True, True, True]


def test_whole_floats_and_numbers_are_the_same_category():
    assert as_categories([3.0, 3, "3", None, "?", math.nan])[:, 0].tolist() == ["3", "3", "3", "", "", ""]
    texts = ["3.0", "3.00", "-20.0", "0.0", "3.5", "007.0", "1.0.0"]
    assert as_categories(texts)[:, 0].tolist() == ["3", "3", "-20", "0", "3.5", "007.0", "1.0.0"]


def test_names_of_inputs_differ():
    names = input_names(["Größe (m)", "größe m", "_", "1", "a", "a "])
    assert len(set(names.values())) == 6 and all(name.isidentifier() for name in names.values())


REFUSED = {
    "decimal commas": (lambda: establish({"x": spread("3,5", "2,25")}), "such as '3,5'"),
    "thousands": (lambda: establish({"x": spread("1,234", "12,500", "1,234,567")}), "write them as 1234.5"),
    "units": (lambda: establish({"x": spread("$5", "$12.50")}), "holds numbers with units"),
    "thousands among small ones": (lambda: establish({"x": [*map(str, range(100, 900)), "1,234"]}), "as 1234.5"),
    "thin spaces": (lambda: establish({"x": spread("1\u202f234", "12\xa0500")}), "write them as 1234.5"),
    "too large": (lambda: establish({"x": spread(1, 1e300)}), "or one too large to compute with"),
    "hundreds of digits": (lambda: table.from_frame(frame(age=spread(1, 10**400)), numbers=["age"]), "too large"),
    "sets": (lambda: establish({"x": spread({1}, {2})}), "holds set, not one value a row"),
    "like in other words": (
        lambda: table.from_frame(frame(age=spread("3,5")), like=table.from_frame(frame())), "such as '3,5': write them"
    ),
    "like with lists": (
        lambda: table.from_frame(frame(job=spread(["a"])), like=table.from_frame(frame())), "holds list, not one value"
    ),
    "infinite": (lambda: establish({"x": spread("1", "inf")}), "holds an infinite number"),
    "lists": (lambda: establish({"x": spread([1], [2])}), "holds list, not one value a row"),
    "nothing left": (lambda: establish({"x": spread("a")}), "No column is left"),
    "unknown name": (lambda: establish({"x": spread(1, 2)}, numbers=["y"]), "the one that is meant, `numbers`"),
    "named twice": (lambda: establish({"x": spread(1, 2)}, numbers=["x"], leave_out=["x"]), "name it in one"),
    "a text for a list": (lambda: establish({"x": spread(1, 2)}, numbers="x"), "is a list of columns"),
    "texts that are not there": (lambda: table.from_frame(frame(), texts=["y"]), "the one that is meant, `texts`"),
    "texts and categories": (
        lambda: table.from_frame(frame(), texts=["job"], categories=["job"]), "named in `categories` and in `texts`"
    ),
    "texts in lists": (lambda: table.from_frame(frame(job=spread(["a"])), texts=["job"]), "holds list, not one value"),
    "two columns of images": (lambda: table.from_frame(frame(), images=["age", "job"]), "has one column of images"),
    "no image at all": (lambda: table.from_frame(frame(), images=["job"]), "There is no usable example"),
    "no frame": (lambda: table.from_frame([1, 2]), "must be a pandas DataFrame"),
    "ragged frame": (lambda: table.from_frame(frame(age=[1.0])), "must have one length"),
    "no column of cells": (lambda: table.from_frame(frame(age="abc")), "must hold one value a row"),
    "no such label": (lambda: table.from_frame(frame(), label="income"), "no column 'income'"),
    "no label": (lambda: table.from_frame(frame(), label=[]), "`label` must name a column, or be a list"),
    "label missing": (lambda: table.from_frame(frame(label=spread("a", "b", ""))), "has no label"),
    "one class": (lambda: table.from_frame(frame(label=spread("a"))), "a classifier needs two"),
    "numbers as label": (lambda: table.from_frame(frame(label=list(np.arange(COUNT) / 7))), "are no classes"),
    "text to regress": (lambda: table.from_frame(frame(), label=["label"]), "no finite number in column 'label'"),
    "bad part": (lambda: table.from_frame(frame(part=spread("train", "exam")), split="part"), "names the part 'exam'"),
    "bad shares": (lambda: table.from_frame(frame(), split=(0, 1, 0)), "`split` must be three shares"),
    "like and categories": (
        lambda: table.from_frame(frame(), like=table.from_frame(frame()), categories=["age"]),
        "`like` says what the columns hold: leave out `categories`. Received: categories=['age']",
    ),
    "like and leave_out": (
        lambda: table.from_frame(frame(), like=table.from_frame(frame()), leave_out=["job"]),
        "`like` has the column 'job': `leave_out` may name columns that it lacks",
    ),
    "numbers far from 0": (
        lambda: table.module(table.from_frame(frame(when=[40_000_000 + 8 * i for i in range(COUNT)]))),
        "around 40000230.67, which the model could not tell apart: subtract 40000008",
    ),
    "like nothing": (lambda: table.from_frame(frame(), like="nowhere"), "folder of a table's module"),
    "like lacks": (
        lambda: table.from_frame(frame(job=None), like=table.from_frame(frame())), "lacks the column 'job'"
    ),
    "like of other labels": (
        lambda: table.from_frame(frame(label=spread("a", "b")), like=table.from_frame(frame())), "not among those"
    ),
    "no table": (lambda: table.from_table("here.xls"), "must end in .csv"),
    "dicts": (lambda: establish({"x": spread({"a": 1})}), "holds dict, not one value a row"),
    "minus infinite": (lambda: establish({"x": spread(1.0, -math.inf)}), "holds an infinite number"),
    "one row": (lambda: table.from_frame({"age": [3], "label": ["a"]}), "No column is left"),
    "two rows": (lambda: table.from_frame({"age": [3, 4], "label": ["a", "b"]}), "2 examples are too few"),
    "module without rows": (lambda: table.module(table.from_frame(frame()), bins=0), "`bins` must be 1 or more"),
    "module of no width": (lambda: table.module(table.from_frame(frame()), hidden=()), "hold a width or more"),
    "module all dropped": (lambda: table.module(table.from_frame(frame()), dropout=1), "lie in [0, 1)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_each_refusal_is_one_sentence(name):
    call, sentence = REFUSED[name]
    with pytest.raises(InputError) as refused:
        call()
    message = str(refused.value)
    assert sentence in message and "\n" not in message and message.rstrip()[-1] in ".!?"


def test_a_row_is_its_cells_with_what_is_missing_marked(tmp_path):
    (tmp_path / "t.csv").write_text("age;job;label\n" + "39;cook;yes\n;;no\n51;Köchin;yes\n40;cook;no\n" * 5)
    data = table.from_table(tmp_path / "t.csv", split=(1, 0, 0))
    first, second = data.train.inputs[0], data.train.inputs[1]
    assert first["age"][0] == 39 and first["job"][0] == "cook" and first["age"].dtype == np.float32
    assert np.isnan(second["age"][0]) and second["job"][0] == ""
    assert any("separated by semicolons" in note for note in data.notes)
    assert any("Cells are missing in 2 columns: age 25.0%, job 25.0%" in note for note in data.notes)


def test_equal_rows_have_equal_digests_in_any_table():
    first, other = (
        table.from_frame(frame(job=spread("a", "b", last)), split=(1, 0, 0)).train for last in ("c", "longer")
    )
    same = [a == b for a, b in zip(first.digests, other.digests, strict=True)]
    assert same == [i % 3 != 2 for i in range(COUNT)]
    assert first.subset([3, 1]).digests == (first.digests[3], first.digests[1])


def test_a_column_that_tells_every_label_is_named():
    leak = ["1" if label == "yes" else "0" for label in frame()["label"]]
    data = table.from_frame(frame(paid=leak))
    assert any("'paid' alone tells the label" in note for note in data.notes)


def test_numbers_that_divide_the_labels_are_named():
    amount = [10.5 + i if label == "yes" else -i for i, label in enumerate(frame()["label"])]
    assert any("'amount' alone tells the label" in note for note in table.from_frame(frame(amount=amount)).notes)


def test_columns_without_a_name_are_not_lost(tmp_path):
    (tmp_path / "t.csv").write_text("a,,label,\n" + "1,2,x,3\n" * 4)
    with pytest.raises(InputError, match="has 2 columns without a name that hold cells"):
        table.from_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("a,,label,\n" + "1,,x,\n2,,y,\n" * 12)
    assert list(table.from_table(tmp_path / "t.csv").train.inputs.spec) == ["a"]


def test_a_category_of_countless_values_has_a_bounded_place():
    count = 300_000
    cells = {"who": [f"n{i}" for i in range(count)], "age": [i % 7 for i in range(count)]}
    established = establish(cells)
    assert [column.name for column in established.columns] == ["age"], "names are left out, and that is noted"
    forced = establish(cells, categories=["who"])
    assert [column.kind for column in forced.columns] == ["category", "number"]
    assert len(known_values(as_categories(cells["who"])[:, 0], 3)) == MOST_VALUES


def test_half_of_a_character_is_none():
    assert as_categories(["caf\ud83d", "café"])[:, 0].tolist() == ["caf?", "café"]


def test_rows_that_repeat_are_counted_and_no_mistake():
    data = table.from_frame({"age": spread(1, 2), "label": ["a", "b", "b"] * 20})
    assert data.duplicates == () and any("equal a training row in every column" in note for note in data.notes)
    assert not any("label is wrong" in note for note in data.notes)


def test_a_slice_is_read_like_the_whole():
    whole = table.from_frame(frame())
    part = table.from_frame(frame(job=spread("cook")), like=whole, split=(1, 0, 0))
    assert part.train.inputs.spec.keys() == whole.train.inputs.spec.keys() and part.labels == whole.labels


def test_numbers_are_measured_without_what_is_missing():
    rows = np.array([[1, 0], [2, 0], [3, 0], [math.nan, 8]], np.float32)
    measures = measured(rows, 4)
    assert measures.means.tolist() == [2, 2] and measures.medians.tolist() == [2, 0]
    assert measures.unit.tolist() == [1, 4] and measures.missing.tolist() == [1, 0]
    ends = measures.left.sum(axis=0) + 1 / np.where(measures.used > 0, measures.inverse, 1)
    assert measures.left.sum(axis=0)[0, 0] == -1 and ends[0][measures.used[0] > 0][-1] == pytest.approx(1)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 2e6, 1e12])
def test_encoded_numbers_are_right_and_each_constant_is_one_of_float16(scale):
    import tensorflow as tf

    rows = (np.random.default_rng(0).normal(30, 4, (500, 2)) * scale).astype(np.float32)
    rows[::9, 1] = np.nan
    measures = measured(rows, 8)
    for constant in (measures.mean, measures.left, *np.exp2(np.clip(-np.log2(measures.unit), -24, 15))[None]):
        assert np.array_equal(np.float16(constant).astype(np.float64), np.asarray(constant, np.float64))
    encoded = _encoded(tf.constant(rows), measures).numpy()
    shares, u, missing = encoded[:, :16].reshape(-1, 2, 8), encoded[:, 16:18], encoded[:, 18:]
    filled = np.where(np.isnan(rows), measures.medians, rows)
    expected = (filled - measures.means) / measures.unit
    np.testing.assert_allclose(u, np.clip(expected, -5, 5), atol=2e-5)
    edges = np.quantile(expected[:, 0], np.linspace(0, 1, 9))
    np.testing.assert_allclose(shares[:, 0], np.clip((expected[:, :1] - edges[:-1]) / np.diff(edges), 0, 1), atol=2e-3)
    assert missing[:, 1].tolist() == np.isnan(rows[:, 1]).tolist() and not missing[:, 0].any()


def test_edges_see_what_few_rows_hold():
    values = np.r_[np.zeros(95), [5, 6, 7, 8, 100]]
    assert len(np.unique(np.quantile(values, np.linspace(0, 1, 9)))) == 2
    assert len(_edges(values, 8)) >= 5
    assert _edges(np.arange(100.0), 4).tolist() == pytest.approx([0, 24.75, 49.5, 74.25, 99])
    assert _edges(np.zeros(5), 4).tolist() == [-0.5, 0.5]


def test_rare_values_are_not_known_unless_all_are_rare():
    assert known_values(np.array(["a", "a", "b", ""]), 2) == ("a",)
    assert known_values(np.array(["a", "b"]), 3) == ("a", "b")
