"""Formulas of the methods that weight examples, against closed forms and references."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from changing import reread
from scipy.optimize import LinearConstraint, minimize
from sklearn.linear_model import LogisticRegression, Ridge

from tlkit import methods, tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.methods import boosting, importance
from tlkit.methods.class_balance import class_weights
from tlkit.methods.kernel_mean_matching import gap, matched, projected
from tlkit.methods.parts import instances, linear

RNG = np.random.default_rng(0)
LABELS = ("a", "b")


class Unread(np.ndarray):
    """Targets that nobody may look at."""

    def __getitem__(self, key):
        raise AssertionError("the target's labels were read")


def examples(x: np.ndarray, y: np.ndarray | None = None, name: str = "s") -> Examples:
    x = np.asarray(x, np.float32)
    targets = np.arange(len(x), dtype=np.int32) % 2 if y is None else y
    ids = tuple(f"{name}{i}" for i in range(len(x)))
    return Examples(ids, ReadColumn(x.__getitem__, ArraySpec(x.shape[1:], "float32"), ids), ArrayColumn(targets))


def splits(x: np.ndarray, y: np.ndarray | None = None, name: str = "s") -> Splits:
    train = examples(x, y, name)
    return Splits(train, train.subset([0, 1]), train.subset([2, 3]), LABELS)


def unlabelled(x: np.ndarray) -> Splits:
    data = splits(x, name="t")
    train = dataclasses.replace(data.train, targets=np.zeros(len(x), np.int32).view(Unread))
    return dataclasses.replace(data, train=train)


def shifted(count: int = 300, dimensions: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source N(0, 1), target N(0.8, 0.7^2) in the first column, and the true ratio at the source."""
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(count, dimensions)), rng.normal(size=(count, dimensions))
    target[:, 0] = 0.8 + 0.7 * target[:, 0]
    x = source[:, 0]
    return source, target, np.exp(-((x - 0.8) ** 2) / (2 * 0.49) + x**2 / 2) / 0.7


# -- what all share


def test_effective_size_counts_equal_weights():
    assert instances.effective_size(np.ones(7)) == pytest.approx(7)
    assert instances.effective_size(np.eye(5)[0]) == pytest.approx(1)


def test_weights_multiply_and_have_mean_one():
    data = splits(RNG.normal(size=(4, 2)))
    once = instances.weighted(data, np.array([1.0, 2.0, 3.0, 2.0]), "first")
    twice = instances.weighted(once, np.array([1.0, 1.0, 0.0, 1.0]), "second")
    np.testing.assert_allclose(twice.train.weights, np.array([1, 2, 0, 2]) / 1.25)
    assert twice.train.weights.dtype == np.float32 and "effective sample size" in twice.notes[1]


def test_standardised_columns_know_no_unit():
    a, b = RNG.normal(size=(20, 3)), RNG.normal(size=(30, 3))
    units = np.array([1.0, 1e3, 1e-3])
    both = [instances.standardized(x, y, one_unit=False) for x, y in ((a, b), (a * units, b * units))]
    for first, other in zip(*both, strict=True):
        np.testing.assert_allclose(first, other)
    scaled = np.concatenate(instances.standardized(a * units, b * units, one_unit=True))
    assert scaled.var(axis=0).mean() == pytest.approx(1) and np.ptp(scaled.std(axis=0)) > 0.5  # as the units differ
    for one_unit in (True, False):
        assert np.isfinite(instances.standardized(np.ones((3, 2)), np.ones((3, 2)), one_unit=one_unit)[0]).all()


def test_features_of_steps_are_averaged_and_ragged_ones_refused():
    part = examples(RNG.normal(size=(5, 3, 2)))
    assert instances.vectors(None, part).shape == (5, 6)
    ragged = reread(part, lambda i: np.zeros(i + 1))
    with pytest.raises(InputError, match="Without a `backbone`"):
        instances.vectors(None, ragged)


# -- kernel mean matching


