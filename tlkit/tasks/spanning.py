"""Extractive question answering: the passage of a context that answers a question, or that none does."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.passages import NO_ANSWER, POSITIONS, Reply, passages, reply
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.task import Evaluation, Objective, Task
from tlkit.data.windows import PASSAGE
from tlkit.layer import reads
from tlkit.tasks import metrics, recording
from tlkit.tasks.answer_scores import exact_match, word_f1
from tlkit.tasks.gathering import gathered
from tlkit.tasks.split_checks import check_training, named_splits

if TYPE_CHECKING:
    import keras

WORST = 24  # questions that the report shows
_WINDOW = re.compile(r"@\d+$")
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
        >>> span().reads.name, span().answers[0].name
        ('steps()', 'positions')

    Source: Devlin et al. 2018, arXiv:1810.04805, sections 4.2 and 4.3.
    """
    if not 0 <= dropout < 1:
        raise InputError(f"`dropout` must lie in [0, 1). Received: dropout={dropout!r}.")
    if longest < 1:
        raise InputError(f"`longest` must be 1 piece or more. Received: longest={longest!r}.")
    return Task(
        name="span",
        made_by=recording.record("tlkit.tasks.span", {"dropout": dropout, "longest": longest, "no_answer": no_answer}),
        reads=reads.steps(),
        head=functools.partial(_head, dropout=dropout),
        objective=Objective(loss=_loss, metrics=_metrics, check=_check),
        answers=(passages(longest, no_answer),),
        scorer=gathered(functools.partial(evaluate_spans, longest=longest, no_answer=no_answer), POSITIONS),
    )


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
    exact, f1, answerable = (np.array([getattr(row, name) for row in judged]) for name in ("exact", "f1", "answerable"))
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
    chosen_words = "" if no_answer and preference <= 0 else words
    if not chosen_words:  # the report shows where the answer is
        window = next((i for i in windows if examples.target_array[i, 0] > 0), window)
    answers = tuple(str(answer) for answer in examples.columns[PASSAGE][window]["answers"])
    return Judged(window, chosen_words, answers, preference)


def _with_interval(name: str, values: np.ndarray) -> dict[str, float]:
    interval = metrics.bootstrap(lambda drawn: float(values[drawn].mean()), len(values))
    return metrics.with_interval(name, float(values.mean()), interval)


def _mistakes(judged: Sequence[Judged], ids: Sequence[str]) -> list[dict[str, Any]]:
    """The questions answered worst, of equals the surest first."""
    wrong = sorted((row for row in judged if not row.exact), key=lambda row: (row.f1, -abs(row.preference)))
    return [
        {"index": row.window, "id": ids[row.window], "true": _spoken(*row.answers), "predicted": _spoken(row.said)}
        for row in wrong[:WORST]
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


def _check(splits: Splits) -> None:
    check_training(splits, "give more questions, or a larger share of them to it")
    for name, examples in named_splits(splits):
        targets = examples.target_array
        if targets.ndim != 2 or targets.shape[1] not in _COLUMNS or not np.issubdtype(targets.dtype, np.integer):
            raise InputError(
                f"The {name} targets must be int32 (n, 2) characters of a context, or (n, 4) pieces of a window: "
                f"`tlkit.data.text.from_squad` makes them. Received: shape={targets.shape}, dtype={targets.dtype}."
            )
        _passages(examples)


def _passages(examples: Examples) -> Column:
    column = examples.columns.get(PASSAGE)
    if column is None:
        raise InputError(
            "Answers are judged by their words, so each question needs its context and its answers (the column "
            f"{PASSAGE!r} of `Examples`): `tlkit.data.text.from_squad` brings them."
        )
    return column
