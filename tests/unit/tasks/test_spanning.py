"""Answers as spans: the best pair of places, scores by hand, a loss that padding does not change."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from tlkit import tasks
from tlkit.errors import InputError
from tlkit.tasks.spanning import best_span, evaluate_spans, overlap, within_context

STEPS = 8


def positions(first: int, last: int, sure: float = 0.9) -> np.ndarray:
    """Probabilities (steps, 2) of a model that says so."""
    rows = np.full((STEPS, 2), (1 - sure) / (STEPS - 1))
    rows[first, 0] = rows[last, 1] = sure
    return rows


def test_the_best_pair_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows = rng.dirichlet(np.ones(STEPS), 2).T
        pairs = [(s, e) for s, e in itertools.product(range(2, 7), repeat=2) if s <= e < s + 3]
        best = max(pairs, key=lambda pair: rows[pair[0], 0] * rows[pair[1], 1])
        found = best_span(rows, 2, 7, longest=3)
        assert (found.first, found.last) == best
        ratio = rows[best[0], 0] * rows[best[1], 1] / (rows[0, 0] * rows[0, 1])
        assert found.preference == pytest.approx(np.log(ratio))


def test_what_lies_outside_the_context_changes_nothing():
    rows = positions(4, 5)
    padded = np.concatenate([rows * 0.01, np.full((5, 2), 0.198)])
    a, b = best_span(rows, 3, 7), best_span(padded, 3, 7)
    assert (a.first, a.last) == (b.first, b.last) == (4, 5) and a.preference == pytest.approx(b.preference)


def test_odd_outputs_and_empty_contexts():
    assert best_span(positions(4, 5), 3, 3).preference == -np.inf
    assert best_span(np.full((STEPS, 2), np.nan), 3, 7).first in range(3, 7)


@pytest.mark.parametrize(
    ("said", "true", "expected"),
    [((4, 7), (6, 9), 0.5), ((4, 4), (4, 4), 1), ((3, 4), (5, 6), 0), ((3, 6), (4, 4), 0.4), ((0, 0), (4, 4), 0)],
)
def test_overlap_by_hand(said, true, expected):
    assert overlap(said, true) == overlap(true, said) == pytest.approx(expected)


def test_scores_by_hand():
    targets = np.array([[4, 5, 3, 7]] * 2 + [[0, 0, 3, 7]] * 2)
    outputs = np.stack([positions(4, 5), positions(4, 6), positions(0, 0), positions(5, 5)])
    found = evaluate_spans(targets, outputs, ["right", "long", "none", "made up"])
    assert found.scores["exact_match"] == 0.5
    assert found.scores["f1"] == pytest.approx((1 + 0.8 + 1 + 0) / 4)
    assert found.scores["answered_f1"] == pytest.approx(0.9) and found.scores["no_answer_accuracy"] == 0.5
    assert found.details["example_scores"] == pytest.approx([1, 0.8, 1, 0])
    assert [(m["id"], m["true"], m["predicted"]) for m in found.details["mistakes"]] == [
        ("made up", "no answer", "pieces 5 to 5"),
        ("long", "pieces 4 to 5", "pieces 4 to 6"),
    ]
    assert json.dumps(found.details)


def test_the_surest_window_answers_for_its_question():
    ids = ["q", "q@1", "q@2", "p"]
    targets = np.array([[0, 0, 3, 7], [4, 5, 3, 7], [0, 0, 3, 7], [3, 3, 3, 7]])
    right = np.stack([positions(0, 0), positions(4, 5), positions(0, 0, 0.6), positions(3, 3)])
    found = evaluate_spans(targets, right, ids)
    assert found.scores["exact_match"] == 1 and "no_answer_accuracy" not in found.scores
    wrong = right.copy()
    wrong[2] = positions(6, 6, 0.99)
    assert evaluate_spans(targets, wrong, ids).details["example_scores"] == [0, 1]


def test_an_answer_can_be_asked_for_always():
    targets, outputs = np.array([[4, 5, 3, 7]]), np.stack([0.5 * positions(0, 0) + 0.5 * positions(4, 5, 0.6)])
    assert evaluate_spans(targets, outputs, ["q"]).scores["exact_match"] == 0
    assert evaluate_spans(targets, outputs, ["q"], no_answer=False).scores["exact_match"] == 1


def test_what_clients_look_at():
    shares = within_context(np.stack([positions(4, 5)]), np.array([[4, 5, 3, 7]]))
    assert shares.shape == (1, 2, STEPS) and shares.sum(-1) == pytest.approx(1)
    assert (shares[0, :, [1, 2, 7]] == 0).all() and shares.argmax(-1).tolist() == [[4, 5]]


def test_the_loss_by_hand_and_padded():
    from tlkit.tasks import losses

    targets = np.array([[4, 5, 3, 7], [0, 0, 3, 6]], np.int32)
    logits = np.random.default_rng(0).normal(size=(2, STEPS, 2)).astype(np.float32)
    expected = []
    for (first, last, start, end), row in zip(targets, logits, strict=True):
        inside = [0, *range(start, end)]
        total = np.log(np.exp(row[inside].astype(np.float64)).sum(axis=0))
        expected.append((total[0] - row[first, 0] + total[1] - row[last, 1]) / 2)
    padded = np.pad(logits, ((0, 0), (0, 5), (0, 0)), constant_values=30.0)
    for given in (logits, padded):
        assert np.asarray(losses.SpanCrossEntropy().call(targets, given)) == pytest.approx(expected, abs=1e-5)
        assert float(losses.SpanCrossEntropy()(targets, given)) == pytest.approx(np.mean(expected), abs=1e-5)


def test_the_accuracy_looks_at_the_context_alone():
    from tlkit.tasks import losses

    logits = np.log(np.stack([positions(4, 5), positions(4, 6)])).astype(np.float32)
    logits[:, 7] = 9.0
    targets = np.array([[4, 5, 3, 7]] * 2, np.int32)
    assert np.asarray(losses.span_accuracy(targets, logits)).tolist() == [1, 0]


def test_the_task_is_made_again_from_its_recipe():
    task = tasks.span(dropout=0.2, longest=5, no_answer=False)
    again = tasks.restore(json.loads(json.dumps(task.recipe)))
    assert again.recipe == task.recipe and again.evaluate.keywords == {"longest": 5, "no_answer": False}
    assert again.takes == "sequence" and again.labels == ()


def test_arguments_out_of_range():
    with pytest.raises(InputError, match=r"`dropout` must lie in \[0, 1\)"):
        tasks.span(dropout=1.0)
    with pytest.raises(InputError, match="`longest` must be 1 piece or more"):
        tasks.span(longest=0)
