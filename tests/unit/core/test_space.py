"""Spaces of a search: what may vary, as it is written in Python and on the command line."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest

from tlkit.core import space, trials
from tlkit.core.errors import InputError
from tlkit.core.space import Range


def test_docstrings_hold():
    assert doctest.testmod(space).failed == 0


def test_annotations_and_a_dict_say_the_same():
    def run(lr: Annotated[float, Range(1e-4, 1e-2, log=True)], wide: bool, head: Literal["a", "b"], out: str = "x"):
        pass

    choices = {"lr": Range(1e-4, 1e-2, log=True), "wide": [False, True], "head": ["a", "b"]}
    assert space.space_of(run, None) == space.space_of(run, choices)


@pytest.mark.parametrize(
    ("word", "name", "values"),
    [
        ("epochs[0]=5:20", "epochs[0]", Range(5, 20)),
        ("batch-size=8,16,32", "batch_size", (8, 16, 32)),
        ("module=zoo:a,zoo:b", "module", ("zoo:a", "zoo:b")),
        ("augment=true,false", "augment", (True, False)),
    ],
)
def test_words_of_the_command_line(word, name, values):
    assert space.parse([word]) == {name: values}


def test_choices_are_stored_as_plain_data():
    assert space.text_of((np.float32(0.5), Path("a"), None)) == '[0.5, "a", null]'


def test_whole_numbers_stay_whole():
    assert Range(1, 9).whole and not Range(1.0, 9).whole


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Range(2, 1), "to a higher one"),
        (lambda: Range(0, 1, log=True), "lies above 0"),
        (lambda: space.space_of(print, {}), "space of the search is empty"),
        (lambda: space.space_of(print, {"head": [print, len]}), "`head` of the space holds <built-in function print>"),
        (lambda: space.space_of(print, {"lr": 3}), "`lr` of the space must be a Range"),
        (lambda: space.space_of(print, {"lr": [3]}), "two choices or more"),
        (lambda: space.parse(["lr"]), "is written as in"),
        (lambda: space.parse(["lr=3"]), "is written as in"),
        (lambda: space.arguments({"lr[2]": 1}, {"lr": (1, 2)}), "names no place"),
        (lambda: space.arguments({"lr[0]": 1}, {"lr": 1}), "names no place"),
    ],
)
def test_what_is_no_space_is_said(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_what_trials_keep_is_bounded_and_the_oldest_goes():
    keep = trials.Keep()
    for key in range(trials.MOST_KEPT + 3):
        keep.get("things", key, lambda key=key: key)
        keep.get("things", 0, lambda: "again")
    assert set(keep.things["things"]) == {0, *range(4, trials.MOST_KEPT + 3)}
    assert keep.get("things", 0, lambda: "again") == 0
