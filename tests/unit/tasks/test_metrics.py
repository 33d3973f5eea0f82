"""Statistics against closed forms, published values and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from tlkit.core.errors import InputError
from tlkit.tasks import metrics

rng = np.random.default_rng(7)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_matches_newcombes_table(successes, count, low, high):  # Newcombe 1998, table I, method 3
    assert metrics.wilson(successes, count) == pytest.approx((low, high), abs=5e-5)


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_holds_the_share_and_stays_within_bounds(right, wrong):
    low, high = metrics.wilson(right, right + wrong)
    assert 0 <= low <= high <= 1
    if right + wrong:
        assert low - 1e-12 <= right / (right + wrong) <= high + 1e-12


def test_bootstrap_of_a_mean_agrees_with_its_standard_error():
    values = rng.normal(3.0, 2.0, 400)
    low, high = metrics.bootstrap(lambda drawn: float(values[drawn].mean()), len(values))
    error = values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.05)
    assert metrics.bootstrap(lambda drawn: float(values[drawn].mean()), len(values)) == (low, high)


def test_bootstrap_over_cells_is_the_bootstrap_over_examples():
    targets, predicted = rng.integers(4, size=300), rng.integers(4, size=300)
    predicted = np.where(rng.random(300) < 0.6, targets, predicted)
    cells = metrics.bootstrap_confusion(metrics.macro_f1, metrics.confusion_matrix(targets, predicted, 4))
    drawn = metrics.bootstrap(
        lambda i: reference.f1_score(targets[i], predicted[i], average="macro"), 300, resamples=300
    )
    assert cells == pytest.approx(drawn, abs=0.02)


def _most_likely_statistic(gained, lost, count, delta):
    """(gained - lost - n delta) over its error, both shares found on a grid of their likelihood."""
    pl = np.linspace(max(0.0, -delta), (1 - delta) / 2, 400_001)[1:-1]
    pg = pl + delta
    with np.errstate(all="ignore"):
        log = gained * np.log(pg) + lost * np.log(pl) + (count - gained - lost) * np.log(1 - pg - pl)
    best = np.nanargmax(log)
    return (gained - lost - count * delta) / math.sqrt(count * (pg[best] + pl[best] - delta**2))


@pytest.mark.parametrize(("gained", "lost", "count"), [(3, 9, 75), (86, 150, 1600), (5, 2, 46)])
def test_paired_bounds_solve_the_score_equation(gained, lost, count):
    a = np.r_[np.zeros(gained), np.ones(lost), np.ones(count - gained - lost)]
    b = np.r_[np.ones(gained), np.zeros(lost), np.ones(count - gained - lost)]
    interval = metrics.paired_interval(a, b)
    assert interval.difference == pytest.approx((gained - lost) / count)
    assert _most_likely_statistic(gained, lost, count, interval.low) == pytest.approx(1.645, abs=1e-3)
    assert _most_likely_statistic(gained, lost, count, interval.high) == pytest.approx(-1.645, abs=1e-3)


def test_paired_interval_of_equal_models_is_not_a_point():
    interval = metrics.paired_interval(np.ones(46), np.ones(46))
    assert interval.difference == 0
    assert -0.1 < interval.low < 0 < interval.high < 0.1


def test_paired_interval_covers_at_its_confidence():
    draws = np.random.default_rng(1)
    below = above = 0
    for _ in range(400):
        cells = draws.choice(3, size=60, p=[0.06, 0.10, 0.84])  # gained, lost, same: true difference -.04
        interval = metrics.paired_interval((cells != 0).astype(float), (cells != 1).astype(float))
        below += interval.high < -0.04
        above += interval.low > -0.04
    assert 0.02 <= below / 400 <= 0.09
    assert 0.02 <= above / 400 <= 0.09


def test_paired_interval_of_other_scores_is_a_bootstrap():
    a = rng.normal(size=200)
    b = a - 0.5 + 0.1 * rng.normal(size=200)
    interval = metrics.paired_interval(a, b)
    assert interval.low < interval.difference < interval.high < -0.45


def test_paired_interval_refuses_what_is_not_paired():
    with pytest.raises(InputError, match="two scores for each example"):
        metrics.paired_interval([1, 0], [1])
    with pytest.raises(InputError, match="two scores for each example"):
        metrics.paired_interval([], [])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 7), st.integers(0, 1000))
def test_confusion_and_per_class_equal_scikit_learn(count, classes, seed):
    draws = np.random.default_rng(seed)
    targets, predicted = draws.integers(classes, size=count), draws.integers(classes, size=count)
    confusion = metrics.confusion_matrix(targets, predicted, classes)
    assert (confusion == reference.confusion_matrix(targets, predicted, labels=range(classes))).all()
    ours = metrics.precision_recall_f1(np.diag(confusion), confusion.sum(0), confusion.sum(1))
    theirs = reference.precision_recall_fscore_support(targets, predicted, labels=range(classes), zero_division=0)
    assert np.allclose(ours, theirs[:3])
    assert metrics.macro_f1(confusion) == pytest.approx(
        reference.f1_score(targets, predicted, average="macro", zero_division=0)
    )


def test_top_k_equals_scikit_learn_and_breaks_ties_like_argmax():
    scores, targets = rng.random((50, 6)), rng.integers(6, size=50)
    ours = metrics.top_k_hits(targets, scores, 3).mean()
    assert ours == pytest.approx(reference.top_k_accuracy_score(targets, scores, k=3, labels=range(6)))
    even = np.full((6, 6), 1 / 6)
    assert metrics.top_k_hits(np.arange(6), even, 1).tolist() == [True] + [False] * 5
    assert not metrics.top_k_hits(np.array([0]), np.full((1, 3), np.nan), 3).any()


def test_calibration_by_hand():
    error, rows = metrics.calibration(np.array([0.5, 0.5, 0.95, 0.95, 1.0]), np.array([1, 0, 1, 1, 0]), bins=10)
    assert [(r["count"], r["accuracy"]) for r in rows] == [(2, 0.5), (3, pytest.approx(2 / 3))]
    assert error == pytest.approx(3 / 5 * abs(2 / 3 - 2.9 / 3))
    assert metrics.calibration(np.array([]), np.array([])) == (0.0, [])
    assert metrics.calibration(np.array([0.0, 1.0]), np.array([0, 1]))[0] == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 1000))
def test_average_precision_equals_scikit_learn(count, seed):
    draws = np.random.default_rng(seed)
    targets, scores = draws.integers(2, size=count), draws.integers(5, size=count) / 5  # many ties
    expected = reference.average_precision_score(targets, scores) if targets.any() else 0.0
    assert metrics.average_precision(targets, scores) == pytest.approx(expected)


def test_r2_equals_scikit_learn_and_survives_constant_targets():
    truth, values = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
    assert metrics.r2(truth, values) == pytest.approx(reference.r2_score(truth, values))
    assert metrics.r2(np.ones((4, 1)), np.ones((4, 1))) == 1
    assert metrics.r2(np.ones((4, 1)), np.zeros((4, 1))) == 0


def test_the_area_under_the_roc_curve_equals_scikit_learn():
    rng = np.random.default_rng(0)
    for scores in (rng.random(200), rng.integers(0, 5, 200) / 4):  # without ties, and with many
        targets = (rng.random(200) < 0.3).astype(int)
        assert metrics.roc_auc(targets, scores) == pytest.approx(reference.roc_auc_score(targets, scores))
    assert metrics.roc_auc(np.zeros(5), rng.random(5)) == 0.5


# -- correlation


def test_correlations_match_numpy_and_ranks():
    a, b = rng.normal(size=200), rng.integers(0, 5, 200)
    assert metrics.pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert metrics.spearman(a, a**3) == pytest.approx(1) and metrics.spearman(a, -a) == pytest.approx(-1)
    # 6 sum d^2 / (n (n^2 - 1)) without ties: d = (0, 1, -1, 0), so 1 - 6 * 2 / 60
    assert metrics.spearman(np.array([1, 2, 3, 4]), np.array([10, 30, 20, 40])) == pytest.approx(0.8)
    assert metrics.mean_ranks(np.array([5, 1, 5, 0])).tolist() == [3.5, 2, 3.5, 1]
    assert metrics.pearson(np.ones(4), np.arange(4)) == 0


# -- retrieval


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 501])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 1 - 0.05 / 3, 0.999])
def test_student_s_quantiles_are_scipy_s(confidence, freedom):
    expected = stats.t.ppf((1 + confidence) / 2, freedom)
    assert metrics.student_quantile(confidence, freedom) == pytest.approx(expected, rel=1e-9)
