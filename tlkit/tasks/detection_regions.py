"""The second stage of detection: regions that the first proposes are looked at again. Imports Keras: import it in
functions.

Source: Ren et al. 2015, arXiv:1506.01497 (Faster R-CNN); He et al. 2017, arXiv:1703.06870 (RoIAlign); Zhou et al. 2021,
arXiv:2103.07461 (the score of both stages together).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tlkit.answers.boxes import CANDIDATES, PROPOSED, corners, joined, survivors
from tlkit.answers.overlaps import iou
from tlkit.tasks.detection_losses import BOX_WEIGHT, FocalAndGIoU, focal, giou

GRID = 5  # samples a side of a region
SAME_OBJECT = 0.7  # overlap from which of two proposals the surer one is kept
POSITIVE = 0.5  # overlap with an object from which a region is that object
WIDE = 8.0  # places: the map whose places a region is about so many of wide is the one that is looked at


@keras.saving.register_keras_serializable(package="tlkit")
class Regions(keras.layers.Layer):
    """Proposals out of the first stage's raw outputs, and what the pyramid has inside each.

    Takes a dict of the raw outputs and the pyramid's maps "map_STRIDE" (batch, height, width, channels); gives the
    regions (batch, PROPOSED, 5), left, top, right and bottom in shares of the sides and the first stage's score, and
    their features (batch, PROPOSED, GRID * GRID * channels). No gradient flows back through where regions lie.
    """

    def call(self, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Regions and their features."""
        regions = ops.stop_gradient(proposals(inputs))
        return regions, aligned(inputs, regions[..., :4])

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> Any:
        """Of regions and features."""
        channels = next(shape[-1] for name, shape in input_shape.items() if name.startswith("map_"))
        batch = next(iter(input_shape.values()))[0]
        return (batch, PROPOSED, 5), (batch, PROPOSED, GRID * GRID * channels)


def proposals(raw: Mapping[str, Any]) -> Any:
    """The surest places' boxes, whatever their label, without those that a surer one covers: (batch, PROPOSED, 5)."""
    sure = ops.max(ops.sigmoid(joined(raw, "labels")), axis=-1)
    scores, chosen = ops.top_k(sure, k=min(CANDIDATES, sure.shape[1]))
    sides = ops.clip(ops.take_along_axis(corners(raw), chosen[..., None], axis=1), 0.0, 1.0)
    surviving = scores * survivors(sides, ops.zeros_like(scores), SAME_OBJECT)
    filled = max(0, PROPOSED - surviving.shape[1])  # of an image with few places
    surviving, sides = ops.pad(surviving, [[0, 0], [0, filled]]), ops.pad(sides, [[0, 0], [0, filled], [0, 0]])
    scores, order = ops.top_k(surviving, k=PROPOSED)
    return ops.concatenate([ops.take_along_axis(sides, order[..., None], axis=1), scores[..., None]], axis=-1)


def aligned(inputs: Mapping[str, Any], sides: Any) -> Any:
    """RoIAlign by gathers: GRID x GRID samples of each region, each the mean of its four places by their nearness.

    Args:
        inputs: With the maps.
        sides: (batch, regions, 4) left, top, right, bottom in shares of the sides.

    Returns:
        (batch, regions, GRID * GRID * channels), of the map that suits the region's size.
    """
    strides = sorted(int(name[4:]) for name in inputs if name.startswith("map_"))
    maps = [inputs[f"map_{stride}"] for stride in strides]
    channels, heights, widths = maps[0].shape[-1], [m.shape[1] for m in maps], [m.shape[2] for m in maps]
    table = ops.concatenate([ops.reshape(m, (-1, m.shape[1] * m.shape[2], channels)) for m in maps], axis=1)
    starts = np.cumsum([0, *(h * w for h, w in zip(heights, widths, strict=True))][:-1])
    left, top, right, bottom = (sides[..., i : i + 1] for i in range(4))
    level = _levels(ops.maximum((right - left) * widths[0], (bottom - top) * heights[0]), len(strides))
    start, height, width = (
        ops.matmul(level, ops.convert_to_tensor(sizes)) for sizes in _columns(starts, heights, widths)
    )
    steps = ((np.arange(GRID) + 0.5) / GRID).astype(np.float32)
    x, y = left + (right - left) * steps, top + (bottom - top) * steps
    (x0, x1, wx), (y0, y1, wy) = _between(x, width), _between(y, height)
    samples, sampled = sides.shape[1] * GRID * GRID, 0.0
    for row, row_weight in ((y0, 1 - wy), (y1, wy)):
        for column, weight in ((x0, 1 - wx), (x1, wx)):
            place = start[..., None] + row[..., :, None] * width[..., None] + column[..., None, :]
            share = row_weight[..., :, None] * weight[..., None, :]
            values = tf.gather(table, ops.cast(ops.reshape(place, (-1, samples)), "int32"), batch_dims=1)
            sampled = sampled + values * ops.reshape(share, (-1, samples, 1))
    return ops.reshape(sampled, (-1, sides.shape[1], GRID * GRID * channels))


