"""Verification in closed form: trials, both kinds of error, their costs, enrolment, the margin and the separation."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from changing import judged

from tlkit import tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.tasks import verification_scores as measures
from tlkit.tasks.verification import enrol, score, verify


def voices(speakers: int, each: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around one direction a speaker, and the speakers."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(speakers), each)
    return rng.normal(size=(speakers, 16))[who] + noise * rng.normal(size=(len(who), 16)), who


def examples(targets) -> Examples:
    names = tuple(map(str, range(len(targets))))
    return Examples(
        names,
        ReadColumn(lambda i: np.zeros(4, np.float32), ArraySpec((4,), "float32"), names),
        ArrayColumn(np.array(targets)),
    )


def evaluated(threshold=None, noise=0.8):
    x, who = voices(12, 6, noise)
    return judged(tasks.verify(3, threshold=threshold), examples(who), x.astype(np.float32))


def test_docstrings_hold():
    assert doctest.testmod(measures).failed == 0


def test_errors_count_what_each_threshold_lets_pass():
    scores, same = np.array([0.9, 0.1, 0.5, 0.5, 0.2]), np.array([True, False, True, False, True])
    curve = measures.errors(scores, same)
    for limit, missed, accepted in zip(*curve, strict=True):
        assert missed == pytest.approx(np.mean(scores[same] < limit))
        assert accepted == pytest.approx(np.mean(scores[~same] >= limit))
    assert curve.thresholds[:-1].tolist() == [0.1, 0.2, 0.5, 0.9] and curve.thresholds[-1] > 0.9
    assert (curve.missed[0], curve.accepted[-1]) == (0, 0)


def test_weights_stand_for_trials_that_come_several_times():
    rng = np.random.default_rng(1)
    scores, same, times = rng.normal(size=40).round(1), rng.random(40) < 0.4, rng.integers(0, 4, 40)
    weighted = measures.errors(scores, same, times.astype(float))
    repeated = measures.errors(np.repeat(scores, times), np.repeat(same, times))
    assert measures.equal_error(weighted)[0] == pytest.approx(measures.equal_error(repeated)[0])
    assert measures.min_cost(weighted, 0.05) == pytest.approx(measures.min_cost(repeated, 0.05))


def test_the_equal_error_of_two_normal_distributions():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(1, 0.5, 200_000), rng.normal(-1, 0.5, 400_000)])
    rate, limit = measures.equal_error(measures.errors(scores, np.arange(len(scores)) < 200_000))
    assert rate == pytest.approx(0.02275, abs=1e-3)  # the normal tail beyond two deviations
    assert limit == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(("scores", "expected"), [([0.0, 0.1, 0.8, 0.9], 0.0), ([0.9, 0.8, 0.1, 0.0], 1.0)])
def test_the_equal_error_at_both_ends(scores, expected):
    rate, limit = measures.equal_error(measures.errors(np.array(scores), np.array([False, False, True, True])))
    assert rate == expected
    assert expected or 0.1 < limit <= 0.8


@pytest.mark.parametrize("p_target", [0.01, 0.05, 0.5, 0.9])
def test_the_cost_is_1_where_nothing_is_told_apart(p_target):
    same = np.array([True, False, True, False])
    assert measures.min_cost(measures.errors(np.zeros(4), same), p_target) == pytest.approx(1.0)
    assert measures.min_cost(measures.errors(same.astype(float), same), p_target) == 0.0


def test_one_false_acceptance_costs_99_times_a_miss_at_a_prior_of_one_percent():
    scores, same = np.array([0.1, 0.2, 0.8, 0.9] + [0.0] * 96), np.array([False, True, False, True] + [False] * 96)
    assert measures.min_cost(measures.errors(scores, same), 0.01) == pytest.approx(0.5)  # miss one of two, accept none


def test_pairs_need_both_kinds():
    with pytest.raises(InputError, match="two speakers with two sounds"):
        measures.errors(np.zeros(3), np.ones(3, bool))


def test_evaluation_has_rates_with_intervals():
    evaluation = evaluated()
    for name in ("eer", "min_dcf_01", "min_dcf_05"):
        assert (
            0 <= evaluation.scores[f"{name}_low"] <= evaluation.scores[name] <= evaluation.scores[f"{name}_high"] <= 1
        )
    assert evaluation.scores["trials"] == 72 * 71 / 2 and evaluation.scores["target_trials"] == 12 * 15
    assert evaluation.scores["auc"] > 0.9 and "threshold" not in evaluation.scores
    assert len(evaluation.details["example_scores"]) == 72 and evaluation.details["headline"]["name"] == "eer"
    assert {m["predicted"].split(" ")[0] for m in evaluation.details["mistakes"]} <= {"the", "another"}
    assert evaluated(noise=2.0).scores["eer"] > evaluation.scores["eer"] > evaluated(noise=0.1).scores["eer"] - 1e-9


def test_a_threshold_from_validation_shows_its_own_errors():
    scores = evaluated(threshold=0.99).scores
    assert scores["threshold"] == 0.99 and scores["missed"] > 0.9 and scores["accepted"] == 0.0


def test_outputs_that_are_no_numbers_are_wrong_and_no_crash():
    x, who = voices(4, 3, 0.1)
    x[0] = np.nan
    evaluation = judged(tasks.verify(3), examples(who), x)
    assert evaluation.scores["eer"] > 0 and np.isfinite(list(evaluation.scores.values())).all()


def test_the_threshold_is_kept_in_what_makes_the_task():
    x, who = voices(8, 5, 0.8)
    evaluation = judged(verify(3), examples(who), x)
    tuned = verify(3).finish(evaluation)
    pairs = measures.trials(x, who)
    expected = measures.equal_error(measures.errors(pairs.scores, pairs.same))[1]
    assert tuned.made_by[1]["threshold"] == pytest.approx(expected) and tuned.finish is None
    assert tasks.restore(tuned.made_by).made_by == tuned.made_by
    assert verify(3, threshold=0.25).finish is None and verify(3).made_by[1]["threshold"] is None


def test_enrolment_averages_directions():
    voice = enrol([[10.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(voice, [0.5**0.5, 0.5**0.5])
    np.testing.assert_allclose(score(voice, [[1.0, 1.0], [-3.0, -3.0], [1.0, -1.0]]), [1, -1, 0], atol=1e-12)
    with pytest.raises(InputError, match="one recording or more"):
        enrol(np.zeros((0, 4)))


def test_what_is_no_open_set_is_refused():
    check = verify(2).objective.check
    open_set = Splits(examples([0, 1, 0]), examples([2, 2, 3]), examples([4, 4, 5]), tuple("abcdef"))
    check(open_set)
    wrong = {
        "training targets must be 0 to 1": Splits(examples([0, 2]), open_set.val, open_set.test),
        "Speaker `b` is in the test and the training split": Splits(
            open_set.train, open_set.val, examples([1, 1, 4]), tuple("abcdef")
        ),
        "Speaker `c` is in the test and the validation split": Splits(
            open_set.train, open_set.val, examples([2, 2, 4]), tuple("abcdef")
        ),
        "one of them twice": Splits(open_set.train, open_set.val, examples([4, 5])),
        "whole speaker numbers": Splits(examples([0.5, 1.0]), open_set.val, open_set.test),
    }
    for message, splits in wrong.items():
        with pytest.raises(InputError, match=message):
            check(splits)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 1}, "`size` must be 2"), ({"margin": 1.0}, "`margin` must lie"), ({"scale": 0}, "`scale` must be"),
     ({"threshold": 2.0}, "`threshold` must lie"), ({"dropout": 1.0}, "`dropout` must lie"),
     ({"speakers": 1}, "`speakers` must be 2")],
)  # fmt: skip
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        verify(**{"speakers": 2, **options})


def test_the_loss_is_the_papers_and_0_for_speakers_that_are_not_trained():
    from tlkit.tasks.speaker_losses import AdditiveMargin

    cosines = np.array([[0.9, 0.1, -0.2], [0.3, 0.2, 0.1]], np.float32)
    raw = np.concatenate([np.ones((2, 5), np.float32), cosines], axis=1)
    losses = AdditiveMargin(3, margin=0.2, scale=10.0, reduction=None)(np.array([0, 7]), raw)
    top = np.exp(10 * (0.9 - 0.2))
    expected = -np.log(top / (top + np.exp(1.0) + np.exp(-2.0)))  # eq. 6
    np.testing.assert_allclose(losses, [expected, 0.0], rtol=1e-4, atol=1e-6)


def test_the_separation_is_that_of_all_pairs_whatever_the_batches():
    from tlkit.tasks.speaker_losses import Separation

    x, who = voices(5, 4, 0.7)
    unit = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    pairs = measures.trials(unit, who)
    metric = Separation(16)
    for part in (slice(0, 7), slice(7, 13), slice(13, 20)):
        metric.update_state(who[part], np.concatenate([unit[part], np.zeros((len(who[part]), 3))], axis=1))
    expected = pairs.scores[pairs.same].mean() - pairs.scores[~pairs.same].mean()
    assert float(metric.result()) == pytest.approx(expected, abs=1e-5)
