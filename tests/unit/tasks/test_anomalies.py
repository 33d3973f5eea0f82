"""Detectors of anomalies against closed forms, and each sentence that refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tlkit import data, tasks
from tlkit.core.columns import ArrayColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.task import Evaluation, HeadOutputs
from tlkit.data import faults
from tlkit.tasks import anomaly_scorers as scorers
from tlkit.tasks import anomaly_scores as scores
from tlkit.tasks.metrics import roc_auc

SIDE, PLACES, WIDTH = 16, 4, 6


def examples(masks, kinds=None):
    ids = tuple(map(str, range(len(masks))))
    columns = {} if kinds is None else {"kind": TextColumn(kinds)}
    inputs = np.zeros((len(masks), 2), np.float32)
    return Examples(ids, ArrayColumn(inputs), ArrayColumn(np.asarray(masks, np.uint8)), columns=columns)


def outputs(maps, masks=None):
    """As the head gives them, in two batches."""
    masks = np.zeros((len(maps), SIDE, SIDE)) if masks is None else masks
    halves = np.array_split(np.arange(len(maps)), 2)
    return HeadOutputs(examples(masks), lambda: iter([(half, {"4": maps[half]}) for half in halves]))


def mapped(scorer, maps):
    import keras

    inputs = {"4": keras.Input(maps.shape[1:], name="4")}
    return np.asarray(keras.Model(inputs, scorer(inputs))({"4": maps}))[..., 0]


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(WIDTH, WIDTH))
    return (rng.normal(size=(2, 40, PLACES, PLACES, WIDTH)) @ mixing).astype(np.float32)


@pytest.mark.parametrize("shared", [False, True])
def test_padim_is_the_distance_of_mahalanobis(features, shared):
    train, new = features
    distances = mapped(scorers.fit_gaussian(outputs(train), (4,), WIDTH, shared), new)
    rows = train.reshape(1, -1, WIDTH) if shared else train.reshape(40, -1, WIDTH).transpose(1, 0, 2)
    covariances = np.stack([np.cov(place.T) for place in rows])
    shrunk = covariances + 0.01 * np.trace(covariances, axis1=1, axis2=2).mean() / WIDTH * np.eye(WIDTH)
    apart = new.reshape(40, -1, WIDTH) - rows.mean(axis=1)
    inverse = np.broadcast_to(np.linalg.inv(shrunk), (PLACES**2, WIDTH, WIDTH))
    expected = np.sqrt(np.einsum("npd,pde,npe->np", apart, inverse, apart))
    np.testing.assert_allclose(distances.reshape(40, -1), expected, rtol=2e-4)


def test_padim_keeps_as_many_directions_as_are_asked(features):
    scorer = scorers.fit_gaussian(outputs(features[0]), (4,), 2, False)
    _, directions, _, whitening = scorer.args
    assert directions.shape == (WIDTH, 2) and whitening.shape == (PLACES**2, 2, 2)
    np.testing.assert_allclose(directions.T @ directions, np.eye(2), atol=1e-6)


@pytest.mark.parametrize("neighbors", [1, 3])
def test_patchcore_is_the_mean_distance_to_the_nearest_rows_of_its_bank(features, neighbors):
    train, new = features
    scorer = scorers.fit_memory_bank(outputs(train), (4,), 0.05, neighbors)
    _, mean, half, bank, _ = scorer.args
    assert len(bank) == round(0.05 * 40 * PLACES**2)
    white = (new.reshape(-1, WIDTH) - mean) @ half
    every = np.linalg.norm(white[:, None] - bank[None], axis=-1)
    expected = np.sort(every, axis=1)[:, :neighbors].mean(axis=1)
    np.testing.assert_allclose(mapped(scorer, new).reshape(-1), expected, rtol=2e-3, atol=2e-3)


def test_a_bank_of_all_rows_knows_its_own_images(features):
    train, new = features
    scorer = scorers.fit_memory_bank(outputs(train), (4,), 1.0, 1)
    assert mapped(scorer, train).max() < 1e-2 < mapped(scorer, new).min()


def test_images_that_are_all_the_same_are_refused():
    with pytest.raises(InputError, match="nothing says how much good images differ"):
        scorers.fit_gaussian(outputs(np.ones((4, PLACES, PLACES, WIDTH), np.float32)), (4,), WIDTH, True)


def test_a_coreset_covers_what_a_random_draw_leaves_out():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(500, 3)), rng.normal(size=(3, 3)) + 40]).astype(np.float32)
    assert set(range(500, 503)) & set(scorers.coreset(rows, 4).tolist())
    assert len(set(scorers.coreset(rows, 200).tolist())) == 200


def test_a_heat_map_keeps_a_constant_and_spreads_a_point():
    import keras

    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, scorers.heat_map(inputs, (16, 16), 2.0))
    np.testing.assert_allclose(model(np.full((1, 4, 4, 1), 3.0, np.float32)), 3.0, rtol=1e-5)
    point = np.zeros((1, 4, 4, 1), np.float32)
    point[0, 1, 2] = 1
    heat = np.asarray(model(point))[0, ..., 0]
    assert np.unravel_index(heat.argmax(), heat.shape) in [(5, 9), (5, 10), (6, 9), (6, 10)] and heat.max() < 1


# -- scores


def test_areas_are_those_of_sorted_values():
    rng = np.random.default_rng(0)
    values = [rng.gamma(3, size=4000), rng.gamma(4, size=300)]
    area = scores.area(*(scores._counts(scores._bins(part)) for part in values))
    expected = roc_auc(np.repeat([0, 1], [4000, 300]), np.concatenate(values))
    assert area == pytest.approx(expected, abs=2e-3)


def test_components_are_those_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy is not installed")
    rng = np.random.default_rng(0)
    for share in (0.2, 0.4, 0.6, 1.0):
        marked = rng.random((30, 40)) < share
        expected, count = ndimage.label(marked, np.ones((3, 3)))
        labels = scores.components(marked)
        assert (
            labels.max() == count
            and len(set(zip(labels.ravel(), expected.ravel(), strict=True))) == count + (~marked).any()
        )


def test_the_overlap_of_regions_counts_small_ones_as_much_as_large_ones():
    normal = np.array([90, 10, 0])
    both = np.array([2, 1.0, 0.0, 1.0])  # one region is in the lowest bin, one in the highest
    assert scores.region_overlap(normal, both) == pytest.approx(0.5 + 0.5 * (0.2 * 0.2 / 0.9 / 2) / 0.3)


def test_the_threshold_is_the_conformal_one():
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(400):
        good = rng.exponential(size=20)
        alarms.append(rng.exponential(size=50) > scores.threshold_of(good[:19], 0.1))
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.02)


def test_a_scorer_tells_kinds_apart_and_what_the_threshold_does():
    masks = np.zeros((6, 8, 8), np.uint8)
    masks[3:5, 2:4, 2:4] = 1
    masks[5] = 255
    maps = np.full((6, 8, 8), 0.1, np.float32)
    maps[3:5, 2:4, 2:4], maps[2, 0, 0], maps[5, 7, 7] = 2.0, 1.5, 0.5
    scorer = scores.AnomalyScorer(0.1, 3.0, None)
    bad = examples(masks, ["good"] * 3 + ["dent", "dent", "odd"])
    scorer.update(bad, {"anomaly_map": maps, "pred_score": maps.max(axis=(1, 2))})
    evaluation = scorer.result()
    rows = {row["kind"]: row for row in evaluation.details["faults"]["rows"]}
    assert rows["dent"]["image_auroc"] == 1 and rows["odd"]["image_auroc"] == pytest.approx(2 / 3)
    assert evaluation.scores["image_auroc"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert evaluation.scores["pixel_auroc"] > 0.99 and evaluation.scores["pro"] > 0.99
    assert evaluation.scores["false_alarms"] == pytest.approx(1 / 3) and evaluation.scores["recall"] == pytest.approx(
        2 / 3
    )
    assert evaluation.scores["f1"] == pytest.approx(2 / 3) and evaluation.scores["threshold"] == 3.0
    assert [image["id"] for image in evaluation.details["anomalies"]["images"]] == ["5", "3", "4", "2", "0", "1"]


def test_good_images_alone_have_false_alarms_and_no_curves():
    scorer = scores.AnomalyScorer(0.1, 1.0, None)
    maps = np.linspace(0.5, 1.4, 10, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)
    scorer.update(examples(np.zeros((10, 4, 4))), {"anomaly_map": maps, "pred_score": maps[:, 0, 0]})
    evaluation = scorer.result()
    assert evaluation.scores["false_alarms"] == pytest.approx(0.4) and "image_auroc" not in evaluation.scores
    assert evaluation.details["headline"]["name"] == "false_alarms"


# -- synthetic faults


@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_synthetic_fault_changes_what_its_mask_says_and_is_drawn_from_the_seed(kind):
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    spoilt = faults.spoilt(image, kind, 1)
    assert (faults.spoilt(image, kind, 1).image == spoilt.image).all()
    assert (faults.spoilt(image, kind, 2).image != spoilt.image).any()
    changed = (spoilt.image != image).any(axis=-1)
    assert 0 < spoilt.mask.mean() < 0.1 and changed[spoilt.mask].mean() > 0.9
    assert kind == "stain" or not changed[~spoilt.mask].any()


# -- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tasks.padim(()), "`strides` must be different, each 1 or more"),
        (lambda: tasks.padim((8, 8)), "`strides` must be different"),
        (lambda: tasks.padim(n_features=0), "`n_features` of `padim` must be 1 or more"),
        (lambda: tasks.padim(false_alarm_rate=1.0), "`false_alarm_rate` of `padim` must lie in"),
        (lambda: tasks.padim(threshold=0.0), "`threshold` of `padim` must be positive or None"),
        (lambda: tasks.patchcore(coreset_sampling_ratio=0.0), "`coreset_sampling_ratio` of `patchcore` must lie in"),
        (lambda: tasks.patchcore(num_neighbors=0), "`num_neighbors` of `patchcore` must be 1 or more"),
        (lambda: tasks.anomalies(false_alarm_rate=0.0), "`false_alarm_rate` of `anomalies` must lie in"),
        (lambda: tasks.padim().objective.loss(), "`padim` is solved in closed form and has no loss to train by"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def splits(train=0, val=0, fault=1):
    masks = [np.full((4, 8, 8), value, np.uint8) for value in (train, val, 0)]
    masks[1][2:] = fault
    return Splits(*map(examples, masks))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda before: dataclasses.replace(before, train=before.train.subset([])), "The training split is empty"),
        (lambda before: splits(train=1), "The training image '0' is marked as bad"),
        (lambda before: splits(val=255), "chooses a detector by good validation images and .synthetic. faults on them"),
        (lambda before: splits(fault=0), "name the detector, `padim\\(\\)` or `patchcore\\(\\)`"),
        (
            lambda before: dataclasses.replace(
                before, train=dataclasses.replace(before.train, augment=data.image.augmentation())
            ),
            "leave `augment` out",
        ),
        (
            lambda before: dataclasses.replace(
                before, test=dataclasses.replace(before.test, targets=ArrayColumn(np.zeros(4, np.int32)))
            ),
            "The test targets must be masks \\(height, width\\) that are 0 where an image is normal",
        ),
    ],
)
def test_data_that_cannot_be_learned_are_refused(change, message):
    tasks.anomalies().objective.check(splits())
    with pytest.raises(InputError, match=message):
        tasks.anomalies().objective.check(change(splits()))


def test_few_good_validation_images_are_said_to_promise_little():
    lines = []
    tasks.padim(false_alarm_rate=0.2).begin(splits(), lines.append)
    assert lines and "2 good validation images cannot promise a false alarm rate of 0.2, but of 0.33" in lines[0]
    lines.clear()
    again = tasks.padim(false_alarm_rate=0.4).begin(splits(), lines.append)
    assert not lines and again.begin is None
    tasks.padim().begin(splits(val=255), lines.append)
    assert "without good validation images there is no threshold" in lines[0]
    assert tasks.padim(threshold=2.0).begin is None


def test_good_images_that_score_0_set_no_threshold():
    nothing = Evaluation({}, {scores.THRESHOLD: 0.0}, np.zeros(1))
    with pytest.raises(InputError, match="score 0, as copies of training images do"):
        tasks.padim().finish(nothing)


def test_the_mean_of_what_each_example_wins_is_the_area():
    rng = np.random.default_rng(0)
    bad, values = rng.random(60) < 0.4, rng.integers(0, 12, 60).astype(float)
    assert scores.wins(bad, values).mean() == pytest.approx(roc_auc(bad, values))
