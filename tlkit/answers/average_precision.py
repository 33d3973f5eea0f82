"""Average precision by COCO's rules, of the boxes of many images together. NumPy alone.

Source: Lin et al. 2014, arXiv:1405.0312, and the evaluation that COCO publishes with it (ten overlaps, 101 recalls).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tlkit.answers.overlaps import area, matches_at, sides_first
from tlkit.core.examples import ArraySpec, Examples
from tlkit.core.task import Decoded

OVERLAPS = np.round(np.arange(0.5, 1.0, 0.05), 2)
RECALLS = np.linspace(0, 1, 101)
ALL = (0.0, np.inf)  # square pixels
IGNORED = "ignored"  # the column of crowds and difficult objects


class Found(NamedTuple):
    """Boxes of all images.

    `image` and `label` (n,) are numbers, `score` (n,), `area` (n,) square pixels; of each overlap in OVERLAPS whether
    the box finds a true one, `hit` (n, 10), of what area, `hit_area` (n, 10), and whether it is on something ignored,
    `ignored` (n, 10).
    """

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    area: np.ndarray
    hit: np.ndarray
    hit_area: np.ndarray
    ignored: np.ndarray


class Truth(NamedTuple):
    """True boxes of all images: `image`, `label` and `area` (n,), square pixels."""

    image: np.ndarray
    label: np.ndarray
    area: np.ndarray


class AveragePrecision:
    """Average precision of the boxes of many images: of all overlaps, `map`, at half overlap and at .75.

    Crowds and difficult objects, the column "ignored", count neither way. Images are counted at the size at which they
    are read.

    Args:
        labels: Count of labels.
    """

    def __init__(self, labels: int) -> None:
        self.labels = labels
        self._found: list[Found] = []
        self._truth: list[Truth] = []

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some images."""
        pixels = _pixels(examples)
        for index in range(len(examples)):
            rows, ignored = true_rows(examples, index)
            sides, classes, scores = said_boxes(decoded, index)
            number = len(self._truth)
            self._truth.append(Truth(np.full(len(rows), number), rows[:, 0].astype(int), pixels * area(rows[:, 1:])))
            self._found.append(_found(number, rows, ignored, sides, classes, scores, pixels))

    def __len__(self) -> int:
        return len(self._truth)

    @property
    def found(self) -> Found:
        """Boxes of all images."""
        return Found(*map(np.concatenate, zip(*self._found, strict=True)))

    @property
    def truth(self) -> Truth:
        """True boxes of all images."""
        return Truth(*map(np.concatenate, zip(*self._truth, strict=True)))

    def scores(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """map, map50 and map75 of each draw of the images; nothing without a true box.

        Args:
            draws: (draws, images) how often each image counts.
        """
        predicted, truth = self.found, self.truth
        if not len(truth.image):
            return {}
        tables = [average_precisions(predicted, truth, self.labels, weights) for weights in draws]
        return {
            "map": np.array([mean(table) for table in tables]),
            "map50": np.array([mean(table[:, :1]) for table in tables]),
            "map75": np.array([mean(table[:, 5:6]) for table in tables]),
        }


def true_rows(examples: Examples, index: int) -> tuple[np.ndarray, np.ndarray]:
    """True rows (n, 5) of an image, without those that fill up, and (m, 5) those that count neither way."""
    rows = np.asarray(examples.targets[index], np.float64)
    ignored = np.asarray(examples.columns[IGNORED][index]) if IGNORED in examples.columns else np.zeros((0, 5))
    return rows[rows[:, 0] >= 0], ignored


def said_boxes(decoded: Decoded, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sides (n, 4) left, top, right, bottom, labels (n,) and scores (n,) of an image's boxes, best first."""
    said = decoded["scores"][index] > 0
    sides = sides_first(decoded)[index][said].astype(np.float64)
    return sides, decoded["classes"][index][said], decoded["scores"][index][said]


def average_precisions(
    detections: Found, truth: Truth, labels: int, weights: np.ndarray, size: tuple[float, float] = ALL
) -> np.ndarray:
    """Average precision of each label at each overlap, float64 (labels, 10); NaN of labels without a true box.

    The arguments are those of `precisions`.
    """
    return np.asarray(precisions(detections, truth, labels, weights, size).mean(axis=1))


def precisions(
    detections: Found, truth: Truth, labels: int, weights: np.ndarray, size: tuple[float, float] = ALL
) -> np.ndarray:
    """Precision of each label at each of RECALLS and OVERLAPS, (labels, 101, 10); NaN of labels without a true box.

    Args:
        detections: Boxes of all images.
        truth: True boxes.
        labels: Count of labels.
        weights: How often each image counts.
        size: Square pixels of the objects that count.
    """
    table = np.full((labels, len(RECALLS), len(OVERLAPS)), np.nan)
    counted = (truth.area >= size[0]) & (truth.area < size[1])
    of_size = (detections.hit_area >= size[0]) & (detections.hit_area < size[1])
    misfit = ((detections.area < size[0]) | (detections.area >= size[1]))[:, None]
    for label in range(labels):
        total = weights[truth.image[counted & (truth.label == label)]].sum()
        if not total:
            continue
        rows = np.flatnonzero(detections.label == label)
        rows = rows[np.argsort(-detections.score[rows], kind="stable")]
        hit, weight = detections.hit[rows], weights[detections.image[rows]][:, None]
        right = hit & of_size[rows]
        wrong = ~hit & ~detections.ignored[rows] & ~misfit[rows]
        table[label] = _precisions(np.cumsum(right * weight, axis=0), np.cumsum(wrong * weight, axis=0), total)
    return table


def _precisions(right: np.ndarray, wrong: np.ndarray, total: float) -> np.ndarray:
    """Precision at RECALLS (101, 10), of counts (n, 10) as scores fall: at each recall the best from there on."""
    if not len(right):
        return np.zeros((len(RECALLS), len(OVERLAPS)))
    recall, precision = right / total, right / np.maximum(right + wrong, 1e-12)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    places = np.stack([np.searchsorted(recall[:, t], RECALLS - 1e-9, side="left") for t in range(recall.shape[1])], 1)
    padded = np.concatenate([best, np.zeros((1, best.shape[1]))])
    return np.asarray(np.take_along_axis(padded, places, axis=0))


def _found(
    number: int,
    rows: np.ndarray,
    ignored: np.ndarray,
    sides: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    pixels: float,
) -> Found:
    partners = matches_at(rows, sides, classes, OVERLAPS)
    areas = np.append(pixels * area(rows[:, 1:]), 0.0)
    hit = partners >= 0
    on = on_ignored(ignored, sides, classes) & ~hit
    return Found(
        np.full(len(sides), number), classes.astype(int), scores, pixels * area(sides), hit, areas[partners], on
    )


def on_ignored(ignored: np.ndarray, sides: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Whether each box lies on an ignored one of its label by as large a share as each of OVERLAPS, bool (n, 10)."""
    low = np.maximum(sides[:, None, :2], ignored[None, :, 1:3])
    common = np.maximum(np.minimum(sides[:, None, 2:], ignored[None, :, 3:5]) - low, 0).prod(axis=-1)
    share = common / np.maximum(area(sides), 1e-12)[:, None]
    most = np.where(classes[:, None] == ignored[None, :, 0], share, 0.0).max(axis=1, initial=0.0)
    return np.asarray(most[:, None] >= OVERLAPS)


def _pixels(examples: Examples) -> float:
    spec = examples.inputs.spec
    sizes: Sequence[Any] = spec.shape[:2] if isinstance(spec, ArraySpec) else (1, 1)
    return float(np.prod([size or 1 for size in sizes]))


def mean(values: np.ndarray) -> float:
    """NaN where no label has a true box."""
    return float("nan") if np.isnan(values).all() else float(np.nanmean(values))
