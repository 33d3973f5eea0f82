"""`Words` inside a graph: a SavedModel that takes strings and gives the numbers that the TFLite file's clients find."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tlkit.tokenizing.wordpiece_graph import table
from tlkit.tokenizing.words import APART, UNKNOWN, Words


class GraphWords(tf.Module):
    """Strings -> int32 (batch, length), as `words.inputs` gives; as an attribute of what is saved, it brings its table.

    Attributes:
        rows: Table of word -> number.
    """

    def __init__(self, words: Words, length: int) -> None:
        super().__init__(name="words")
        words.check_length(length)
        self.length = length
        self.rows = table(words.rows, tf.string, tf.int32, UNKNOWN)

    def __call__(self, text: Any) -> Any:
        """tf.string (batch,), UTF-8 -> int32 (batch, length)."""
        words = tf.strings.split(tf.strings.regex_replace(text, APART, " "))
        rows = self.rows.lookup(words.to_tensor("", shape=(None, self.length - 1)))
        return tf.pad(rows, [[0, 0], [1, 0]], constant_values=UNKNOWN)
