"""Penalties of domain adaptation against closed forms and references."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tlkit import methods, tasks
from tlkit.core.columns import ArrayColumn, ReadColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.methods import mixing
from tlkit.methods.class_confusion import confusion
from tlkit.methods.conditional_adversarial import multilinear
from tlkit.methods.correlation import coral_distance, covariance
from tlkit.methods.mean_discrepancy import discrepancy

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(30, 5)).astype("float32"), (RNG.normal(size=(20, 5)) * 2 + 1).astype("float32")


def value(x) -> np.ndarray:
    return np.asarray(x)


def test_covariance_is_numpys():
    np.testing.assert_allclose(value(covariance(A)), np.cov(A, rowvar=False), atol=1e-5)


def test_coral_is_the_distance_of_covariances():
    expected = ((np.cov(A, rowvar=False) - np.cov(B, rowvar=False)) ** 2).sum() / (4 * 5**2)
    assert value(coral_distance(A, B)) == pytest.approx(expected, rel=1e-4)
    assert value(coral_distance(A, A + 7)) == pytest.approx(0, abs=1e-6)  # a shift of the mean is not its business
    assert value(coral_distance(A, B[:1])) == 0 and value(coral_distance(A[:0], B)) == 0


def test_mmd_is_that_of_its_definition():
    both = np.concatenate([A, B]).astype("float64")
    width = cdist(both, both, "sqeuclidean").mean()

    def kernel(x, y):
        return np.mean([np.exp(-cdist(x, y, "sqeuclidean") / (s * width)) for s in (0.5, 2.0)], axis=0)

    expected = kernel(A, A).mean() + kernel(B, B).mean() - 2 * kernel(A, B).mean()
    assert value(discrepancy(A, B, (0.5, 2.0))) == pytest.approx(expected, rel=1e-4)
    assert value(discrepancy(A, A)) == pytest.approx(0, abs=1e-6)
    assert value(discrepancy(A, B[:0])) == 0


def test_mmd_moves_features_together():
    import tensorflow as tf

    x = tf.Variable(B)
    for _ in range(60):
        with tf.GradientTape() as tape:
            loss = discrepancy(tf.constant(A), x)
        x.assign_sub(30.0 * tape.gradient(loss, x))
    assert np.abs(x.numpy().mean(0) - A.mean(0)).max() < 0.5 * np.abs(B.mean(0) - A.mean(0)).max()


def test_confusion_of_sure_and_of_undecided_predictions():
    sure = 50.0 * np.eye(4, dtype="float32")[[0, 1, 2, 3, 0, 1]]
    assert value(confusion(sure)) == pytest.approx(0, abs=1e-5)
    assert value(confusion(np.zeros((6, 4), "float32"))) == pytest.approx(3 / 4, abs=1e-5)
    assert value(confusion(sure[:0])) == 0


def test_confusion_is_the_papers_formula():
    logits = RNG.normal(size=(9, 3)).astype("float32")
    shares = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(1, keepdims=True)
    certainty = 1 + np.exp((shares * np.log(shares)).sum(1))
    w = 9 * certainty / certainty.sum()
    c = np.einsum("n,ni,nj->ij", w, shares, shares)
    c /= c.sum(1, keepdims=True)
    assert value(confusion(logits)) == pytest.approx((c.sum() - np.trace(c)) / 3, rel=1e-4)


def test_the_multilinear_map():
    product = value(multilinear(A, B[:, :2][:1].repeat(30, 0)))
    expected = np.einsum("nd,k->nkd", A, B[0, :2]).reshape(30, -1)
    np.testing.assert_allclose(product, expected, rtol=1e-5)


def test_reversed_gradients_rise():
    import tensorflow as tf

    from tlkit.methods.parts.losses import GradientReversal, rise

    layer = GradientReversal(weight=2.0, gamma=10.0)
    x = tf.Variable([1.0, 2.0])
    for progress in (0.0, 0.1, 1.0):
        layer.progress.assign(progress)
        with tf.GradientTape() as tape:
            y = layer(x)
            loss = tf.reduce_sum(3.0 * y)
        np.testing.assert_allclose(y, x)
        expected = -2.0 * 3.0 * (2 / (1 + np.exp(-10 * progress)) - 1)
        np.testing.assert_allclose(tape.gradient(loss, x), [expected] * 2, rtol=1e-5, atol=1e-6)
        assert rise(progress, 10.0) == pytest.approx(2 / (1 + np.exp(-10 * progress)) - 1)


@pytest.mark.parametrize("weight", [1.0, 0.1, 7.0])
def test_weights_of_examples_leave_the_penalty_alone(weight):
    """Neither class weights nor those of kmm decide how much a method counts."""
    task = methods.mcc(methods.coral(tasks.classify(["a", "b", "c"], hidden=()), weight=3.0), weight=2.0)
    assert task.objective.loss().base.base.key == "outputs"
    targets = np.array([[0, 0], [1, 0], [0, 1], [0, 1]], np.int32)
    logits = RNG.normal(size=(4, 3)).astype("float32")
    raw = {"outputs": logits, **dict.fromkeys(_further(task), A[:4])}
    cross_entropy = -np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[[0, 1], [0, 1]].mean()
    penalties = 3.0 * value(coral_distance(A[:2], A[2:4])) + 2.0 * value(confusion(logits[2:]))
    loss = task.objective.loss()(targets, raw, np.full(4, weight, np.float32))
    assert float(loss) == pytest.approx(weight * cross_entropy + penalties, rel=1e-4)


def _further(task) -> set[str]:
    import keras

    return set(task.head(keras.Input((5,)))) - {"outputs"}


# -- mixing


def part(targets, prefix="", **fields) -> Examples:
    targets = np.asarray(targets)
    names = tuple(f"{prefix}{i}" for i in range(len(targets)))

    def read(i: int) -> np.ndarray:
        return np.full(3, float(i), np.float32)

    return Examples(names, ReadColumn(read, ArraySpec((3,), "float32"), names), ArrayColumn(targets), **fields)


def splits(count: int, kind=np.int32, prefix="", **fields) -> Splits:
    return Splits(
        *(
            part(np.arange(n).astype(kind) % 2, f"{prefix}{k}", **fields)
            for k, n in zip("tvx", (count, 4, 6), strict=True)
        ),
        ("a", "b"),
    )


def test_a_mix_keeps_no_passages():
    source = splits(4)
    asked = dataclasses.replace(
        source, train=dataclasses.replace(source.train, columns={"passage": TextColumn(["a"] * 4)})
    )
    assert methods.domain_mix(asked, source).train.columns == {}


def test_a_mix_shows_both_domains_alike_and_no_label_of_the_target():
    mixed = methods.domain_mix(splits(10), splits(4, prefix="other"))
    assert mixed.train.target_array.shape == (20, 2) and mixed.train.target_array[:, 1].sum() == 10
    assert not mixed.train.target_array[mixed.train.target_array[:, 1] == 1, 0].any()
    assert {mixed.train.ids.count(f"target/othert{i}") for i in range(4)} == {2, 3}
    assert np.abs(np.diff(np.flatnonzero(mixed.train.target_array[:, 1]))).max() <= 2  # by turns
    assert len(mixed.val) == 8 and mixed.test.target_array.tolist() == [0, 1, 0, 1, 0, 1]
    at = mixed.train.ids.index("target/othert3")
    assert mixed.train.inputs[at][0] == 3.0


def test_a_mix_does_not_depend_on_the_targets_labels():
    def flipped(half):
        return dataclasses.replace(half, targets=ArrayColumn(1 - half.target_array))

    poisoned = splits(4, prefix="other")
    poisoned = dataclasses.replace(poisoned, train=flipped(poisoned.train), val=flipped(poisoned.val))
    mixes = [methods.domain_mix(splits(10), other) for other in (splits(4, prefix="other"), poisoned)]
    assert mixes[0].train.fingerprint == mixes[1].train.fingerprint
    assert mixes[0].val.fingerprint == mixes[1].val.fingerprint


def test_what_was_mixed_comes_apart_again():
    source = splits(10)
    unmixed = mixing.source_only(methods.domain_mix(source, splits(30, prefix="other")))
    assert [name.removeprefix("source/") for name in unmixed.train.ids] == list(source.train.ids)
    assert unmixed.train.target_array.tolist() == source.train.target_array.tolist()


def test_mixed_values_and_weights():
    source = Splits(*(part(np.linspace(0, 1, 6, dtype=np.float32)[:, None]) for _ in range(3)))
    other = Splits(
        part(np.zeros((6, 1), np.float32), "o", weights=np.full(6, 2.0, np.float32)), source.val, source.test
    )
    mixed = methods.domain_mix(source, other)
    assert mixed.train.target_array.dtype == np.float32 and mixed.train.target_array.shape == (12, 2)
    assert sorted(set(mixed.train.weights.tolist())) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Splits(part([]), part([0]), part([0])), "The target has no training examples"),
        (Splits(part([0, 1]), part([0]), part([0]), ("b", "a")), "must have the same labels in the same order"),
    ],
)
def test_domains_that_do_not_fit_are_refused(other, message):
    with pytest.raises(InputError, match=message):
        methods.domain_mix(splits(4), other)


# -- tasks


@pytest.mark.parametrize("name", ["dann", "cdan", "coral", "mmd", "mcc"])
def test_a_method_refuses_what_it_cannot_use(name):
    method = getattr(methods, name)
    with pytest.raises(InputError, match=r"`weight` must be positive\. Received: weight=0"):
        method(tasks.classify(["a", "b"]), weight=0)
    with pytest.raises(InputError, match=r"needs a task with labels on one vector|needs a `classify` of one label"):
        method(tasks.tag(["O", "B-x"]))
    with pytest.raises(InputError, match=r"mix two with tlkit\.methods.domain_mix"):
        method(tasks.classify(["a", "b"])).objective.check(splits(10))


@pytest.mark.parametrize("name", ["dann", "cdan", "coral", "mmd", "mcc"])
def test_a_method_is_made_again_from_its_recipe(name):
    method = getattr(methods, name)(tasks.classify(["a", "b"], hidden=(8,)))
    again = tasks.restore(method.made_by)
    assert again.made_by == method.made_by and again.remains.task.made_by == method.remains.task.made_by