def _columns(*rows: Any) -> list[np.ndarray]:
    return [np.asarray(row, np.float32)[:, None] for row in rows]


def _levels(size: Any, count: int) -> Any:
    """Which map each region is looked at in, one-hot (batch, regions, maps); `size` counts places of the finest."""
    ends = WIDE * 2.0 ** np.arange(1, count)
    number = sum((ops.cast(size[..., 0] > float(end), "int32") for end in ends), ops.zeros_like(size[..., 0], "int32"))
    return ops.one_hot(number, count)


def _between(share: Any, count: Any) -> tuple[Any, Any, Any]:
    """The two places that a point lies between, and how near it is to the second; (batch, regions, GRID)."""
    place = ops.clip(share * count - 0.5, 0.0, count - 1.0)
    first = ops.floor(place)
    return first, ops.minimum(first + 1.0, count - 1.0), place - first


@keras.saving.register_keras_serializable(package="tlkit")
class TwoStages(keras.losses.Loss):
    """The first stage's loss; of each region focal loss of its label, and 1 - GIoU of its box where it is an object."""

    def __init__(self, name: str = "two_stages", **keras_arguments: Any) -> None:
        super().__init__(name=name, **keras_arguments)

    def call(self, y_true: Any, y_pred: Mapping[str, Any]) -> Any:
        """Losses (batch,) of rows (batch, most, 5) of label, left, top, right, bottom, and raw outputs."""
        first = FocalAndGIoU(reduction=None).call(y_true, y_pred)
        rows = ops.pad(ops.cast(y_true, "float32"), [[0, 0], [0, 1], [0, 0]], constant_values=-1.0)
        regions, logits, boxes = (y_pred[name] for name in ("regions", "region_labels", "region_boxes"))
        present = ops.cast(rows[:, None, :, 0] >= 0, "float32")
        near = iou(regions[:, :, None, :4], rows[:, None, :, 1:]) * present
        nearest = ops.matmul(ops.one_hot(ops.argmax(near, axis=-1), rows.shape[1] or ops.shape(rows)[1]), rows)
        positive = ops.cast(ops.max(near, axis=-1) >= POSITIVE, "float32")
        target_labels = ops.one_hot(ops.cast(nearest[..., 0], "int32"), logits.shape[-1]) * positive[..., None]
        count = ops.maximum(ops.sum(positive, axis=1), 1.0)
        apart = ops.sum(positive * (1 - giou(boxes, nearest[..., 1:])), axis=1)
        return first + (ops.sum(focal(target_labels, logits), axis=(1, 2)) + BOX_WEIGHT * apart) / count


@keras.saving.register_keras_serializable(package="tlkit")
class Moved(keras.layers.Layer):
    """Regions moved by what is learned: each side by a share of the region's width or height."""

    def call(self, inputs: Any) -> Any:
        """(batch, regions, 4) of regions (batch, regions, 5) and moves (batch, regions, 4)."""
        regions, moves = inputs
        left, top, right, bottom = (regions[..., i] for i in range(4))
        scale = ops.stack([right - left, bottom - top, right - left, bottom - top], axis=-1)
        return regions[..., :4] + moves * scale

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Of the moved regions."""
        return input_shape[1]
