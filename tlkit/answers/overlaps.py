"""Boxes over each other: intersection over union, areas, and which box finds which. NumPy, or Keras operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlkit.core.task import Decoded


def iou(first: Any, second: Any) -> Any:
    """Intersection over union of boxes (..., 4) of left, top, right, bottom; Keras operations or NumPy."""
    low, high = _of(first).maximum(first[..., :2], second[..., :2]), _of(first).minimum(first[..., 2:], second[..., 2:])
    sides = _of(first).maximum(high - low, 0.0)
    common = sides[..., 0] * sides[..., 1]
    return common / _of(first).maximum(area(first) + area(second) - common, 1e-9)


def area(box: Any) -> Any:
    """Of boxes (..., 4), in shares of the image; never below 0."""
    sides = _of(box).maximum(box[..., 2:] - box[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def _of(array: Any) -> Any:
    if isinstance(array, np.ndarray):
        return np
    from keras import ops

    return ops


def sides_first(decoded: Decoded) -> np.ndarray:
    """Decoded boxes (..., 4) as left, top, right, bottom."""
    return np.asarray(decoded["boxes"])[..., [1, 0, 3, 2]]


def matches(rows: np.ndarray, edges: np.ndarray, classes: np.ndarray, least: float) -> np.ndarray:
    """Which true row each box finds, int64 (boxes,), -1 for none; boxes come best first, and a row is found once.

    Args:
        rows: (n, 5) true rows: label, left, top, right, bottom.
        edges: (boxes, 4) left, top, right, bottom.
        classes: (boxes,) their labels.
        least: Intersection over union from which a box finds a row.
    """
    return matches_at(rows, edges, classes, np.array([least]))[:, 0]


def matches_at(rows: np.ndarray, edges: np.ndarray, classes: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
    """The same at each of some overlaps, int64 (boxes, overlaps)."""
    partner = np.full((len(edges), len(overlaps)), -1)
    if not len(rows):
        return partner
    free, every = np.ones((len(overlaps), len(rows))), np.arange(len(overlaps))
    near = iou(edges[:, None], rows[None, :, 1:]) * (classes[:, None] == rows[None, :, 0])
    for i in range(len(edges)):
        best = (free * near[i]).argmax(axis=1)
        hit = (free[every, best] * near[i, best]) >= overlaps
        partner[i, hit] = best[hit]
        free[every[hit], best[hit]] = 0.0
    return partner
