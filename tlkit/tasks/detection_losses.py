"""The loss of detection: which place answers for which box, and how far it is. Imports Keras: import it in functions.

Source: Tian et al. 2019, arXiv:1904.01355 (FCOS: ranges, centre sampling, the smallest box); Lin et al. 2017,
arXiv:1708.02002 (focal loss); Rezatofighi et al. 2019, arXiv:1902.09630 (GIoU).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tlkit.answers.boxes import corners, joined, places
from tlkit.answers.overlaps import area, iou

RADIUS = 1.5  # places around a box's middle that may answer for it
REACH = 8.0  # places: a map answers for boxes that reach further than the finer map's, and up to this many of its own
ALPHA, GAMMA, BOX_WEIGHT = 0.25, 2.0, 2.0
FAR = 1e6
GIVEN_BACK = 2  # times that boxes whose places were all taken get one: two of them may want the same


@keras.saving.register_keras_serializable(package="tlkit")
class FocalAndGIoU(keras.losses.Loss):
    """Focal loss of the labels at all places plus 1 - GIoU of the boxes at places that answer, over their count."""

    def __init__(self, name: str = "focal_and_giou", **keras_arguments: Any) -> None:
        super().__init__(name=name, **keras_arguments)

    def call(self, y_true: Any, y_pred: Mapping[str, Any]) -> Any:
        """Losses (batch,) of rows (batch, most, 5) of label, left, top, right, bottom, and maps."""
        rows = ops.pad(ops.cast(y_true, "float32"), [[0, 0], [0, 1], [0, 0]], constant_values=-1.0)  # one at least
        assigned_rows, answers = assigned(rows, places(y_pred))
        logits = joined(y_pred, "labels")
        target_labels = ops.one_hot(ops.cast(assigned_rows[..., 0], "int32"), logits.shape[-1]) * answers[..., None]
        count = ops.maximum(ops.sum(answers, axis=1), 1.0)
        apart = ops.sum(answers * (1 - giou(corners(y_pred), assigned_rows[..., 1:])), axis=1)
        return (ops.sum(focal(target_labels, logits), axis=(1, 2)) + BOX_WEIGHT * apart) / count


def focal(targets: Any, logits: Any) -> Any:
    """Focal loss of each logit."""
    cross = ops.softplus(-logits) * targets + ops.softplus(logits) * (1 - targets)
    right = ops.exp(-cross)
    return (ALPHA * targets + (1 - ALPHA) * (1 - targets)) * ops.power(1 - right, GAMMA) * cross


def giou(a: Any, b: Any) -> Any:
    """Generalised intersection over union of boxes (..., 4), in [-1, 1]."""
    hull = ops.concatenate([ops.minimum(a[..., :2], b[..., :2]), ops.maximum(a[..., 2:], b[..., 2:])], -1)
    overlap, around = iou(a, b), area(hull)
    union = (area(a) + area(b)) / (1 + overlap)
    return overlap - (around - union) / ops.maximum(around, 1e-9)


def assigned(rows: Any, grid: np.ndarray) -> tuple[Any, Any]:
    """The row that each place answers for, (batch, places, 5), and 1 where there is one, else 0, (batch, places).

    A place answers for a box around it whose middle is within RADIUS places, and whose farthest side lies in the range
    of its map; of several boxes for the smallest. A box that no place answers for, or whose places all answer for
    smaller ones, gets the nearest of the map that its size asks for which is not the only place of another.

    Args:
        rows: (batch, most, 5) label, left, top, right, bottom; labels below 0 are no box.
        grid: Of `answers.boxes.places`.
    """
    x, y, wide, high, stride = (grid[None, :, None, i] for i in range(5))
    label, left, top, right, bottom = (rows[:, None, :, i] for i in range(5))
    is_box = ops.cast(label >= 0, "float32")
    sides = (
        ops.stack([(x - left) / wide, (y - top) / high, (right - x) / wide, (bottom - y) / high], axis=-1)
        * stride[..., None]
    )
    farthest, inside = ops.max(sides, axis=-1), ops.cast(ops.min(sides, axis=-1) > 0, "float32")
    away = ops.stack([(x - (left + right) / 2) / wide, (y - (top + bottom) / 2) / high], axis=-1)
    central = ops.cast(ops.max(ops.abs(away), axis=-1) < RADIUS, "float32")
    above, upto = ranges(grid)
    fits = ops.cast((farthest > above) & (farthest <= upto), "float32")
    answers = is_box * inside * central * fits
    half = ops.maximum((right - left) / wide, (bottom - top) / high) * stride / 2
    meant = ops.cast((half > above) & (half <= upto), "float32")
    distance = ops.sum(ops.square(away), axis=-1) + FAR * (1 - meant)
    lost = ops.cast(ops.max(answers, axis=1, keepdims=True) < 0.5, "float32") * is_box
    answers = ops.maximum(answers, _nearest(distance) * lost)
    size = (right - left) * (bottom - top) + FAR * (1 - answers)
    chosen = ops.one_hot(ops.argmin(size, axis=-1), rows.shape[1]) * ops.max(answers, axis=-1, keepdims=True)
    for _ in range(GIVEN_BACK):
        chosen = _with_places(chosen, distance, is_box)
    return ops.matmul(chosen, rows), ops.max(chosen, axis=-1)


def _nearest(distance: Any) -> Any:
    """1 at the nearest place of each box, else 0: (batch, places, most)."""
    return ops.transpose(ops.one_hot(ops.argmin(distance, axis=1), distance.shape[1]), (0, 2, 1))


def _with_places(chosen: Any, distance: Any, is_box: Any) -> Any:
    """The box of each place, (batch, places, most), once a box without any was given one; of two that want the same
    place, one.
    """
    count = ops.sum(chosen, axis=1, keepdims=True)
    only = ops.sum(chosen * ops.cast(count < 1.5, "float32"), axis=-1, keepdims=True)
    wanted = _nearest(distance + 2 * FAR * only) * is_box * ops.cast(count < 0.5, "float32")
    given = ops.one_hot(ops.argmax(wanted, axis=-1), wanted.shape[-1]) * ops.max(wanted, axis=-1, keepdims=True)
    return chosen * (1 - ops.max(given, axis=-1, keepdims=True)) + given


def ranges(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Farthest sides in pixels that each place's map answers for, float32 (1, places, 1): above, and up to."""
    ends = np.append(REACH * np.unique(grid[:, 4])[:-1], FAR).astype(np.float32)
    level = grid[:, 5].astype(int)
    above, upto = np.append(np.float32(0), ends[:-1])[level], ends[level]
    return above[None, :, None], upto[None, :, None]
