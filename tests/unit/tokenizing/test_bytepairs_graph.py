"""Texts out of tokens inside a graph: what the tokenizer's own decoder writes."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf
import tiny_language

from tlkit.tokenizing.bytepairs import BytePairs
from tlkit.tokenizing.bytepairs_graph import spelled, telling

FILE = json.dumps(tiny_language.tokenizer())


@pytest.mark.parametrize("text", ["red sky", " It's 5 °C – 東京, naïve\n\tend ", "<|end|>", "", "🚲 and é"])
def test_strings_are_those_of_the_decoder(text):
    tokenizer = BytePairs(FILE, None, 257, 257)
    row = tokenizer.encode(text)
    ids = tf.constant([[*row, 257, -1, -1]])  # an end, which is no text, and nothing
    told = telling(lambda tensors: {"ids": tensors["ids"]}, "ids", FILE)
    (found,) = tf.function(told)({"ids": ids})["text"].numpy()
    assert found.decode() == tokenizer.decode([*row, 257]).strip() == text.strip()


def test_half_a_letter_is_no_letter():
    told = telling(lambda tensors: {"ids": tensors["ids"]}, "ids", FILE)
    (found,) = told({"ids": tf.constant([[ord("a"), 0xC3, ord("b")]])})["text"].numpy()
    assert found.decode() == BytePairs(FILE, None, 257, 257).decode([ord("a"), 0xC3, ord("b")]) == "a\ufffdb"


def test_tokens_of_whole_words_have_no_bytes():
    file = json.dumps({"model": {"type": "WordLevel", "vocab": {"HH": 0, "AH0": 1}}, "added_tokens": []})
    assert spelled(file) is None and set(telling(lambda tensors: tensors, "ids", file)({"ids": 0})) == {"ids"}
