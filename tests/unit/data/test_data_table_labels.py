"""Labels of a table: several in a cell, none, and which row they are in."""

import pytest

from tlkit.core.errors import InputError
from tlkit.data import table_formats, tables


def test_cells_with_several_labels_are_noted():
    labelled = tables.class_column(["a|b", "a", "b", ""], 2, "kind")

    assert labelled.kind == "multi-label"
    assert labelled.notes[0].startswith("1 of 4 rows hold several labels, separated by '|' in the column 'kind'")


def test_none_and_nan_are_no_labels():
    cells = [["a", None], ["b", float("nan")], None, float("nan"), "b"]
    labelled = table_formats.Table({"label": cells}, 1).labelled("label")

    assert labelled.names == ("a", "b")
    assert labelled.targets.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("text,label\n\nhello,a\n\nhi\n", r"Row 3 \(line 5\) of"),
        ('text,label\n"one\ntwo",a\nhi\n', r"Row 3 \(line 4\) of"),
        ("sep=,\ntext,label\nhello,a\nhi\n", r"Row 3 \(line 4\) of"),
        ("text,label\nhello,a\nhi\n", "Row 3 of"),
    ],
)
def test_a_row_of_another_width_is_named_by_its_line_where_rows_are_no_lines(tmp_path, content, row):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=row):
        table_formats.read_any(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n\nhello,a\n\nhi,nan\n", r"Row 3 \(line 5\) of the table has no label"),
        ('text,label\n"one\ntwo",a\nhi,\n', r"Row 3 \(line 4\) of the table has no label"),
        ("text,label\nhello,a\nhi,\n", "Row 3 of the table has no label"),
    ],
)
def test_a_row_without_a_label_is_named_by_its_line_where_rows_are_no_lines(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        table_formats.read_any(tmp_path / "t.csv").labelled("label")
