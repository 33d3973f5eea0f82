"""Answers as spans: the best pair of places, scores by hand, a loss that padding does not change."""

from __future__ import annotations

import dataclasses
import doctest
import itertools
import json

import numpy as np
import pytest
from changing import passages

from tlkit import tasks
from tlkit.answers.passages import Reply, best_span, ranked, reply, within_context
from tlkit.core import examples
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.tasks import answer_scores, spanning
from tlkit.tasks.answer_scores import exact_match, normalized, word_f1
from tlkit.tasks.spanning import evaluate_spans

STEPS = 8


def positions(first: int, last: int, sure: float = 0.9) -> np.ndarray:
    """Probabilities (steps, 2) of a model that says so."""
    rows = np.full((STEPS, 2), (1 - sure) / (STEPS - 1))
    rows[first, 0] = rows[last, 1] = sure
    return rows


def test_docstrings_hold():
    assert (
        doctest.testmod(answer_scores).failed
        == doctest.testmod(spanning).failed
        == doctest.testmod(examples).failed
        == 0
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The Norman's  conquest, of an island", "normans conquest of island"),
        ("a\tTheatre\nfor THE an-the", "theatre for anthe"),  # marks go before articles are looked for
        ("U.S.", "us"),
        ("$1,000.50", "100050"),
        ("Ünter  ÇA", "ünter ça"),  # accents stay
        ("«l’été» – 北京", "«l’été» – 北京"),  # and so do marks that ASCII lacks
        ("the, a. An!", ""),
        ("", ""),
    ],
)
def test_answers_are_normalized_as_in_squads_script(answer, expected):
    assert normalized(answer) == expected


@pytest.mark.parametrize(
    ("said", "answers", "exact", "f1"),
    [
        ("Denver Broncos", ["Denver Broncos"] * 3, 1, 1),
        ("the Denver Broncos!", ["Denver Broncos", "Broncos"], 1, 1),
        ("Denver", ["Carolina", "Denver Broncos"], 0, 2 / 3),  # P 1/1, R 1/2
        ("Levi's Stadium in Santa Clara", ["Santa Clara, California", "Levi's Stadium"], 0, 4 / 7),  # P 2/5, R 2/2
        ("to to be", ["to be or not to be"], 0, 2 / 3),  # words count as often as both have them: P 3/3, R 3/6
        ("Broncos Denver", ["Denver Broncos"], 0, 1),  # a bag of words
        ("Rome", ["Paris"], 0, 0),
        ("ROME", ["rome"], 1, 1),
        ("Zürich", ["Zurich"], 0, 0),
        ("", ["Rome"], 0, 0),
        ("", [], 1, 1),
        ("Rome", [], 0, 0),
        ("the", [], 1, 1),  # nothing is left of it
        ("Rome", ["the", "Rome"], 1, 1),
        ("", ["the"], 1, 1),  # nothing is left of the only answer, so none is right
    ],
)
def test_answers_are_judged_as_by_squads_script(said, answers, exact, f1):
    assert exact_match(said, answers) == exact and word_f1(said, answers) == pytest.approx(f1)


def test_the_best_pair_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows = rng.dirichlet(np.ones(STEPS), 2).T
        pairs = [(s, e) for s, e in itertools.product(range(2, 7), repeat=2) if s <= e < s + 3]
        best = max(pairs, key=lambda pair: rows[pair[0], 0] * rows[pair[1], 1])
        span = best_span(rows, 2, 7, longest=3)
        assert (span.first, span.last) == best
        ratio = rows[best[0], 0] * rows[best[1], 1] / (rows[0, 0] * rows[0, 1])
        assert span.preference == pytest.approx(np.log(ratio))


def test_what_lies_outside_the_context_changes_nothing():
    rows = positions(4, 5)
    padded = np.concatenate([rows * 0.01, np.full((5, 2), 0.198)])
    a, b = best_span(rows, 3, 7), best_span(padded, 3, 7)
    assert (a.first, a.last) == (b.first, b.last) == (4, 5) and a.preference == pytest.approx(b.preference)


def test_odd_outputs_and_empty_contexts():
    assert best_span(positions(4, 5), 3, 3).preference == -np.inf
    assert best_span(np.full((STEPS, 2), np.nan), 3, 7).first in range(3, 7)


TEXT = "Anna saw the old Rome"
OFFSETS = np.array([[0, 4], [5, 8], [9, 12], [13, 16], [17, 21]])  # steps 3 to 7
ROME = ("Rome", "old Rome")


def windows(targets: list[list[int]], answers: list[tuple[str, ...]], ids: list[str]) -> Examples:
    """Windows that show all of TEXT."""
    asked = passages(TEXT, answers, OFFSETS, 3)
    rows = np.array([[*row, 3, 8] for row in targets], np.int32)
    return Examples(
        tuple(ids), ReadColumn(lambda i: None, None, tuple(ids)), ArrayColumn(rows), columns={"passage": asked}
    )


def test_scores_by_hand():
    ids = ["right", "article", "long", "none", "made up", "silent"]
    examples = windows([[7, 7]] * 3 + [[0, 0]] * 2 + [[7, 7]], [ROME] * 3 + [()] * 2 + [ROME], ids)
    spans = [(7, 7), (5, 7), (4, 7), (0, 0), (5, 5), (0, 0)]
    evaluation = evaluate_spans(examples, np.stack([positions(*span) for span in spans]))
    f1 = [1, 1, 0.8, 1, 1, 0]  # "saw the old Rome" and "old Rome" share 2 words of 3 and 2; "the" is nothing
    assert evaluation.details["example_scores"] == pytest.approx(f1)
    assert evaluation.scores["f1"] == pytest.approx(np.mean(f1)) and evaluation.scores["exact_match"] == pytest.approx(
        4 / 6
    )
    assert evaluation.scores["answered_f1"] == pytest.approx(0.7) and evaluation.scores["no_answer_accuracy"] == 1
    assert [(m["id"], m["true"], m["predicted"]) for m in evaluation.details["mistakes"]] == [
        ("silent", "Rome / old Rome", "no answer"),
        ("long", "Rome / old Rome", "saw the old Rome"),
    ]
    assert json.dumps(evaluation.details)


