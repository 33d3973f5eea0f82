"""Tokens that a module wrote one after the other, as a text."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.answers.transcripts import NOTHING, SECTION, shared_by, stitched
from tlkit.core.edits import distance
from tlkit.core.section import Section
from tlkit.core.task import Agreement, Answer, Decoded, Lines
from tlkit.data.spelling import words
from tlkit.tokenizing.bytepairs import BytePairs

IDS, SHARES, LEADS = "ids", "shares", "leads"
TEXT, TOKENIZER = "text", "tokenizer"


def tokens(
    max_drop_of: str = "word error rate",
    *,
    name: str = "transcript",
    units: Callable[[str], Sequence[str]] = words,
    nothing: str = NOTHING,
    sections: Sequence[Section] = (SECTION,),
) -> Answer:
    """What was written, by greedy choice: "ids", and of each token its "shares" and "leads", float32 (b, most).

    Ids are -1 behind the end; `shares` are the probabilities of the tokens, `leads` how far each was above the next.
    Behind the last token `leads` has that of the end, or the least of a loop that was cut.

    Args:
        max_drop_of: What the gate of quantised files names.
        name: Of what is written.
        units: A text -> what its errors are counted in.
        nothing: What is said where nothing was written.
        sections: Of the report.
    """
    return Answer(
        name=name,
        tensors=(IDS, SHARES, LEADS),
        decode=dict,
        agree=_agreement,
        say=lambda decoded, example: _said(nothing, [decoded], [example]),
        together=functools.partial(_said, nothing),
        merit=functools.partial(_merit, units),
        quantised=functools.partial(_quantised, max_drop_of),
        sections=tuple(sections),
    )


def next_tokens() -> Answer:
    """How likely each token is to follow some others: "shares", float32 (b, places, vocabulary)."""
    return Answer("next", decode=dict, agree=_agree_on_next, say=lambda _decoded, _example: [], tensors=(SHARES,))


def _agree_on_next(expected: Decoded, actual: Decoded) -> Agreement:
    second, first = np.moveaxis(np.partition(expected[SHARES], -2, axis=-1)[..., -2:], -1, 0)
    equal = expected[SHARES].argmax(axis=-1) == actual[SHARES].argmax(axis=-1)
    return Agreement(np.abs(expected[SHARES] - actual[SHARES]).max(axis=(1, 2)), equal, first - second)


def text_of(file: str, ids: np.ndarray) -> str:
    """The text of one example's "ids".

    Args:
        file: The tokenizer.json, as JSON text.
        ids: int (most,), -1 behind the end.
    """
    return BytePairs(file, None, 0, 0).decode([int(number) for number in ids if number >= 0]).strip()


def _agreement(expected: Decoded, actual: Decoded) -> Agreement:
    """Shares are compared up to the first token that differs."""
    before = _same_so_far(expected[IDS], actual[IDS])
    difference = np.where(before, np.abs(expected[SHARES] - actual[SHARES]), 0.0)
    equal, margin = up_to_first_difference(expected[IDS], actual[IDS], expected[LEADS])
    return Agreement(difference.max(axis=1, initial=0.0), equal, margin)


def up_to_first_difference(
    expected: np.ndarray, actual: np.ndarray, leads: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether texts are equal, bool (n,), and how sure the model was of the first token that differs, or of all, (n,).

    A text that goes on where the model has ended differs at the end, and one that ends before it at what it lacks.

    Args:
        expected: Tokens of the model (n, most), below 0 behind the last.
        actual: Those of a file.
        leads: How far each of the model's tokens was above the next (n, most); behind the last token that of the end.

    Example:
        >>> ids, other = np.array([[1, 2, -1, -1]]), np.array([[1, 2, 7, 7]])
        >>> up_to_first_difference(ids, other, np.array([[0.9, 0.1, 0.8, 0.0]]))
        (array([False]), array([0.8]))
    """
    before = _same_so_far(expected, actual)
    reached = np.concatenate([np.ones((len(before), 1), bool), before[:, :-1]], axis=1)
    chosen = np.arange(expected.shape[1]) <= (expected >= 0).sum(axis=1, keepdims=True)
    equal = (expected == actual).all(axis=1)
    at_fault = np.where(reached & ~before, leads, np.inf).min(axis=1, initial=np.inf)
    return equal, np.where(equal, np.where(chosen, leads, np.inf).min(axis=1, initial=np.inf), at_fault)


def _same_so_far(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Whether texts (n, most) are equal up to each place and there."""
    return np.cumprod(expected == actual, axis=1, dtype=np.int64) > 0


def _merit(units: Callable[[str], Sequence[str]], targets: Mapping[str, np.ndarray], decoded: Decoded) -> np.ndarray:
    """1 less the error rate of each text."""
    rates = []
    for text, file, ids in zip(targets[TEXT], targets[TOKENIZER], decoded[IDS], strict=True):
        true = units(str(text))
        rates.append(distance(true, units(text_of(str(file), ids))) / max(1, len(true)))
    return 1 - np.array(rates, np.float64)


def _quantised(measure: str, comparison: Any, gates: Any) -> str | None:
    """One token that differs makes another text, so the rate of errors decides, and not how many texts are equal."""
    if comparison.change_upper >= -gates.max_drop:
        return None
    rise, sure = -100 * comparison.score_change, -100 * comparison.change_upper
    return f"its {measure} rises by {rise:.1f} points, surely by more than {sure:.1f}; {100 * gates.max_drop:g} allowed"


def _said(nothing: str, decoded: Sequence[Decoded], examples: Sequence[Mapping[str, Any]]) -> Lines:
    """The text, its windows stitched, and the geometric mean of the shares of its tokens."""
    texts = [text_of(str(example[TOKENIZER]), outputs[IDS]) for outputs, example in zip(decoded, examples, strict=True)]
    shares = np.concatenate([outputs[SHARES][outputs[IDS] >= 0] for outputs in decoded])
    text = " ".join(stitched([text.split() for text in texts], shared_by(examples)))
    return [(text or nothing, float(np.exp(np.log(np.maximum(shares, 1e-9)).mean())) if len(shares) else 0.0)]
