"""Labels of a table: several in a cell, none, and which row they are in."""

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
