"""Tagging: a label for each word (named entities, parts of speech), judged by the spans that the labels make up."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.words import OUTSIDE
from tlkit.answers.words import words as answer_words
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.task import Evaluation, Objective, Task
from tlkit.layer import reads
from tlkit.tasks import metrics, recording
from tlkit.tasks.gathering import gathered
from tlkit.tasks.spans import Span, spans
from tlkit.tasks.split_checks import check_labels, check_training, named_splits

if TYPE_CHECKING:
    import keras

NO_WORD = -1  # target of a piece that starts no word: padding, special pieces, the rest of a word
WORST = 24  # sentences that the report shows


def tag(labels: Sequence[str], dropout: float = 0.1) -> Task:
    """Give each word a label.

    A word's label is what the model says of its first word piece. Targets are int32 (n, steps) numbers of labels, -1
    for pieces that start no word; `tlkit.data.text.from_conll` makes them. Labels "B-kind", "I-kind" and "O" make up
    spans, whose F1 is the headline; other labels are judged word by word.

    Args:
        labels: Name of each output, in the order of the targets' numbers.
        dropout: Share of features dropped before the dense layer, in [0, 1).

    Returns:
        A task for modules that give one vector a step.

    Raises:
        InputError: If labels are too few or repeat.

    Example:
        >>> tag(["O", "B-person", "I-person"]).reads.name
        'steps()'
    """
    names = tuple(str(label) for label in labels)
    if len(set(names)) < max(2, len(names)):
        raise InputError(f"Tagging needs two labels or more, all different. Received: labels={list(names)!r}.")
    if not 0 <= dropout < 1:
        raise InputError(f"`dropout` must lie in [0, 1). Received: dropout={dropout!r}.")
    answer = answer_words(names)
    return Task(
        name="tag",
        made_by=recording.record("tlkit.tasks.tag", {"labels": names, "dropout": dropout}),
        reads=reads.steps(),
        head=functools.partial(_head, outputs=len(names), dropout=dropout),
        objective=Objective(loss=_loss, metrics=_metrics, check=functools.partial(_check, names)),
        answers=(answer,),
        scorer=gathered(functools.partial(evaluate_tags, names), answer.name),
    )


def evaluate_tags(labels: tuple[str, ...], examples: Examples, outputs: np.ndarray) -> Evaluation:
    """Scores of labelled words.

    Args:
        labels: Names of the labels, k of them.
        examples: Sentences, whose targets are int (n, steps), -1 where no word starts.
        outputs: float (n, steps, k) probabilities.

    Returns:
        Scores f1, precision and recall of whole spans over all sentences (with a bootstrap 95 % interval of the F1)
        and accuracy of words; details for the report. Without B- and I- labels the accuracy is the headline.
    """
    targets = examples.target_array
    words = targets >= 0
    predicted = np.where(np.isfinite(outputs).all(axis=-1), outputs.argmax(axis=-1), NO_WORD)
    right = np.where(words, predicted == targets, False)
    correct, counted = right.sum(axis=1), np.maximum(words.sum(axis=1), 1)
    interval = metrics.bootstrap(lambda drawn: correct[drawn].sum() / counted[drawn].sum(), len(targets))
    scores = metrics.with_interval("accuracy", correct.sum() / counted.sum(), interval)
    details = {"example_scores": (correct / counted).tolist()}
    if any(label[:2] in ("B-", "I-") for label in labels):
        pairs = [
            _both(labels, truth, tags, is_word) for truth, tags, is_word in zip(targets, predicted, words, strict=True)
        ]
        scores = {**_span_scores(pairs), **scores}
        details |= {
            "headline": metrics.headline("f1", "Span F1", "bootstrap"),
            "per_class": _per_kind(pairs),
            "mistakes": _mistakes(pairs, examples.ids),
        }
    else:
        details |= {"headline": metrics.headline("accuracy", "Word accuracy", "bootstrap")}
    plain = {name: float(value) for name, value in scores.items()}
    return Evaluation(metrics.finite(plain), details, outputs.astype(np.float32))


Found = tuple[list[Span], list[Span]]  # true spans of a sentence, and those that the model finds


def _both(labels: tuple[str, ...], truth: np.ndarray, predicted: np.ndarray, words: np.ndarray) -> Found:
    tags = [[labels[i] if i >= 0 else OUTSIDE for i in row[words]] for row in (truth, predicted)]
    return spans(tags[0]), spans(tags[1])


def _span_scores(pairs: Sequence[Found]) -> dict[str, float]:
    counts = np.array([(len(set(true) & set(predicted)), len(predicted), len(true)) for true, predicted in pairs])
    interval = metrics.bootstrap(lambda drawn: _f1(counts[drawn].sum(axis=0)), len(counts))
    hits, predicted, true = counts.sum(axis=0)
    f1 = metrics.with_interval("f1", _f1((hits, predicted, true)), interval)
    return {**f1, "precision": hits / max(1, predicted), "recall": hits / max(1, true)}


def _f1(counts: Any) -> float:
    hits, predicted, true = counts
    return float(2 * hits / max(1, predicted + true))


def _per_kind(pairs: Sequence[Found]) -> list[dict[str, Any]]:
    kinds = sorted({span.kind for pair in pairs for side in pair for span in side})
    rows = []
    for kind in kinds:
        sides = [[{s for s in side if s.kind == kind} for side in pair] for pair in pairs]
        hits, predicted, true = (sum(map(len, part)) for part in ([t & s for t, s in sides], *_columns(sides)))
        rows.append({"label": kind, "precision": hits / max(1, predicted), "recall": hits / max(1, true),
                     "f1": _f1((hits, predicted, true)), "support": true})  # fmt: skip
    return rows


def _columns(sides: Sequence[Sequence[set[Span]]]) -> tuple[list[set[Span]], list[set[Span]]]:
    return [predicted for _, predicted in sides], [true for true, _ in sides]


def _mistakes(pairs: Sequence[Found], ids: Sequence[str]) -> list[dict[str, Any]]:
    """Sentences with the most spans missed or made up."""
    wrong = [len(set(true) ^ set(predicted)) for true, predicted in pairs]
    worst = np.argsort(-np.asarray(wrong), kind="stable")[:WORST].tolist()
    return [
        {"index": i, "id": ids[i], "true": _spoken(pairs[i][0]), "predicted": _spoken(pairs[i][1]),
         "spans": {"true": [list(s) for s in pairs[i][0]], "predicted": [list(s) for s in pairs[i][1]]}}
        for i in worst
        if wrong[i]
    ]  # fmt: skip


def _spoken(sentence_spans: Sequence[Span]) -> str:
    return ", ".join(dict.fromkeys(span.kind for span in sentence_spans)) or "nothing"


def _head(features: Any, outputs: int, dropout: float) -> Any:
    import keras

    x = keras.layers.Dropout(dropout, name="head_dropout")(features) if dropout else features
    return keras.layers.Dense(outputs, dtype="float32", name="head_outputs")(x)


def _loss() -> keras.losses.Loss:
    from tlkit.tasks import losses

    return losses.StepCrossEntropy()


def _metrics() -> list[keras.metrics.Metric]:
    import keras

    from tlkit.tasks import losses

    return [keras.metrics.MeanMetricWrapper(losses.step_accuracy, name="accuracy")]


def _check(labels: tuple[str, ...], splits: Splits) -> None:
    check_labels(labels, splits, "tag")
    check_training(splits, "give more sentences, or a larger share of them to it")
    for name, examples in named_splits(splits):
        targets = examples.target_array
        if targets.ndim != 2 or not np.issubdtype(targets.dtype, np.integer):
            raise InputError(
                f"The {name} targets must be int32 (n, steps), one label a word piece: `tlkit.data.text.from_conll` "
                f"makes them. Received: shape={targets.shape}, dtype={targets.dtype}."
            )
        if len(targets) and not -1 <= int(targets.min()) <= int(targets.max()) < len(labels):
            raise InputError(f"The {name} targets must lie in [-1, {len(labels) - 1}]. Received: {targets.max()}.")
