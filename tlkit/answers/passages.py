"""The passage of a text that answers a question, or that none does."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tlkit.answers.scores import agreement, masked_mean
from tlkit.core.task import Agreement, Answer, Decoded, Lines
from tlkit.data.windows import PASSAGE

POSITIONS = "positions"  # name of the decoded tensor
NO_ANSWER = "no answer"
_TINY = 1e-30  # keeps logarithms finite


def passages(longest: int = 30, no_answer: bool = True) -> Answer:
    """Shares of all steps to start and to end the answer: raw outputs are two logits a step, (b, steps, 2).

    Args:
        longest: Most pieces of an answer.
        no_answer: Whether a question may be left unanswered.
    """
    return Answer(
        name=POSITIONS,
        decode=_decoded,
        agree=_agreement,
        say=lambda decoded, example: _said(longest, no_answer, [decoded], [example]),
        merit=_merit,
        counted=_counted,
        ranked=True,
        together=functools.partial(_said, longest, no_answer),
    )


def _decoded(raw: Any) -> Mapping[str, Any]:
    import keras

    return {POSITIONS: keras.ops.softmax(raw, axis=1)}


def _counted(targets: np.ndarray, decoded: Decoded) -> Decoded:
    return {POSITIONS: within_context(decoded[POSITIONS], targets)}


def _agreement(expected: Decoded, actual: Decoded) -> Agreement:
    return agreement(expected[POSITIONS], actual[POSITIONS])


def _merit(targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Share of the two ends that are right."""
    right = targets[:, :2]
    return masked_mean(decoded[POSITIONS].argmax(-1) == right, right >= 0)


def _said(longest: int, no_answer: bool, decoded: Sequence[Decoded], examples: Sequence[Mapping[str, Any]]) -> Lines:
    """What the windows of a question answer, likeliest first."""
    return ranked(
        [
            reply(outputs[POSITIONS], example[PASSAGE], longest)
            for outputs, example in zip(decoded, examples, strict=True)
        ],
        no_answer,
    )


@dataclass(frozen=True)
class Found:
    """What a window says: pieces `first` to `last`, preferred to no answer by `preference` (logits' difference)."""

    first: int
    last: int
    preference: float


def best_span(positions: np.ndarray, first: int, end: int, longest: int = 30) -> Found:
    """The likeliest passage among the steps `first` to `end` (not included).

    Whatever lies outside, padding included, changes nothing: probabilities of two steps are compared by their ratio.

    Args:
        positions: float (steps, 2) probabilities to start and to end the answer; step 0 stands for no answer.
        first: First step of the context.
        end: The step behind its last; where the context is empty, the answer is step 0 with preference -inf.
        longest: Most steps of an answer.

    Example:
        >>> best_span(np.array([[0.1, 0.1], [0.0, 0.6], [0.8, 0.1], [0.1, 0.2]]), first=1, end=4).last
        3
    """
    logs = np.log(np.maximum(np.nan_to_num(positions.astype(np.float64)), _TINY))
    if end <= first:
        return Found(0, 0, -np.inf)
    sums = logs[first:end, None, 0] + logs[None, first:end, 1]
    gap = np.arange(end - first)[None, :] - np.arange(end - first)[:, None]
    sums = np.where((gap >= 0) & (gap < longest), sums, -np.inf)
    start, last = np.unravel_index(int(sums.argmax()), sums.shape)
    return Found(first + int(start), first + int(last), float(sums[start, last] - logs[0].sum()))


def within_context(positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Probabilities of the steps where an answer can be, as clients look at them: (n, 2, steps), start and end.

    Args:
        positions: float (n, steps, 2), shares of all steps.
        targets: int (n, 4) of windows: first and last piece of the answer, 0 and 0 for none; the context's first
            piece, and the one behind its last.
    """
    steps = np.arange(positions.shape[1])[None, :]
    inside = (steps == 0) | ((steps >= targets[:, 2:3]) & (steps < targets[:, 3:4]))
    masked = np.where(inside[:, :, None], positions, 0.0)
    shares: np.ndarray = np.moveaxis(masked / np.maximum(masked.sum(axis=1, keepdims=True), _TINY), 1, 2)
    return shares


class Reply(NamedTuple):
    """What a window answers, and by how much it is preferred to no answer (logits' difference)."""

    words: str
    preference: float


def words_of(passage: Mapping[str, Any], first: int, last: int) -> str:
    """What a passage says at steps `first` to `last` of the input, white space made single blanks.

    Args:
        passage: The text "text"; "offsets" int (n, 2), first character of each piece shown and the one behind its
            last; "step", that of the first of these pieces.
        first: Step of the input.
        last: Likewise, included.

    Example:
        >>> offsets = np.array([[0, 2], [3, 7], [7, 8], [9, 13]])
        >>> words_of({"text": "in Rome, 1960", "offsets": offsets, "step": 5}, 6, 8)
        'Rome, 1960'
    """
    step, offsets = int(passage["step"]), passage["offsets"]
    return " ".join(passage["text"][offsets[first - step, 0] : offsets[last - step, 1]].split())


def reply(positions: np.ndarray, passage: Mapping[str, Any], longest: int = 30) -> Reply:
    """The likeliest answer in the words of the text that a window shows.

    Args:
        positions: As in `best_span`.
        passage: What the window shows, as `words_of` takes it.
        longest: Most pieces of an answer.
    """
    step = int(passage["step"])
    span = best_span(positions, step, step + len(passage["offsets"]), longest)
    return Reply(words_of(passage, span.first, span.last) if span.first else "", span.preference)


def ranked(replies: Sequence[Reply], no_answer: bool = True) -> list[tuple[str, float]]:
    """What a question's windows reply, likeliest first: words, and their probability where no answer is the other case.

    Args:
        replies: One a window.
        no_answer: Whether "no answer" is among them, with what the best reply leaves of 1.

    Example:
        >>> ranked([Reply("Rome", 0.0), Reply("Paris", 2.0), Reply("Rome", -5.0)])[0]
        ('Paris', 0.8807970779778823)
        >>> ranked([Reply("Rome", -np.inf)])
        [('no answer', 1.0), ('Rome', 0.0)]
    """
    shares: dict[str, float] = {}
    for words, preference in sorted(replies, key=lambda candidate: -candidate.preference):
        if words:
            shares.setdefault(words, float(1 / (1 + np.exp(-preference))))
    nothing = [(NO_ANSWER, 1 - max(shares.values(), default=0.0))] if no_answer else []
    return sorted([*nothing, *shares.items()], key=lambda pair: -pair[1])