def test_a_made_up_answer_is_a_mistake():
    evaluation = evaluate_spans(windows([[0, 0]], [()], ["q"]), np.stack([positions(3, 3)]))
    assert evaluation.scores["no_answer_accuracy"] == 0 and "answered_f1" not in evaluation.scores
    (mistake,) = evaluation.details["mistakes"]
    assert (mistake["true"], mistake["predicted"]) == ("no answer", "Anna")


def test_the_surest_window_answers_for_its_question():
    examples = windows([[0, 0], [7, 7], [0, 0], [3, 3]], [ROME] * 3 + [("Anna",)], ["q", "q@1", "q@2", "p"])
    right = np.stack([positions(0, 0), positions(7, 7), positions(0, 0, 0.6), positions(3, 3)])
    evaluation = evaluate_spans(examples, right)
    assert evaluation.scores["exact_match"] == 1 and "no_answer_accuracy" not in evaluation.scores
    wrong = right.copy()
    wrong[2] = positions(4, 4, 0.99)
    assert evaluate_spans(examples, wrong).details["example_scores"] == [0, 1]
    silent = np.stack([positions(0, 0)] * 3 + [positions(3, 3)])
    assert evaluate_spans(examples, silent).details["mistakes"][0]["id"] == "q@1"  # where the answer stands


def test_an_answer_that_no_window_holds_whole_can_still_be_half_right():
    examples = windows([[0, 0]] * 2, [("old Rome of",)] * 2, ["q", "q@1"])
    evaluation = evaluate_spans(examples, np.stack([positions(6, 7), positions(0, 0)]))
    assert evaluation.scores["f1"] == pytest.approx(0.8) and "no_answer_accuracy" not in evaluation.scores


def test_an_answer_can_be_asked_for_always():
    examples = windows([[3, 3]], [("Anna",)], ["q"])
    outputs = np.stack([0.5 * positions(0, 0) + 0.5 * positions(3, 3, 0.6)])
    assert evaluate_spans(examples, outputs).scores["exact_match"] == 0
    assert evaluate_spans(examples, outputs, no_answer=False).scores["exact_match"] == 1


def test_a_reply_is_in_the_words_of_the_text():
    passage = {"text": "a\n b  c", "offsets": np.array([[0, 1], [3, 4], [6, 7]]), "step": 4}
    answer = reply(positions(4, 6), passage)
    assert answer.words == "a b c" and answer.preference > 0
    assert reply(positions(4, 6), {"text": "", "offsets": np.zeros((0, 2), np.int32), "step": 4}) == ("", -np.inf)


def test_replies_are_ranked_by_how_likely_they_are():
    replies = ranked([Reply("", -np.inf), Reply("b", -1.0), Reply("a", 3.0), Reply("b", 1.0)])
    assert [words for words, _ in replies] == ["a", "b", "no answer"]
    assert replies[0][1] + replies[2][1] == pytest.approx(1) and replies[1][1] == pytest.approx(1 / (1 + np.exp(-1)))
    assert ranked([Reply("a", 0.0)])[0][0] == "no answer"  # as in evaluation
    sure = [Reply("b", 60.0), Reply("a", 90.0), Reply("b", 40.0)]  # all of them 1.0
    assert [words for words, _ in ranked(sure)] == ["a", "b", "no answer"]
    assert ranked([Reply("a", -9.0)], no_answer=False) == [("a", pytest.approx(np.exp(-9), rel=1e-3))]


def test_questions_without_passages_are_refused():
    bare = dataclasses.replace(windows([[7, 7]], [ROME], ["q"]), columns={})
    for act in (
        lambda: evaluate_spans(bare, np.stack([positions(7, 7)])),
        lambda: tasks.span().objective.check(Splits(*[bare] * 3)),
    ):
        with pytest.raises(InputError, match=r"Answers are judged by their words.*the column .passage."):
            act()


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
    for variant in (logits, padded):
        assert np.asarray(losses.SpanCrossEntropy().call(targets, variant)) == pytest.approx(expected, abs=1e-5)
        assert float(losses.SpanCrossEntropy()(targets, variant)) == pytest.approx(np.mean(expected), abs=1e-5)


def test_the_accuracy_looks_at_the_context_alone():
    from tlkit.tasks import losses

    logits = np.log(np.stack([positions(4, 5), positions(4, 6)])).astype(np.float32)
    logits[:, 7] = 9.0
    targets = np.array([[4, 5, 3, 7]] * 2, np.int32)
    assert np.asarray(losses.span_accuracy(targets, logits)).tolist() == [1, 0]


def test_the_task_is_made_again_from_its_recipe():
    task = tasks.span(dropout=0.2, longest=5, no_answer=False)
    again = tasks.restore(json.loads(json.dumps(task.made_by)))
    assert again.made_by == task.made_by and again.made_by[1]["longest"] == 5
    assert again.reads.name == "steps()" and again.labels == ()


def test_arguments_out_of_range():
    with pytest.raises(InputError, match=r"`dropout` must lie in \[0, 1\)"):
        tasks.span(dropout=1.0)
    with pytest.raises(InputError, match="`longest` must be 1 piece or more"):
        tasks.span(longest=0)
