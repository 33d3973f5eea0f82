"""Segmentation: scores by hand, the loss, and what is refused."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from tlkit import data, tasks
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.data.augment import VOID
from tlkit.exporting.comparing import compare
from tlkit.tasks import segmentation_losses, segmentation_scores
from tlkit.tasks.segmentation import pixel_counts

LABELS = ("ground", "field", "house")


def examples(masks):
    masks = np.asarray(masks, np.uint8)
    ids = tuple(f"{i}.png" for i in range(len(masks)))
    return Examples(ids, ArrayColumn(np.zeros((len(masks), 1), np.float32)), ArrayColumn(masks))


def shares(masks, k=3):
    """Decoded outputs that say these masks."""
    return {"mask": np.eye(k, dtype=np.float32)[np.asarray(masks)]}


def judged(true, predicted, pieces=1):
    scorer, every = tasks.segment(LABELS).scorer(), examples(true)
    for rows in np.array_split(np.arange(len(true)), pieces):
        scorer.update(every.subset(rows.tolist()), shares(np.asarray(predicted)[rows]))
    return scorer.result()


def test_scores_by_hand():
    true = [[[0, 0, 1, 1], [0, 0, 1, VOID]]]
    predicted = [[[0, 1, 1, 1], [0, 0, 0, 2]]]
    evaluation = judged(true, predicted)
    assert evaluation.scores["pixel_accuracy"] == pytest.approx(5 / 7)
    # no true house, and one said where all is void
    assert evaluation.scores["miou"] == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert evaluation.scores["dice"] == pytest.approx((6 / 8 + 4 / 6) / 2)
    assert evaluation.details["overlap"][1]["pixels"] == 3 and evaluation.details["confusion"]["counts"][0] == [3, 1, 0]


def test_scores_do_not_depend_on_the_batches():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, (7, 12, 12)), rng.integers(0, 3, (7, 12, 12))
    whole, parts = judged(true, predicted), judged(true, predicted, pieces=3)
    assert whole.scores == parts.scores and whole.details == parts.details
    assert whole.scores["miou_low"] <= whole.scores["miou"] <= whole.scores["miou_high"]


def test_a_file_is_judged_by_its_mean_overlap():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, (7, 12, 12))
    model, file = (
        np.where(rng.random(true.shape) < share, rng.integers(0, 3, true.shape), true) for share in (0.1, 0.3)
    )
    every, answer = examples(true), tasks.segment(LABELS).answers[0]
    comparison = compare(answer, shares(model), shares(file), every.targets, examples=every)
    before, after = judged(true, model).scores, judged(true, file).scores
    assert comparison.score == comparison.scores["miou"] == pytest.approx(after["miou"])
    assert comparison.score_change == comparison.scores["miou_change"] == pytest.approx(after["miou"] - before["miou"])
    assert comparison.score_change < comparison.change_upper < 0
    assert comparison.scores["dice"] == pytest.approx(after["dice"])


def test_the_worst_masks_are_shown_worst_first():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, (12, 8, 8))
    predicted = true.copy()
    for i in range(12):
        predicted[i, : i % 8 + 1] = (true[i, : i % 8 + 1] + 1) % 3  # the more rows, the worse
    shown = judged(true, predicted).details["masks"]["images"]
    assert len(shown) == segmentation_scores.WORST
    assert [image["miou"] for image in shown] == sorted(image["miou"] for image in shown) and shown[0]["id"] == "7.png"
    assert all(image[side].startswith("data:image/png;base64,") for image in shown for side in ("true", "predicted"))


def test_boundaries_are_met_within_the_tolerance_and_no_further():
    square = np.zeros((100, 100), np.uint8)
    square[30:60, 30:60] = 1
    for shift, met in ((0, 1.0), (1, 1.0), (8, 0.5)):
        counts = segmentation_scores.boundary_counts(square, np.roll(square, shift, 0), 2)
        f1 = segmentation_scores.boundary_of(counts)[1]
        assert f1 == pytest.approx(met, abs=0 if met == 1 else 0.1)  # the sides that it is moved along are met


def test_a_disk_is_near_a_point():
    point = np.zeros((9, 9), bool)
    point[4, 4] = True
    assert segmentation_scores.near(point, 1).sum() == 5 and segmentation_scores.near(point, 2).sum() == 13


def loss_of(true, logits, **arguments):
    loss = segmentation_losses.CrossEntropyAndDice(3, reduction=None, **arguments)
    return np.asarray(loss(np.asarray(true, np.uint8), np.asarray(logits, np.float32)))


def test_the_loss_is_cross_entropy_of_known_pixels_and_dice():
    rng = np.random.default_rng(0)
    true, logits = rng.integers(0, 3, (2, 4, 4)), rng.normal(size=(2, 4, 4, 3))
    true[0, 0] = VOID
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row, loss in enumerate(loss_of(true, logits)):
        labelled = true[row] != VOID
        hot = np.eye(3)[np.where(labelled, true[row], 0)] * labelled[..., None]
        cross = -(hot * np.log(p[row])).sum() / labelled.sum()
        both, each = (p[row] * hot).sum((0, 1)), (p[row] * labelled[..., None] + hot).sum((0, 1))
        assert loss == pytest.approx(cross + 1 - np.mean((2 * both + 1) / (each + 1)), abs=1e-5)


def test_what_void_pixels_say_changes_nothing_and_weights_do():
    true, logits = np.full((1, 2, 2), 1), np.zeros((1, 2, 2, 3))
    true[0, 0, 0] = VOID
    other = logits.copy()
    other[0, 0, 0] = [9, 0, 0]
    assert loss_of(true, other) == pytest.approx(loss_of(true, logits))
    mixed = true.copy()
    mixed[0, 1] = 0
    logits[..., 1] = 2.0
    even, heavy = (loss_of(mixed, logits, dice=0.0, weights=weights) for weights in (None, [10.0, 1.0, 1.0]))
    assert heavy > even  # the ground is wrong, and weighs more


def test_weights_of_examples_count_for_their_pixels():
    (metric,) = tasks.segment(LABELS).objective.metrics()
    true = np.zeros((2, 4, 4), np.uint8)
    true[1] = 1
    metric.update_state(true, shares(np.zeros((2, 4, 4), int))["mask"], sample_weight=np.array([3.0, 1.0], np.float32))
    assert float(metric.result()) == pytest.approx(3 / 4 / 2)  # of the ground 3 of 4, of the field nothing


def test_the_loss_is_made_again_from_its_config():
    loss = segmentation_losses.CrossEntropyAndDice(3, 0.5, [1.0, 2.0, 3.0])
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (again.labels, again.dice, again.weights) == (3, 0.5, [1.0, 2.0, 3.0])


def test_masks_of_another_size_than_the_head_are_refused():
    with pytest.raises(InputError, match="Masks are 5x4 and the head gives 4x4: read the images at a height"):
        loss_of(np.zeros((1, 5, 4)), np.zeros((1, 4, 4, 3)))


def test_weights_are_balanced_by_the_training_masks():
    masks = np.zeros((3, 4, 4), np.uint8)
    masks[:, 0] = 1
    data = Splits(examples(masks), examples(masks[:1]), examples(masks[:1]), LABELS)
    lines = []
    task = tasks.segment(LABELS, class_weights="balanced").begin(data, lines.append)
    assert task.made_by[1]["class_weights"] == {"ground": pytest.approx(2 / 3, abs=1e-4), "field": 2.0, "house": 0.0}
    assert lines == ["class weights: ground 0.667, field 2, house 0"] and task.begin is None
    assert pixel_counts(data.train.targets, 3).tolist() == [36, 12, 0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"labels": ["a"]}, "`labels` of `segment` must be 2 to 254 different names"),
        ({"labels": ["a", "a"]}, "different names"),
        ({"strides": (4, 4)}, "`strides` of `segment` must be different"),
        ({"width": 0}, "`width` of `segment` must be 1 or more"),
        ({"dice": -1.0}, "`dice` of `segment` must be 0 or more"),
        ({"class_weights": [1, 5]}, '`class_weights` of `segment` must be None, "balanced" or a mapping'),
        ({"class_weights": "even"}, '`class_weights` of `segment` must be None, "balanced" or a mapping'),
        ({"class_weights": {"sky": 1.0}}, r"Received: \['sky'\]"),
        ({"class_weights": {"field": -1.0}}, "must be 0 or more for each label"),
    ],
)
def test_what_is_out_of_range_is_said(arguments, said):
    with pytest.raises(InputError, match=said):
        tasks.segment(**{"labels": LABELS, **arguments})


def test_data_that_cannot_be_learned_are_refused():
    masks = np.zeros((2, 4, 4), np.uint8)
    fine = Splits(examples(masks), examples(masks), examples(masks), LABELS)
    check = tasks.segment(LABELS).objective.check
    check(fine)
    with pytest.raises(InputError, match="make it of them, `segment"):
        check(dataclasses.replace(fine, labels=("a", "b", "c")))
    with pytest.raises(InputError, match="The training split is empty"):
        check(dataclasses.replace(fine, train=examples(masks[:0])))
    with pytest.raises(InputError, match="A test mask has the number 7, and the task 3 labels from 0"):
        check(dataclasses.replace(fine, test=examples(masks + 7)))
    left_behind = dataclasses.replace(examples(masks), augment=data.image.augmentation())
    with pytest.raises(InputError, match=r"leaves their masks behind: take tlkit\.data\.masks\.augmentation"):
        check(dataclasses.replace(fine, train=left_behind))
    numbers = dataclasses.replace(examples(masks), targets=ArrayColumn(np.zeros(2, np.int32)))
    with pytest.raises(InputError, match=r"The validation targets must be masks \(height, width\)"):
        check(dataclasses.replace(fine, val=numbers))


@pytest.mark.parametrize("sizes", [(16, 8, 4), (25, 13, 7)])
def test_the_head_gives_the_size_of_the_image(sizes):
    maps = {stride: keras.Input((size, size, 5)) for stride, size in zip((4, 8, 16), sizes, strict=True)}
    raw = tasks.segment(LABELS, strides=(4, 8, 16), width=6).head(maps)
    assert raw.shape == (None, 4 * sizes[0], 4 * sizes[0], 3)
