"""Model-based methods: plans, averages, distillation's loss, alignment in closed form, label-free scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tlkit import methods, plans, tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.methods import importance
from tlkit.methods.alignment import coral_aligned, subspace_map
from tlkit.methods.parts import instances, selection
from tlkit.methods.souping import mean

RNG = np.random.default_rng(0)


# -- plans


def test_the_head_converges_before_the_module_moves():
    head, tuned = methods.linear_then_tune(epochs=(50, 4), lr=(1e-2, 1e-4), patience=7, unfrozen=0.5)
    assert (head.unfrozen, head.patience, head.epochs) == (0.0, 7, 50)
    assert (tuned.unfrozen, tuned.lr, tuned.cosine) == (0.5, 1e-4, True)
    for wrong, message in (
        ({"epochs": (0, 4)}, "`epochs` holds two numbers of 1 or more"),
        ({"lr": (1e-3,)}, "`lr` holds two rates"),
        ({"unfrozen": 0.0}, r"`unfrozen` must lie in \(0, 1\]"),
        ({"patience": 0}, "`patience` of a Phase must be positive or None"),
    ):
        with pytest.raises(InputError, match=message):
            methods.linear_then_tune(**wrong)


def test_only_phases_that_tune_the_module_hold_it():
    assert [p.l2_sp for p in methods.l2_sp(plans.two_phase(), strength=0.5)] == [0.0, 0.5]
    with pytest.raises(InputError, match="`strength` must be positive"):
        methods.l2_sp(plans.two_phase(), strength=0)


# -- soups


def test_a_mean_of_weights_keeps_types_and_states():
    means = mean([[np.array([1.0], np.float32), np.array([3, 4])], [np.array([2.0], np.float32), np.array([9, 9])]])
    assert means[0].tolist() == [1.5] and means[0].dtype == np.float32 and means[1].tolist() == [3, 4]


def test_a_soup_needs_two():
    with pytest.raises(InputError, match="A soup needs two runs or more"):
        methods.soup([])


# -- distillation


def test_the_softened_loss_is_hintons():
    from tlkit.methods.parts.losses import Taught, softened

    t, s = (RNG.normal(size=(5, 3)).astype("float32") for _ in range(2))

    def shares(logits, temperature):
        e = np.exp(logits / temperature)
        return e / e.sum(1, keepdims=True)

    expected = -9.0 * (shares(t, 3.0) * np.log(shares(s, 3.0))).sum(1)
    np.testing.assert_allclose(softened(t, s, 3.0), expected, rtol=1e-5)
    base = tasks.classify(["a", "b", "c"]).objective.loss()
    labels = np.array([0, 1, 2, 0, 1], np.float32)
    hard = -np.log(shares(s, 1.0))[np.arange(5), labels.astype(int)]
    loss = Taught(base, 3.0, 0.25)(np.concatenate([labels[:, None], t], 1), s)
    assert float(loss) == pytest.approx((0.75 * hard + 0.25 * expected).mean(), rel=1e-5)


def part(targets) -> Examples:
    names = tuple(str(i) for i in range(len(targets)))
    return Examples(
        names,
        ReadColumn(lambda i: np.zeros(2, np.float32), ArraySpec((2,), "float32"), names),
        ArrayColumn(np.asarray(targets)),
    )


def test_distillation_says_what_it_needs():
    task = methods.distill(tasks.classify(["a", "b"]))
    plain = Splits(*(part(np.array([0, 1], np.int32)) for _ in range(3)), ("a", "b"))
    with pytest.raises(InputError, match="hold no teacher's answers"):
        task.objective.check(plain)
    answered = part(np.array([[0, 0.5, 0.1], [1, 0.2, 0.3]], np.float32))
    task.objective.check(dataclasses.replace(plain, train=answered, val=answered))
    assert task.remains.data(dataclasses.replace(plain, train=answered)).train.target_array.tolist() == [0, 1]
    for wrong, message in (({"temperature": 0}, "`temperature` must be positive"), ({"weight": 0}, r"lie in \(0, 1\]")):
        with pytest.raises(InputError, match=message):
            methods.distill(tasks.classify(["a", "b"]), **wrong)
    with pytest.raises(InputError, match="`distill` needs a `classify` of one label"):
        methods.distill(tasks.classify(["a", "b"], multi_label=True))
    again = tasks.restore(task.made_by)
    assert again.made_by == task.made_by


def test_distillation_comes_before_other_methods():
    task = tasks.classify(["a", "b"])
    with pytest.raises(InputError, match=r"`distill` comes first: coral\(distill\(task\)\) instead of"):
        methods.distill(methods.coral(task))
    plain = Splits(*(part(np.array([0, 1], np.int32)) for _ in range(3)), ("a", "b"))
    with pytest.raises(InputError, match=r"`taught` takes class numbers .*\(taught\(source, teacher\), target\)"):
        methods.taught(methods.domain_mix(plain, plain), None)
    both = methods.multitask(one=methods.distill(task), two=task)
    with pytest.raises(InputError, match="of several heads give it the one that has two domains"):
        methods.dann(both)
    outer = methods.cdan(methods.dann(methods.distill(task)))
    assert outer.remains.task.remains.task.made_by == task.made_by


# -- closed forms


def test_coral_gives_the_source_the_targets_moments():
    source = RNG.normal(size=(4000, 3)) @ np.array([[2.0, 0, 0], [1, 0.5, 0], [0, 1, 3]]) + 5
    target = RNG.normal(size=(4000, 3)) @ np.array([[0.3, 0, 1], [0, 2, 0], [0, 0, 1]]) - 2
    aligned = coral_aligned(source, target, ridge=1e-6)
    np.testing.assert_allclose(aligned.mean(0), target.mean(0), atol=1e-6)
    np.testing.assert_allclose(np.cov(aligned, rowvar=False), np.cov(target, rowvar=False), rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match=r"Features must be \(n, d\)"):
        coral_aligned(source, target[:, :2])
    with pytest.raises(InputError, match="`ridge` must be positive"):
        coral_aligned(source, target, ridge=0)


def test_subspaces_of_a_turned_domain_lie_on_each_other():
    spread = np.diag([5.0, 2.0, 0.1])
    source = RNG.normal(size=(3000, 3)) @ spread
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    target = source @ turn
    maps = subspace_map(source, target, 2)
    np.testing.assert_allclose(maps[1].T @ maps[1], np.eye(2), atol=1e-10)
    axes = np.linalg.svd(source - source.mean(0), full_matrices=False)[2][:2].T
    np.testing.assert_allclose(maps[0], axes @ axes.T @ maps[1], atol=1e-8)  # eq. 3
    with pytest.raises(InputError, match=r"`dimensions` must lie in \[1, 3\]"):
        subspace_map(source, target, 4)


# -- which model is the best, without labels


def test_entropy_prefers_the_sure():
    assert selection.entropy(np.eye(3)) == pytest.approx(0, abs=1e-9)
    assert selection.entropy(np.full((4, 3), 1 / 3)) == pytest.approx(-np.log(3))


def test_density_prefers_clusters():
    clustered = np.repeat(np.eye(4), 25, axis=0)
    scattered = RNG.dirichlet(np.ones(4), 100)
    dense, loose = map(selection.soft_neighbourhood_density, (clustered, scattered))
    assert dense == pytest.approx(np.log(24), abs=1e-3) and dense > loose
    with pytest.raises(InputError, match="two examples or more"):
        selection.soft_neighbourhood_density(np.eye(1))


def test_scores_without_labels_are_shares():
    sure, undecided = (
        selection.label_free(np.repeat(np.eye(4), 25, axis=0)),
        selection.label_free(np.full((50, 4), 0.25)),
    )
    assert sure["certainty"] == pytest.approx(1) and undecided["certainty"] == pytest.approx(0)
    assert 0.6 < sure["neighbourhood_density"] < undecided["neighbourhood_density"] == pytest.approx(1)


@pytest.mark.parametrize(("count", "names"), [(0, set()), (1, {"certainty"}), (2, {"certainty"})])
def test_scores_of_too_few_examples_are_left_out(count, names):
    scores = selection.label_free(np.full((count, 4), 0.25))
    assert set(scores) == names and all(value == pytest.approx(0) for value in scores.values())


def test_accuracy_on_the_target_is_foretold_by_the_source():
    """Right where x > 0: half of the source N(0, 1), and 84 % of the target N(1, 1)."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(0, 1, (3000, 1)), rng.normal(1, 1, (2000, 1))
    estimates = selection.estimated(source[:, 0] > 0, source, target)
    assert set(estimates) == {"importance_weighted_accuracy", "deep_embedded_accuracy"}
    for value in estimates.values():
        assert value == pytest.approx(0.841, abs=0.04)


