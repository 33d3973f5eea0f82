"""Labels of words: spans as the CoNLL tasks count them, scores against cases worked out by hand."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from changing import judged

from tlkit import tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.tasks import spans as module
from tlkit.tasks.spans import Span, spans

LABELS = ("O", "B-person", "I-person", "B-place", "I-place")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], []),
        (["O", "O"], []),
        (["B-person", "I-person", "O"], [("person", 0, 2)]),
        (["B-person", "B-person"], [("person", 0, 1), ("person", 1, 2)]),
        (["I-person", "O", "I-place"], [("person", 0, 1), ("place", 2, 3)]),  # repaired: a span begins
        (["B-person", "I-place"], [("person", 0, 1), ("place", 1, 2)]),
        (["B-place", "I-place", "I-place"], [("place", 0, 3)]),
        (["noun", "noun", "verb"], [("noun", 0, 2), ("verb", 2, 3)]),
    ],
)
def test_spans(labels, expected):
    assert spans(labels) == [Span(*fields) for fields in expected]


def test_the_example_of_spans():
    assert doctest.testmod(module).failed == 0


def outputs(rows: list[list[int]], steps: int) -> np.ndarray:
    """Probabilities that say these labels, one row a sentence; padding says the last label, to no effect."""
    numbers = np.full((len(rows), steps), len(LABELS) - 1)
    for i, row in enumerate(rows):
        numbers[i, 1 : 1 + len(row)] = row
    return np.eye(len(LABELS), dtype=np.float32)[numbers]


def targets(rows: list[list[int]], steps: int) -> np.ndarray:
    numbers = np.full((len(rows), steps), -1, np.int32)
    for i, row in enumerate(rows):
        numbers[i, 1 : 1 + len(row)] = row
    return numbers


def examples(rows: np.ndarray) -> Examples:
    names = tuple(map(str, range(len(rows))))
    return Examples(names, ReadColumn(lambda i: None, ArraySpec((4,), "int32"), names), ArrayColumn(rows))


def test_scores_by_hand():
    truth = [[1, 2, 0, 3], [0, 0, 1]]  # person(0, 2), place(3, 4); person(2, 3)
    predicted = [[1, 0, 0, 3], [0, 0, 1]]  # person(0, 1), place(3, 4); person(2, 3)
    evaluation = judged(tasks.tag(LABELS), examples(targets(truth, 6)), outputs(predicted, 6))
    assert evaluation.scores["f1"] == pytest.approx(2 / 3) and evaluation.scores["precision"] == pytest.approx(2 / 3)
    assert evaluation.scores["recall"] == pytest.approx(2 / 3) and evaluation.scores["accuracy"] == pytest.approx(6 / 7)
    rows = {row["label"]: row for row in evaluation.details["per_class"]}
    assert (rows["person"]["f1"], rows["person"]["support"], rows["place"]["f1"]) == (0.5, 2, 1.0)
    (mistake,) = evaluation.details["mistakes"]
    assert (mistake["id"], mistake["spans"]["predicted"]) == ("0", [["person", 0, 1], ["place", 3, 4]])


def test_labels_without_spans_are_judged_word_by_word():
    task = tasks.tag(("noun", "verb"))
    evaluation = judged(task, examples(np.array([[0, 1, -1]])), np.eye(2, dtype=np.float32)[[[0, 0, 1]]])
    assert evaluation.scores["accuracy"] == 0.5 and "f1" not in evaluation.scores
    assert evaluation.details["headline"]["name"] == "accuracy"


def test_the_loss_of_a_sentence_does_not_depend_on_its_padding():
    loss = tasks.tag(LABELS).objective.loss()
    rng = np.random.default_rng(0)
    truth, raw = targets([[1, 2, 0], [0]], 6), rng.normal(size=(2, 6, len(LABELS))).astype(np.float32)
    padded = np.pad(truth, ((0, 0), (0, 4)), constant_values=-1), np.pad(raw, ((0, 0), (0, 4), (0, 0)))
    assert float(loss(truth, raw)) == pytest.approx(float(loss(*padded)), rel=1e-6)
    log_p = raw - np.log(np.exp(raw).sum(-1, keepdims=True))
    by_hand = -np.mean([np.mean([log_p[0, 1, 1], log_p[0, 2, 2], log_p[0, 3, 0]]), log_p[1, 1, 0]])
    assert float(loss(truth, raw)) == pytest.approx(by_hand, rel=1e-5)


def data(rows: np.ndarray, labels: tuple[str, ...] = LABELS) -> Splits:
    return Splits(*(examples(rows),) * 3, labels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tasks.tag(("O",)), "two labels or more"),
        (lambda: tasks.tag(("O", "O")), "all different"),
        (lambda: tasks.tag(LABELS, dropout=1.0), r"`dropout` must lie in \[0, 1\)"),
        (
            lambda: tasks.tag(LABELS).objective.check(data(np.zeros((2, 4), np.int32), ("x", "y"))),
            "make it of them, `tag",
        ),
        (lambda: tasks.tag(LABELS).objective.check(data(np.zeros(2, np.int32))), r"must be int32 \(n, steps\)"),
        (
            lambda: tasks.tag(LABELS).objective.check(data(np.full((2, 4), 9, np.int32))),
            r"lie in \[-1, 4\]. Received: 9",
        ),
        (lambda: tasks.tag(LABELS).objective.check(data(np.zeros((0, 4), np.int32))), "training split is empty"),
    ],
)
def test_what_cannot_be_tagged(make, message):
    with pytest.raises(InputError, match=message):
        make()
