"""Where pieces come from, against the `tokenizers` package and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabulary import STRINGS, minilm, random_strings, reference, undisputed

from tlkit.tokenizing.wordpiece import SPECIAL, WordPiece

TINY = WordPiece((*SPECIAL, "un", "##aff", "##able", "!", "a", "b", "##b"))


def agree(text: str, lower_case: bool = True) -> None:
    numbers, offsets = minilm(lower_case).encode_with_offsets(text)
    expected = reference(minilm(lower_case)).encode(text)
    assert numbers == expected.ids
    assert [tuple(row) for row in offsets.tolist()] == expected.offsets, repr(text)
    assert numbers == minilm(lower_case).encode(text)


@pytest.mark.parametrize("lower_case", [True, False])
def test_offsets_equal_the_references(lower_case):
    for text in [*STRINGS, *random_strings(minilm(lower_case), 1000, seed=9)]:
        agree(undisputed(text, lower_case), lower_case)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_offsets_of_any_text_equal_the_references(text):
    agree(undisputed(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" Unaffable!", [(1, 3), (3, 6), (6, 10), (10, 11)]),
        ("a\u200bb", [(0, 1), (2, 3)]),  # a character inside a word vanishes
        ("\u200ba", [(1, 2)]),
        ("\u00e1b", [(0, 1), (1, 2)]),  # an accent vanishes
        ("a\u0301b", [(0, 1), (2, 3)]),
        ("zz a", [(0, 2), (3, 4)]),  # an unknown word is one piece
    ],
)
def test_by_hand(text, expected):
    _, offsets = TINY.encode_with_offsets(text)
    assert offsets.dtype == np.int32 and offsets.shape == (len(expected), 2)
    assert [tuple(row) for row in offsets.tolist()] == expected


def test_long_texts_take_time_by_their_length():
    numbers, offsets = TINY.encode_with_offsets("a" * 50_000 + " b" * 50_000)
    assert numbers[0] == 1 and offsets[0].tolist() == [0, 50_000] and len(numbers) == 50_001
