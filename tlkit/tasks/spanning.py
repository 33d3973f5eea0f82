"""Extractive question answering: the passage of a context that answers a question, or that none does."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.task import LABEL, Evaluation, Objective, Task
from tlkit.data.windows import PASSAGE
from tlkit.tasks import metrics, recording
from tlkit.tasks.answer_scores import exact_match, word_f1

if TYPE_CHECKING:
    import keras

POSITIONS = "positions"  # name of the output
NO_ANSWER = "no answer"
WORST = 24  # questions that the report shows
_WINDOW = re.compile(r"@\d+$")
_TINY = 1e-30  # keeps logarithms finite
_COLUMNS = (2, 4)  # characters in the context; pieces of a window


def span(dropout: float = 0.1, longest: int = 30, no_answer: bool = True) -> Task:
    """Find the passage of a context that answers a question.

    Raw outputs are two logits a step: that the answer starts, and that it ends there. A window's answer is the pair of
    places in the context, the end not before the start, with the highest sum of logits; that sum less the one of
    [CLS] is how much the window prefers it to no answer. Of a question's windows the one that prefers its answer most
    answers, if it prefers it at all. Targets are int32 (n, 4), as `tlkit.data.text.tokenized` makes them of
    `tlkit.data.text.from_squad`.

    Args:
        dropout: Share of features dropped before the dense layer, in [0, 1).
        longest: Most pieces of an answer, >= 1.
        no_answer: Whether a question may be left unanswered; False always gives an answer, as SQuAD 1.1 asks.

    Returns:
        A task for modules that give one vector a step. What it gives is "positions", float32 (batch, steps, 2): the
        probability of each step, padding and question included, to start and to end the answer. Clients look for the
        best pair among the steps of the context alone.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> span().takes, span().output
        ('sequence', 'positions')

    Source: Devlin et al. 2018, arXiv:1810.04805, sections 4.2 and 4.3.
    """
    if not 0 <= dropout < 1:
        raise InputError(f"`dropout` must lie in [0, 1). Received: dropout={dropout!r}.")
    if longest < 1:
        raise InputError(f"`longest` must be 1 piece or more. Received: longest={longest!r}.")
    return Task(
        name="span",
        labels=(),
        head=functools.partial(_head, dropout=dropout),
        objective=Objective(
            loss=_loss,
            metrics=_metrics,
            check=_check,
        ),
        decode=_positions,
        evaluate=functools.partial(evaluate_spans, longest=longest, no_answer=no_answer),
        output=POSITIONS,
        answer=LABEL,
        takes="sequence",
        card={"longest": longest, "no_answer": no_answer},
        made_by=recording.record("tlkit.tasks.span", {"dropout": dropout, "longest": longest, "no_answer": no_answer}),
    )


@dataclass(frozen=True)
class Answer:
    """What a window says: pieces `first` to `last`, preferred to no answer by `preference` (logits' difference)."""

    first: int
    last: int
    preference: float


def best_span(positions: np.ndarray, first: int, end: int, longest: int = 30) -> Answer:
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
        return Answer(0, 0, -np.inf)
    sums = logs[first:end, None, 0] + logs[None, first:end, 1]
    gap = np.arange(end - first)[None, :] - np.arange(end - first)[:, None]
    sums = np.where((gap >= 0) & (gap < longest), sums, -np.inf)
    start, last = np.unravel_index(int(sums.argmax()), sums.shape)
    return Answer(first + int(start), first + int(last), float(sums[start, last] - logs[0].sum()))


def within_context(positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Probabilities of the steps where an answer can be, as clients look at them: (n, 2, steps), start and end.

    Args:
        positions: float (n, steps, 2), shares of all steps.
        targets: int (n, 4) of windows: first and last piece of the answer, 0 and 0 for none; the context's first
            piece, and the one behind its last.
    """
    steps = np.arange(positions.shape[1])[None, :]
    inside = (steps == 0) | ((steps >= targets[:, 2:3]) & (steps < targets[:, 3:4]))
    kept = np.where(inside[:, :, None], positions, 0.0)
    shares: np.ndarray = np.moveaxis(kept / np.maximum(kept.sum(axis=1, keepdims=True), _TINY), 1, 2)
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
    found = best_span(positions, step, step + len(passage["offsets"]), longest)
    return Reply(words_of(passage, found.first, found.last) if found.first else "", found.preference)


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
    for words, preference in sorted(replies, key=lambda one: -one.preference):
        if words:
            shares.setdefault(words, float(1 / (1 + np.exp(-preference))))
    nothing = [(NO_ANSWER, 1 - max(shares.values(), default=0.0))] if no_answer else []
    return sorted([*nothing, *shares.items()], key=lambda pair: -pair[1])


def evaluate_spans(examples: Examples, outputs: np.ndarray, longest: int = 30, no_answer: bool = True) -> Evaluation:
    """Scores of answered questions: exact match and F1 over words, to the letter those of SQuAD's own script.

    Of several true answers the one counts that serves best. A question without any scores 1 where it is left
    unanswered, else 0.

    Args:
        examples: Windows with their column "passage". Ids are a question's, and behind all but its first window "@" and
            its number; targets are int (n, 4), as in `span`.
        outputs: float (n, steps, 2) probabilities.
        longest: Most pieces of an answer.
        no_answer: Whether a question may be left unanswered.

    Returns:
        Scores f1 and exact_match over questions, each with a bootstrap 95 % interval; where some have no answer, also
        answered_f1 and no_answer_accuracy, of the two kinds apart. `example_scores` has one value a question.

    Raises:
        InputError: If the examples have no such column.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1; Rajpurkar et al. 2018, arXiv:1806.03822.
    """
    passages = _passages(examples)
    replies = [reply(row, passages[i], longest) for i, row in enumerate(outputs)]
    judged = [_judge(windows, examples, replies, no_answer) for windows in _by_question(examples.ids).values()]
    exact, f1, answerable = (np.array([getattr(one, name) for one in judged]) for name in ("exact", "f1", "answerable"))
    scores = {**_with_interval("f1", f1), **_with_interval("exact_match", exact)}
    if not answerable.all():
        scores["no_answer_accuracy"] = exact[~answerable].mean()
        scores |= {"answered_f1": f1[answerable].mean()} if answerable.any() else {}
    details = {
        "headline": metrics.headline("f1", "Answer F1", "bootstrap"),
        "example_scores": f1.tolist(),
        "mistakes": _mistakes(judged, examples.ids),
    }
    return Evaluation(metrics.finite(scores), details, outputs.astype(np.float32))


@dataclass(frozen=True)
class Judged:
    """How a question was answered: the window that answers, or else holds the answer; "" is said for no answer."""

    window: int
    said: str
    answers: tuple[str, ...]
    preference: float

    @property
    def answerable(self) -> bool:
        """Whether there is an answer."""
        return bool(self.answers)

    @property
    def exact(self) -> float:
        """1 where one of the answers was given, else 0."""
        return exact_match(self.said, self.answers)

    @property
    def f1(self) -> float:
        """Words in common with the best of the answers, in [0, 1]."""
        return word_f1(self.said, self.answers)


def _by_question(ids: Sequence[str]) -> Mapping[str, list[int]]:
    windows: dict[str, list[int]] = {}
    for i, name in enumerate(ids):
        windows.setdefault(_WINDOW.sub("", name), []).append(i)
    return windows


def _judge(windows: Sequence[int], examples: Examples, replies: Sequence[Reply], no_answer: bool) -> Judged:
    window = max(windows, key=lambda i: replies[i].preference)
    words, preference = replies[window]
    said = "" if no_answer and preference <= 0 else words
    if not said:  # the report shows where the answer is
        window = next((i for i in windows if examples.target_array[i, 0] > 0), window)
    answers = tuple(str(answer) for answer in examples.columns[PASSAGE][window]["answers"])
    return Judged(window, said, answers, preference)


def _with_interval(name: str, values: np.ndarray) -> dict[str, float]:
    low, high = metrics.bootstrap(lambda drawn: float(values[drawn].mean()), len(values))
    return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}


def _mistakes(judged: Sequence[Judged], ids: Sequence[str]) -> list[dict[str, Any]]:
    """The questions answered worst, of equals the surest first."""
    wrong = sorted((one for one in judged if not one.exact), key=lambda one: (one.f1, -abs(one.preference)))
    return [
        {"index": one.window, "id": ids[one.window], "true": _spoken(*one.answers), "predicted": _spoken(one.said)}
        for one in wrong[:WORST]
    ]


def _spoken(*answers: str) -> str:
    return " / ".join(dict.fromkeys(answers)) or NO_ANSWER


def _head(features: Any, dropout: float) -> Any:
    import keras

    x = keras.layers.Dropout(dropout, name="head_dropout")(features) if dropout else features
    return keras.layers.Dense(2, dtype="float32", name="head_outputs")(x)


def _loss() -> keras.losses.Loss:
    from tlkit.tasks import losses

    return losses.SpanCrossEntropy()


def _metrics() -> list[keras.metrics.Metric]:
    from tlkit.tasks import losses

    return [losses.SpanAccuracy()]


def _positions(raw: Any) -> Any:
    import keras

    return keras.ops.softmax(raw, axis=1)


def _check(splits: Splits) -> None:
    for name, examples in (("training", splits.train), ("validation", splits.val), ("test", splits.test)):
        targets = examples.target_array
        if name == "training" and not len(examples):
            raise InputError("The training split is empty: give more questions, or a larger share of them to it.")
        if targets.ndim != 2 or targets.shape[1] not in _COLUMNS or not np.issubdtype(targets.dtype, np.integer):
            raise InputError(
                f"The {name} targets must be int32 (n, 2) characters of a context, or (n, 4) pieces of a window: "
                f"`tlkit.data.text.from_squad` makes them. Received: shape={targets.shape}, dtype={targets.dtype}."
            )
        _passages(examples)


def _passages(examples: Examples) -> Column:
    found = examples.columns.get(PASSAGE)
    if found is None:
        raise InputError(
            "Answers are judged by their words, so each question needs its context and its answers (the column "
            f"{PASSAGE!r} of `Examples`): `tlkit.data.text.from_squad` brings them."
        )
    return found
