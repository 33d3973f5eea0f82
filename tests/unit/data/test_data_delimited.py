"""Rows of CSV and TSV: separators are found, and no quote swallows a line in silence."""

from __future__ import annotations

import csv
import io

import pytest

from tlkit.core.errors import InputError
from tlkit.data.delimited import parse

ROWS = [f"some text {i},{'ab'[i % 2]}" for i in range(20)]


def parsed(lines, usual=",", separator=None, header="text,label"):
    return parse("\n".join([header, *lines]) + "\n", usual, separator, "t.csv")


def swapped(changes):
    rows = list(ROWS)
    for i, (old, new) in changes.items():
        assert old in rows[i]
        rows[i] = rows[i].replace(old, new)
    return rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({9: (",b", ',"b')}, "a quote that opens in line 11 is not closed"),
        ({9: ("some", '"some')}, "a quote that opens in line 11 is not closed"),
        ({3: ("some", '"some'), 13: ("some", '"some')}, "a quote that opens in line 5 is closed and followed by more"),
        ({3: ("some", '"some'), 13: (",b", '",b')}, "a quote that opens in line 5 closes in line 15"),
        ({3: ("some", '"some'), 4: (",a", '",a')}, "a quote that opens in line 5 closes in line 6"),
        ({3: ("some text", '"some" text')}, "a quote that opens in line 5 is closed and followed by more"),
    ],
)
def test_a_stray_quote_is_refused_by_line(changes, message):
    with pytest.raises(InputError, match=message):
        parsed(swapped(changes))


def test_quoted_texts_over_several_lines_are_whole():
    texts = ["Dear Bob,\nI am, here\nyours, Ann", 'she said "no"', "plain", "a\n\nb", "x,y\nz,w"] * 4
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([[text, "ab"[i % 2]] for i, text in enumerate(texts)])
    result = parsed(buffer.getvalue().splitlines())
    assert [row[0] for row in result.rows[1:]] == texts and result.notes == ()


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_the_separator_is_found_and_noted(separator, name):
    lines = [f"well, text {i}{separator}{'ab'[i % 2]}" for i in range(6)]
    result = parsed(lines, header=f"text{separator}label")
    assert result.rows[1] == ["well, text 0", "a"]
    assert result.notes == (f"The columns of 't.csv' are separated by {name}.",)
    assert parsed(lines, separator=separator, header=f"text{separator}label").notes == ()


def test_the_usual_separator_wins_where_it_fits():
    assert parsed(["a;b,1", "c;d,2"], header="x;y,label").rows[0] == ["x;y", "label"]
    assert parsed(["a,1", "c,2"], usual="\t").rows[0] == ["text", "label"]
    assert parsed(["a", "b"], header="text").rows == [["text"], ["a"], ["b"]]


def test_excels_first_line_names_the_separator():
    result = parse("sep=;\ntext;label\na,b;1\n", ",", None, "t.csv")
    assert result.rows == [["text", "label"], ["a,b", "1"]]


def test_quotes_behind_backslashes_are_read_with_a_note():
    result = parsed([r'"he said \"no\", twice",a', "plain,b"])
    assert result.rows[1] == ['he said "no", twice', "a"]
    assert result.notes == ("Quotes in 't.csv' are written with a backslash.",)