def problem(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    a, b = RNG.normal(size=(count, 2)), RNG.normal(size=(20, 2)) * 0.6 + 0.7
    return instances.gaussian(a, a, 1.0), count * instances.gaussian(a, b, 1.0).mean(axis=1)


@pytest.mark.parametrize(("bound", "slack"), [(1000.0, 0.8), (3.0, 0.8), (1000.0, 0.0), (2.0, 0.05)])
def test_the_optimum_is_scipys(bound, slack):
    kernel, kappa = problem()
    n = len(kappa)

    def value(b: np.ndarray) -> float:
        return float(b @ kernel @ b / 2 - kappa @ b)

    weights = matched(kernel, kappa, bound, slack)
    sums = n * (1 - slack), n * (1 + slack)
    other = minimize(
        value, np.ones(n), jac=lambda b: kernel @ b - kappa, method="SLSQP", bounds=[(0, bound)] * n,
        constraints=[LinearConstraint(np.ones((1, n)), *sums)], options={"maxiter": 2000, "ftol": 1e-13},
    )  # fmt: skip
    assert weights.min() >= 0 and weights.max() <= bound
    assert sums[0] - 1e-6 <= weights.sum() <= sums[1] + 1e-6
    assert (
        -1e-7
        <= (value(weights) - other.fun) / n**2
        <= gap(kernel @ weights - kappa, weights, bound, sums) / n**2 + 1e-7
    )
    assert (value(weights) - other.fun) / n**2 < 1e-5


def test_the_nearest_point_is_nearest():
    for bound, sums in ((2.0, (0.0, 3.0)), (2.0, (8.0, 9.0)), (10.0, (4.0, 4.0))):
        point = RNG.normal(size=6) * 2
        nearest = projected(point, bound, sums)
        other = minimize(
            lambda b, point=point: ((b - point) ** 2).sum(), np.ones(6), bounds=[(0, bound)] * 6, method="SLSQP",
            constraints=[LinearConstraint(np.ones((1, 6)), *sums)],
        )  # fmt: skip
        np.testing.assert_allclose(nearest, other.x, atol=1e-4)


def test_a_kernel_is_narrower_where_distances_vary_little():
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(200, 3)), rng.normal(size=(200, 500))
    assert instances.kernel_width(few) == instances.median_distance(few)
    assert instances.kernel_width(many) == pytest.approx(instances.median_distance(many) / 3)
    alone = np.ones((1, 2))
    assert (
        instances.kernel_width(np.ones((5, 2)))
        == instances.kernel_width(alone)
        == instances.median_distance(alone)
        == 1
    )


def test_domains_that_are_alike_keep_equal_weights():
    x = RNG.normal(size=(100, 2))
    weights = methods.kmm(splits(x), unlabelled(x)).train.weights
    np.testing.assert_allclose(weights, 1.0, atol=0.05)


@pytest.mark.parametrize(
    "weigh",
    [
        methods.kmm,
        methods.density_ratio,
        lambda s, t: methods.density_ratio(s, t, kind="ulsif"),
    ],
    ids=["kmm", "classifier", "ulsif"],
)
def test_weights_follow_the_true_ratio_without_any_label_of_the_target(weigh):
    source, target, truth = shifted()
    done = weigh(splits(source), unlabelled(target))
    weights = done.train.weights
    assert weights.mean() == pytest.approx(1, abs=1e-5) and weights.min() >= 0
    assert np.corrcoef(weights, truth)[0, 1] > 0.7  # a linear classifier cannot say the ratio's curvature
    before, after = (abs((w * source[:, 0]).mean() - target[:, 0].mean()) for w in (1.0, weights))
    assert after < 0.35 * before  # the mean of the source has come to that of the target
    assert done.test.ids == ("t2", "t3") and done.val.ids == ("s0", "s1") and done.val.weights is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"width": 0.0}, "width"), ({"bound": -1.0}, "bound"), ({"slack": -0.1}, "slack"),
     ({"bound": 0.5, "slack": 0.1}, "let the mean reach")],
)  # fmt: skip
def test_kmm_refuses(arguments, message):
    source, target, _ = shifted(20)
    with pytest.raises(InputError, match=message):
        methods.kmm(splits(source), unlabelled(target), **arguments)


# -- density ratios


def test_the_classifier_is_sklearns():
    x, y = RNG.normal(size=(80, 3)), (RNG.random(80) < 0.4).astype(int)
    theirs = LogisticRegression(C=1 / (0.1 * len(y)), tol=1e-10, max_iter=1000).fit(x, y).decision_function(x)
    odds = importance.told_apart(x[y == 0], x[y == 1], [0.1]) / (np.sum(y == 0) / np.sum(y == 1))
    np.testing.assert_allclose(np.log(odds), theirs[y == 0], atol=1e-4)


