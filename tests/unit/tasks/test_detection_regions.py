"""The second stage of detection: regions, what is gathered of them, and its loss, against loops and by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from test_detection import LABELS, greedy, raw

from tlkit import tasks
from tlkit.answers.boxes import CANDIDATES, PROPOSED, corners
from tlkit.tasks import detection_regions as second
from tlkit.tasks.detection_losses import FocalAndGIoU


def with_maps(seed=0, channels=3):
    """Raw outputs of maps at strides 8 and 16, and the pyramid's maps."""
    rng, outputs = np.random.default_rng(seed), raw(2, seed=seed)
    for stride, side in ((8, 8), (16, 4)):
        outputs[f"map_{stride}"] = rng.normal(size=(2, side, side, channels)).astype(np.float32)
    return outputs


def sampled(image, x, y):
    """Bilinear, in places of the map, held at the edges."""
    height, width = image.shape[:2]
    x, y = np.clip(x * width - 0.5, 0, width - 1), np.clip(y * height - 0.5, 0, height - 1)
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    x1, y1, wx, wy = min(x0 + 1, width - 1), min(y0 + 1, height - 1), x - int(np.floor(x)), y - int(np.floor(y))
    top, bottom = ((1 - wx) * image[row, x0] + wx * image[row, x1] for row in (y0, y1))
    return (1 - wy) * top + wy * bottom


def test_samples_are_those_of_a_loop_on_the_map_that_suits_the_size():
    outputs = with_maps()
    sides = np.array([[[0.1, 0.2, 0.5, 0.4], [0.0, 0.0, 1.0, 1.0], [0.9, 0.95, 1.0, 1.0]]] * 2, np.float32)
    samples = np.asarray(second.aligned(outputs, sides)).reshape(2, 3, second.GRID, second.GRID, 3)
    steps = (np.arange(second.GRID) + 0.5) / second.GRID
    for image in range(2):
        for region, (left, top, right, bottom) in enumerate(sides[image]):
            wide = 8 * max(right - left, bottom - top)  # in places of the finest map
            feature_map = outputs["map_16" if wide > 2 * second.WIDE else "map_8"][image]
            for i, y in enumerate(top + (bottom - top) * steps):
                for j, x in enumerate(left + (right - left) * steps):
                    np.testing.assert_allclose(samples[image, region, i, j], sampled(feature_map, x, y), atol=1e-5)


def test_large_regions_are_looked_at_in_coarse_maps():
    levels = np.asarray(second._levels(np.array([[[3.0], [16.0], [16.1], [33.0]]], np.float32), 3))
    assert levels.argmax(-1).tolist() == [[0, 0, 1, 2]]


@pytest.mark.parametrize("seed", range(3))
def test_regions_are_those_that_a_loop_proposes(seed):
    outputs = raw(seed=seed)
    proposed = np.asarray(second.proposals(outputs))[0]
    sure = 1 / (1 + np.exp(-np.concatenate([outputs[f"labels_{s}"].reshape(-1, 2).max(-1) for s in (8, 16)])))
    order = np.argsort(-sure, kind="stable")[:CANDIDATES]
    sides = np.clip(np.asarray(corners(outputs))[0][order], 0, 1)
    survivors = greedy(sides, sure[order], np.zeros(len(order)), second.SAME_OBJECT)[:PROPOSED]
    np.testing.assert_allclose(proposed[: len(survivors), 4], sure[order][survivors], atol=1e-6)
    np.testing.assert_allclose(proposed[: len(survivors), :4], sides[survivors], atol=1e-6)
    assert not proposed[len(survivors) :, 4].any()


def second_stage(regions):
    count = len(regions)
    return {
        **raw(), "regions": np.concatenate([regions, np.full((count, 1), 0.25)], 1)[None].astype(np.float32),
        "region_labels": np.full((1, count, 2), -9.0, np.float32), "region_boxes": regions[None].astype(np.float32),
    }  # fmt: skip


def test_the_loss_is_that_of_the_first_stage_where_the_second_is_right():
    rows = np.array([[[1, 0.2, 0.2, 0.6, 0.7], [-1] * 5]], np.float32)
    outputs = second_stage(np.array([[0.2, 0.2, 0.6, 0.7], [0.7, 0.7, 0.9, 0.9]]))
    first = float(FocalAndGIoU()(rows, outputs))
    assert float(second.TwoStages()(rows, outputs)) > first + 1  # the first region is an object, and said to be none
    outputs["region_labels"][0, 0, 1] = 9.0
    assert float(second.TwoStages()(rows, outputs)) == pytest.approx(first, abs=1e-3)
    outputs["region_boxes"][0, 0] += 0.1
    assert float(second.TwoStages()(rows, outputs)) > first + 0.3
    again = keras.losses.deserialize(keras.losses.serialize(second.TwoStages()))
    assert float(again(rows, outputs)) == float(second.TwoStages()(rows, outputs))


def test_boxes_are_the_second_stages_with_a_score_of_both():
    outputs = second_stage(np.array([[0.2, 0.2, 0.6, 0.7], [0.7, 0.7, 0.9, 0.9]]))
    outputs["region_labels"][0, 0, 1] = 0.0
    outputs["region_boxes"][0, 0] = [0.1, 0.2, 0.6, 0.8]
    decoded = {
        name: np.asarray(array)[0] for name, array in tasks.detect(LABELS, head="two_stage").decode(outputs).items()
    }
    assert decoded["count"] == 1 and decoded["classes"][0] == 1
    assert decoded["scores"][0] == pytest.approx(np.sqrt(0.25 * 0.5))
    np.testing.assert_allclose(decoded["boxes"][0], [0.2, 0.1, 0.8, 0.6], atol=1e-6)


def test_no_gradient_moves_the_first_stage_through_where_regions_lie():
    import tensorflow as tf

    outputs = {name: tf.Variable(array) for name, array in with_maps().items()}
    with tf.GradientTape() as tape:
        _, features = second.Regions()({name: variable.value() for name, variable in outputs.items()})
        loss = tf.reduce_sum(features**2)
    gradients = tape.gradient(loss, outputs)
    assert all(gradients[f"{kind}_{stride}"] is None for kind in ("labels", "reach") for stride in (8, 16))
    assert any(float(tf.reduce_sum(tf.abs(gradients[f"map_{stride}"]))) > 0 for stride in (8, 16))


def test_an_image_with_few_places_has_as_many_regions():
    regions = np.asarray(second.proposals(raw(sizes=((4, 4), (2, 2)))))
    assert regions.shape == (1, PROPOSED, 5) and not regions[0, 20:].any() and regions[0, 0, 4] > 0
