"""A label for each word of a text."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.answers.scores import scores
from tlkit.core.modality import STEPS
from tlkit.core.task import Answer, Decoded, Lines

OUTSIDE = "O"


def words(labels: Sequence[str]) -> Answer:
    """Probabilities of labels at each word piece, (b, steps, k); a word has those of its first piece.

    Args:
        labels: Name of each label; words with the label "O" are not named.
    """
    plain = scores(labels)
    return dataclasses.replace(plain, say=functools.partial(_said, plain.labels), ranked=False, signatures={})


def _said(labels: tuple[str, ...], decoded: Decoded, example: Mapping[str, Any]) -> Lines:
    """Each word with its label and the label's score, in the order of the text."""
    (rows,) = decoded.values()
    pairs = []
    for word, row in zip(example[STEPS], rows, strict=False):
        label = labels[int(row.argmax())]
        if word and label != OUTSIDE:
            pairs.append((f"{word} {label}", float(row.max())))
    return pairs