def test_the_control_variate_of_dev_is_not_normalised_away():
    """DEV corrects by how far the mean of the density ratios is from 1, so they are as they were found."""
    rng = np.random.default_rng(1)
    source, target = rng.normal(0, 1, (300, 5)), rng.normal(0.4, 1, (200, 5))
    right = source[:, 0] + rng.normal(0, 1, 300) > 0
    estimates = selection.estimated(right, source, target)
    ratios = importance.told_apart(*instances.standardized(source, target, one_unit=True), importance.RIDGES)
    assert abs(ratios.mean() - 1) > 0.02 and ratios.max() < 20
    wrong = 1.0 - right
    control = np.cov(ratios * wrong, ratios)[0, 1] / ratios.var(ddof=1)
    expected = 1 - (ratios * wrong).mean() + control * (ratios.mean() - 1)
    assert estimates["deep_embedded_accuracy"] == pytest.approx(expected)
    assert estimates["importance_weighted_accuracy"] == pytest.approx(1 - (ratios * wrong).sum() / ratios.sum())
    assert abs(estimates["deep_embedded_accuracy"] - estimates["importance_weighted_accuracy"]) > 1e-4


def test_weighted_risks_are_unbiased_and_dev_varies_less():
    """The source is N(0, 1), the target N(0.5, 1), the loss (x - 0.5)^2, whose mean on the target is 1."""
    plain, controlled = [], []
    for seed in range(200):
        x = np.random.default_rng(seed).normal(0, 1, 300)
        losses, weights = (x - 0.5) ** 2, np.exp(0.5 * x - 0.125)
        plain.append(-selection.importance_weighted(losses, weights))
        controlled.append(-selection.deep_embedded(losses, weights))
    assert np.mean(plain) == pytest.approx(1, abs=0.03) and np.mean(controlled) == pytest.approx(1, abs=0.03)
    assert np.std(controlled) < np.std(plain)
    assert selection.deep_embedded(np.array([1.0, 3.0]), np.ones(2)) == -2.0