@pytest.mark.parametrize("columns", [3, 90])
def test_weighted_softmax_regression_is_sklearns(columns):
    x, y, weights = RNG.normal(size=(60, columns)), np.arange(60) % 4, RNG.exponential(size=60)
    coefficients = linear.softmax_regression(x, y, weights, 0.5 / weights.sum(), 4)
    theirs = LogisticRegression(C=2, tol=1e-10, max_iter=5000).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(linear.softmax(linear.outputs(x, coefficients)), theirs.predict_proba(x), atol=1e-3)


def test_rounds_in_the_rows_span_and_from_another_start_end_at_one_optimum():
    x, y = RNG.normal(size=(30, 50)), np.arange(30) % 3
    weights = RNG.exponential(size=30)
    alone = linear.softmax_regression(x, y, weights, 0.1, 3)
    begun = linear.softmax_regression(x, y, weights, 0.1, 3, start=RNG.normal(size=(51, 3)))
    first, other = (linear.softmax(linear.outputs(x, coefficients)) for coefficients in (begun, alone))
    np.testing.assert_allclose(first, other, atol=1e-4)
    rows = boosting.Rows(x, np.zeros(50), np.ones(50), y, np.full(30, 1 / 30), 20)
    done = boosting.boosted(rows, tasks.classify(["a", "b", "c"]), 3, ridge=3.0)
    assert [fitted.coefficients.shape for fitted in done] == [(51, 3)] * 3
    again = linear.softmax_regression(x, y, rows.weights, 0.1, 3)
    np.testing.assert_allclose(done[0].coefficients, again, atol=1e-6)


def test_weighted_ridge_regression_is_sklearns():
    x, y, weights = RNG.normal(size=(60, 3)), RNG.normal(size=(60, 2)), RNG.exponential(size=60)
    coefficients = linear.ridge_regression(x, y, weights, 2.0 / weights.sum())
    theirs = Ridge(2.0).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(linear.outputs(x, coefficients), theirs.predict(x), atol=1e-6)


def test_the_ratio_of_two_gaussians_of_one_width_is_found():
    """log p_t / p_s = m x - m^2 / 2 is what a logistic regression can say exactly."""
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(4000, 1)), rng.normal(size=(2000, 1)) + 0.8
    ratios = importance.told_apart(source, target, [1e-6])
    np.testing.assert_allclose(np.log(ratios), 0.8 * source[:, 0] - 0.32, atol=0.25)


def test_the_least_squares_ratio_is_near_the_truth():
    source, target, truth = shifted(800, dimensions=1)
    ratios = importance.least_squares(source, target, importance.RIDGES)
    assert np.sqrt(np.mean((ratios - truth) ** 2)) < 0.25 * truth.std() + 0.1


def test_leaving_one_out_has_a_closed_form():
    below, above = np.exp(-RNG.random((4, 9))), np.exp(-RNG.random((4, 9)))
    values = []
    for i in range(9):
        others = np.arange(9) != i
        fitted = importance.ulsif_coefficients(below[:, others], above[:, others], 0.1)
        values.append((fitted @ below[:, i]) ** 2 / 2 - fitted @ above[:, i])
    assert importance.left_out_score(below, above, 0.1) == pytest.approx(np.mean(values), rel=1e-6)


def test_clipped_weights_keep_their_mean():
    weights = RNG.exponential(size=200) ** 3
    clipped = importance.clipped(weights, 4.0)
    assert clipped.max() <= 4.0 and clipped.mean() == pytest.approx(1)
    small = clipped < 4.0
    assert np.ptp(clipped[small] / weights[small]) < 1e-9  # those below are scaled alike
    np.testing.assert_array_equal(importance.clipped(weights, None), weights)
    assert importance.clipped(np.ones(3), 1.0).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"), [({"kind": "guess"}, "kind"), ({"clip": 0.5}, "clip"), ({"ridge": 0.0}, "ridge")]
)
def test_density_ratio_refuses(arguments, message):
    source, target, _ = shifted(20)
    with pytest.raises(InputError, match=message):
        methods.density_ratio(splits(source), unlabelled(target), **arguments)


# -- balance


