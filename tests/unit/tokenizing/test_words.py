"""Whole words in Python and inside a graph."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from vocabulary import STRINGS, minilm, random_strings

from tlkit.core.errors import InputError
from tlkit.tokenizing.words import APART, Words
from tlkit.tokenizing.words_graph import GraphWords

TINY = Words.of(("[PAD]", "good", "film", "don't", "naïve", "x_1", "straße", "OK", "我"))
WRITTEN = {"good": 1, "Good": 1, "GOOD": 1, "gOOD": 0, "NAÏVE": 4, "X_1": 5, "STRASSE": 6, "OK": 7, "ok": 0, "我": 8}


@pytest.mark.parametrize(("word", "number"), WRITTEN.items())
def test_a_word_is_known_as_it_is_written(word, number):
    assert TINY.encode(f" {word}!") == [number]


def test_texts_begin_with_padding_and_are_cut_behind():
    assert TINY.inputs("good good-film, film", 4).tolist() == [0, 1, 1, 2]
    assert TINY.inputs("", 4).tolist() == [0, 0, 0, 0]
    assert TINY.count("good good-film, film") == 5 and TINY.inputs("film", 3).dtype == np.int32


def test_a_word_in_the_vocabulary_is_itself_before_it_is_another_in_capitals():
    words = Words.of(("", "us", "US", "straße", "strasse"))
    assert words.encode("us Us US STRASSE Straße") == [1, 1, 2, 3, 3]


def test_the_recipe_tells_vocabularies_apart():
    first, other = Words.of(("", "a", "b")), Words.of(("", "b", "a"))
    assert first.arguments != other.arguments and first.arguments == Words.of(("", "a", "b")).arguments


@pytest.mark.parametrize(
    ("vocabulary", "says"), [(("only",), "no word behind its first"), (("", "a", "b", "a"), "the word 'a' twice")]
)
def test_what_is_no_vocabulary_is_refused_by_its_file(tmp_path, vocabulary, says):
    file = tmp_path / "vocab.txt"
    file.write_text("".join(f"{word}\n" for word in vocabulary), encoding="utf-8")
    with pytest.raises(InputError, match=f"vocab.txt' cannot be used: .*{says}"):
        Words.from_file(file)


def test_a_length_without_room_is_refused():
    with pytest.raises(InputError, match="at least 2"):
        TINY.inputs("good", 1)


def test_python_and_re2_agree_where_words_end():
    """On every character that both know: their Unicode may be of different years."""
    assigned = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000 and unicodedata.category(chr(i)) != "Cn"]
    between = tf.strings.regex_full_match(tf.constant(assigned), APART).numpy()
    ours = np.array([TINY.count(character) == 1 for character in assigned])
    late = [assigned[i] for i in np.flatnonzero(between != ours)]
    assert len(late) < 0.001 * len(assigned), [f"{ord(c):x}" for c in late][:20]
    assert all(ord(character) > 0x2FF for character in late)


def test_the_graph_equals_python():
    pieces = minilm()
    words = Words.of(("[PAD]", *dict.fromkeys(piece.removeprefix("##") for piece in pieces.vocabulary[1:])))
    graph = GraphWords(words, 24)
    texts = [*STRINGS, *random_strings(pieces, 500, seed=1)]
    rows = graph(tf.constant(texts)).numpy()
    wrong = [text for text, row in zip(texts, rows, strict=True) if row.tolist() != words.inputs(text, 24).tolist()]
    rare = [text for text in wrong if max(map(ord, text)) < 0x300]
    assert rows.dtype == np.int32 and not rare and len(wrong) < 0.02 * len(texts)