# -- several heads


def test_uncertainty_is_the_paper_s_up_to_a_constant():
    """Kendall et al. 2018, eq. 7 and 10, with s = log sigma^2 of classes and s = log 2 sigma^2 of squared errors."""
    import keras
    import tensorflow as tf

    from tlkit.methods.parts.losses import OfHeads

    logits, values = RNG.normal(size=(5, 3)).astype(np.float32), RNG.normal(size=(5, 1)).astype(np.float32)
    classes, truth = np.array([0, 2, 1, 1, 0], np.int32), RNG.normal(size=(5, 1)).astype(np.float32)
    labelled = {"kind": np.array([1, 1, 1, 0, 0], bool), "size": np.array([0, 1, 1, 1, 1], bool)}
    cross = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = OfHeads({"kind": cross, "size": keras.losses.MeanSquaredError()}, (1.0, 1.0), "s")
    targets = {
        "kind": {"target": classes, "known": labelled["kind"]},
        "size": {"target": truth, "known": labelled["size"]},
    }
    targets = tf.nest.map_structure(tf.constant, targets)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    of_kind = -np.log(shares[np.arange(5), classes])[labelled["kind"]].mean()
    of_size = ((values - truth) ** 2)[labelled["size"]].mean()

    def found(sigmas):
        s = np.log([sigmas[0] ** 2, 2 * sigmas[1] ** 2])
        outputs = {"kind": logits, "size": values, "s": np.tile(s, (5, 1)).astype(np.float32)}
        return float(loss(targets, tf.nest.map_structure(tf.constant, outputs)))

    def of_paper(sigmas):
        weighed = of_kind / sigmas[0] ** 2 + of_size / (2 * sigmas[1] ** 2)
        return weighed + np.log(sigmas[0]) + np.log(sigmas[1])

    for sigmas in ((1.0, 1.0), (0.5, 2.0), (3.0, 0.7)):
        assert found(sigmas) == pytest.approx(of_paper(sigmas) + np.log(2) / 2, rel=1e-5)
    best = (np.sqrt(2 * of_kind), np.sqrt(of_size))  # where a head weighs 1 / (2 L)
    assert all(found(best) < found((best[0] * a, best[1] * b)) for a, b in ((0.9, 1), (1.1, 1), (1, 0.9), (1, 1.1)))