def test_balance_gives_each_class_its_say():
    y = np.array([0] * 9 + [1] * 3, np.int32)
    data = splits(RNG.normal(size=(12, 2)), y)
    weights = methods.balance(data).train.weights
    np.testing.assert_allclose(weights, 12 / (2 * np.array([9] * 9 + [3] * 3)), rtol=1e-6)
    assert methods.balance(data, beta=0.0).train.weights.tolist() == [1.0] * 12


def test_balance_by_effective_numbers():
    balanced = class_weights(np.array([100, 10, 0]), beta=0.9)
    expected = [0.1 / (1 - 0.9**100), 0.1 / (1 - 0.9**10), 0.0]
    np.testing.assert_allclose(balanced, expected)


def test_balance_refuses():
    data = splits(RNG.normal(size=(12, 2)))
    with pytest.raises(InputError, match="beta"):
        methods.balance(data, beta=1.5)
    several = dataclasses.replace(data, train=examples(np.zeros((4, 2)), np.zeros((4, 2), np.float32)))
    with pytest.raises(InputError, match="one class number each"):
        methods.balance(several)


# -- TrAdaBoost


def test_one_round_by_hand():
    """Two of the source, two of the target; the first of each is wrong by 1 and by 0.4, all weigh 1/4, N = 8."""
    errors = np.array([1.0, 0.0, 0.4, 0.0])
    weights, error = boosting.reweighted(np.full(4, 0.25), errors, 2, 8)
    beta = 1 / (1 + np.sqrt(2 * np.log(2) / 8))  # 0.70609
    beta_t = 0.2 / 0.8
    expected = np.array([beta, 1.0, beta_t**-0.4, 1.0])
    assert error == pytest.approx(0.2)
    np.testing.assert_allclose(weights, expected / expected.sum())


def test_errors_lie_between_0_and_1():
    shares = np.array([[0.9, 0.1], [0.3, 0.7]])
    np.testing.assert_allclose(boosting.label_errors(np.array([0, 0]), shares), [0.1, 0.7])
    values = np.array([[1.0, 0.0], [0.0, 4.0], [3.0, 0.0]])
    np.testing.assert_allclose(boosting.value_errors(np.zeros((3, 2)), values), [1 / 6, 0.5, 0.5])
    np.testing.assert_allclose(boosting.value_errors(np.zeros(3, np.float32), values[:, :1]), [1 / 3, 0, 1])
    assert boosting.target_rate(0.7) < 1 and boosting.target_rate(0.0) > 0


def test_votes_are_a_weighted_mean_and_a_weighted_median():
    logits = [np.log(np.array([[0.8, 0.2]], np.float32)), np.log(np.array([[0.1, 0.9]], np.float32))]
    voted = np.asarray(boosting.mean_vote(logits, [0.25, 0.75]))
    np.testing.assert_allclose(np.exp(voted), [[0.275, 0.725]], atol=1e-5)
    values = [np.array([[v, -v]], np.float32) for v in (1.0, 2.0, 7.0)]
    np.testing.assert_allclose(boosting.median_vote(values, [0.2, 0.2, 0.6]), [[7, -7]])
    np.testing.assert_allclose(boosting.median_vote(values, [0.3, 0.4, 0.3]), [[2, -2]])
    np.testing.assert_allclose(boosting.median_vote(values[:2], [0.5, 0.5]), [[1, -2]])


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        (tasks.classify(LABELS, multi_label=True), {}, "one label an example"),
        (tasks.tag(["x", "y"]), {}, "one label an example"),
        (tasks.classify(LABELS), {"rounds": 1}, "rounds"),
        (tasks.classify(LABELS), {"ridge": 0.0}, "ridge"),
        (tasks.classify(LABELS, hidden=[4]), {"ridge": 2.0}, "linear heads"),
    ],
)
def test_tradaboost_refuses(task, arguments, message):
    data = splits(RNG.normal(size=(12, 2)))
    if task.name == "classify" and not arguments:
        data = dataclasses.replace(data, train=examples(np.zeros((4, 2)), np.zeros((4, 2), np.float32)))
    with pytest.raises(InputError, match=message):
        methods.tradaboost(data, data, task, **arguments)


def test_rows_of_other_shapes_are_refused_also_where_they_have_as_many_numbers():
    rows = [np.zeros((2, 3)), np.zeros((3, 2))]
    with pytest.raises(InputError, match="arrays of numbers of one shape"):
        instances._flat(_Rows(rows))


class _Rows(list):
    @property
    def inputs(self):
        return self
