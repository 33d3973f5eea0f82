"""Whole words for modules that are a table of word vectors: text -> numbers of the words that the module knows.

The rule is the one that MediaPipe's TextClassifier can follow: it splits a text where a pattern matches and looks each
word up as it is written, so what a capital changes must stand in the vocabulary that the file carries.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec
from tlkit.core.files import sha256_bytes
from tlkit.tokenizing.wordpiece import read_vocabulary

APART = r"[^\p{L}\p{M}\p{N}_]+"  # what lies between words, as RE2 writes it: TensorFlow's and MediaPipe's expressions
UNKNOWN = 0  # padding too: modules count it for nothing


@dataclass(frozen=True, eq=False)
class Words:
    """The words that a module knows, and how text is split into them.

    Attributes:
        rows: Number of each word as it is written; every other word has the number 0, which is padding too.

    Example:
        >>> words = Words.of(("[PAD]", "good", "film"))
        >>> words.inputs("A GOOD film!", length=6).tolist()
        [0, 0, 1, 2, 0, 0]
    """

    rows: Mapping[str, int]

    unit = "words"
    step = modality = "words"  # of a pipeline, and of examples

    @classmethod
    def of(cls, vocabulary: Sequence[str]) -> Words:
        """A vocabulary in which a word's number is its place, padding first.

        A word in lower case is also found with a capital at its start, or in capitals throughout. Words that hold more
        than letters, marks, digits and underscores are left out, as no text gives them.

        Raises:
            InputError: If there are no words, or one stands there twice.
        """
        words = [(word, row) for row, word in enumerate(vocabulary) if row and _word().fullmatch(word)]
        if not words:
            raise InputError(
                f"The vocabulary of {len(vocabulary)} lines has no word behind its first, which is padding."
            )
        rows = dict(words)
        if len(rows) < len(words):
            twice = next(word for word, row in words if rows[word] != row)
            raise InputError(f"The vocabulary holds the word {twice!r} twice: give the file as the module brought it.")
        for word, row in words:
            for spelling in _capitals(word):
                rows.setdefault(spelling, row)
        return cls(rows)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Words:
        """The vocabulary of a file: UTF-8, one word a line, padding first.

        Raises:
            InputError: If the file cannot be read, or is no such vocabulary.
        """
        return read_vocabulary(path, cls.of)

    @functools.cached_property
    def size(self) -> int:
        """Count of numbers, padding's included."""
        return max(self.rows.values()) + 1

    @functools.cached_property
    def arguments(self) -> dict[str, Any]:
        """Everything that decides the numbers: arguments of the pipeline's step."""
        lines = (f"{word} {row}" for word, row in self.rows.items())
        return {"version": 1, "vocabulary": sha256_bytes(*lines)[:16]}

    def spec(self, length: int) -> ArraySpec:
        """What `inputs` gives."""
        return ArraySpec((length,), "int32")

    @staticmethod
    def split(text: str) -> list[str]:
        """The words of a text as they are written, known or not."""
        return _word().findall(text)

    def encode(self, text: str) -> list[int]:
        """Numbers of the words of a text, uncut."""
        return [self.rows.get(word, UNKNOWN) for word in self.split(text)]

    def count(self, text: str) -> int:
        """How many numbers `inputs` would need to keep all of a text."""
        return 1 + len(self.split(text))

    def inputs(self, text: str, length: int) -> np.ndarray:
        """What the module takes, int32 (length,): padding, by which MediaPipe begins a text, the words, and padding.

        Raises:
            InputError: If `length` has no room for a word.
        """
        self.check_length(length)
        row = np.full(length, UNKNOWN, dtype=np.int32)
        numbers = self.encode(text)[: length - 1]
        row[1 : 1 + len(numbers)] = numbers
        return row

    @staticmethod
    def check_length(length: int) -> None:
        """Refuse a length without room for a word."""
        if length < 2:
            raise InputError(
                f"`length` must be at least 2, as a text begins with padding. Received: length={length!r}."
            )


@functools.cache
def _word() -> re.Pattern[str]:
    """A word: Python's \\w is RE2's [\\p{L}\\p{N}_], and has no name for marks."""
    marks = "".join(chr(i) for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)).startswith("M"))
    return re.compile(rf"[\w{marks}]+")


def _capitals(word: str) -> Iterator[str]:
    if word == word.lower():
        yield word[:1].upper() + word[1:]
        yield word.upper()
