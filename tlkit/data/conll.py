"""Files of the CoNLL shared tasks -> sentences: a word and its label a line, an empty line after each sentence."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.remote import local
from tlkit.data.decoding import read
from tlkit.data.labelling import Labelled, from_sets

_DOCUMENT = "-DOCSTART-"  # CoNLL 2003 puts it where a document begins
_OUTSIDE = "O"


@dataclass(frozen=True)
class Sentence:
    """Words, their labels, and the number of the line that the first one stands on."""

    words: tuple[str, ...]
    labels: tuple[str, ...]
    line: int


@dataclass(frozen=True, eq=False)
class WordsReader:
    """What reads sentences that are split into words."""

    sentences: tuple[Sentence, ...]

    def __call__(self, i: int) -> np.ndarray:
        """The words of example i: an object array (words,) of str."""
        words = np.empty(len(self.sentences[i].words), dtype=object)
        words[:] = self.sentences[i].words
        return words


def read_sentences(path: str | os.PathLike[str], encoding: str | None = None) -> list[Sentence]:
    """The sentences of a file: the first column is the word, the last its label, tabs or blanks between them.

    Raises:
        InputError: If the file cannot be read, holds no sentence, or a line has no label.
    """
    file = local(path)
    text = read(file, encoding)
    sentences: list[Sentence] = []
    rows: list[tuple[str, str]] = []
    tabs = "\t" in text
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip() and not _is_remark(line, tabs):
            rows.append(_row(line, number, file))
        elif not line.strip() and rows:
            words, labels = zip(*rows, strict=True)
            sentences.append(Sentence(words, labels, number - len(rows)))
            rows = []
    if not sentences:
        raise InputError(f"The file {str(file)!r} holds no sentence: write a word and its label a line.")
    return sentences


def kinds(sentences: Sequence[Sentence]) -> Labelled:
    """What occurs in each sentence besides "O", as multi-label targets: what a split balances."""
    return from_sets([sorted(set(sentence.labels) - {_OUTSIDE}) for sentence in sentences])


def word_targets(sentences: Sequence[Sentence], number: Mapping[str, int]) -> np.ndarray:
    """int32 (n, most words): the number of each word's label, -1 behind the last."""
    targets = np.full((len(sentences), max(len(sentence.words) for sentence in sentences)), -1, dtype=np.int32)
    for i, sentence in enumerate(sentences):
        targets[i, : len(sentence.labels)] = [number[label] for label in sentence.labels]
    return targets


def _is_remark(line: str, tabs: bool) -> bool:
    return line.startswith(_DOCUMENT) or (tabs and line.startswith("#") and "\t" not in line)


def _row(line: str, number: int, file: Path) -> tuple[str, str]:
    cells = line.split("\t") if "\t" in line else line.split()
    label = cells[-1].strip()
    if len(cells) < 2 or not label:
        raise InputError(
            f"Line {number} of {str(file)!r} has no label: write a word and its label, with a tab or a blank between."
        )
    return cells[0].strip(), label
