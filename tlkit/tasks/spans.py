"""Spans of words out of labels of words, as the CoNLL shared tasks count them. NumPy and plain Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tlkit.answers.words import OUTSIDE


class Span(NamedTuple):
    """Words `start` to `end` (not included) that make up something of a kind."""

    kind: str
    start: int
    end: int


def spans(labels: Sequence[str]) -> list[Span]:
    """Spans of one sentence, from labels such as "B-person", "I-person" and "O".

    What no well-formed tagging holds is repaired as the shared tasks' own evaluation does: an "I-" that follows
    another kind, or nothing, begins a span.

    Args:
        labels: One a word. A label without "B-" or "I-" that is not "O" is a span of its own kind, joined with equal
            neighbours.

    Example:
        >>> spans(["B-person", "I-person", "O", "I-place"])
        [Span(kind='person', start=0, end=2), Span(kind='place', start=3, end=4)]

    Source: Tjong Kim Sang and De Meulder 2003, aclanthology.org/W03-0419 (its conlleval).
    """
    return list(_spans([*labels, OUTSIDE]))


def _spans(labels: Sequence[str]) -> Iterator[Span]:
    kind, start = "", 0
    for place, label in enumerate(labels):
        begins, word_kind = _read(label)
        if kind and (word_kind != kind or begins):
            yield Span(kind, start, place)
            kind = ""
        if word_kind and not kind:
            kind, start = word_kind, place


def _read(label: str) -> tuple[bool, str]:
    """(whether it must begin a span, its kind); the kind of "O" is ""."""
    if label == OUTSIDE:
        return False, ""
    prefix, dash, kind = label.partition("-")
    return (prefix == "B", kind) if dash and prefix in ("B", "I") else (False, label)
