"""What detection measures: average precision by COCO's rules, and what goes wrong with the other boxes. NumPy alone.

Source: Lin et al. 2014, arXiv:1405.0312, and the evaluation that COCO publishes with it (ten overlaps, 101 recalls);
Bolya et al. 2020, arXiv:2008.08115 (kinds of errors).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkit.answers.average_precision import (
    AveragePrecision,
    Found,
    Truth,
    average_precisions,
    mean,
    on_ignored,
    precisions,
    said_boxes,
    true_rows,
)
from tlkit.answers.boxes import SAID, on_page
from tlkit.answers.overlaps import iou, matches
from tlkit.core.examples import Examples
from tlkit.core.task import PLACE, Decoded, Evaluation
from tlkit.tasks import metrics

SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # square pixels
NEAR = 0.1  # overlap from which a box is at an object, though in the wrong place
WORST = 12  # images that the report shows


class DetectionScorer:
    """Average precision over overlaps, labels and sizes; the boxes that are right and wrong, and why.

    Images are counted at the size at which they are read. Intervals are a bootstrap over images.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.tally = AveragePrecision(len(labels))
        self.f1: dict[int, float] = {}  # of each image by its place
        self.errors: dict[str, int] = dict.fromkeys(
            ("right", "localisation", "class", "both", "duplicate", "background", "missed"), 0
        )
        self.worst: list[tuple[float, int, dict[str, Any]]] = []

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some images."""
        self.tally.update(examples, decoded)
        for index, name in enumerate(examples.ids):
            rows, ignored = true_rows(examples, index)
            sides, classes, scores = said_boxes(decoded, index)
            confident = scores >= SAID
            counts = errors(rows, ignored, sides[confident], classes[confident])
            for kind, count in counts.items():
                self.errors[kind] += count
            place = int(examples.columns[PLACE][index]) if PLACE in examples.columns else len(self.f1)
            self.f1[place] = _f1(counts)
            self._keep(name, self.f1[place], rows, sides[confident], classes[confident])

    def _keep(self, name: str, score: float, rows: np.ndarray, sides: np.ndarray, classes: np.ndarray) -> None:
        if score == 1:
            return
        drawn = [*(_drawn_box(box, true=True) for box in rows[:, 1:]), *(_drawn_box(box, true=False) for box in sides)]
        shown = {"id": name, "f1": score, "boxes": drawn, "said": self._named(classes), "true": self._named(rows[:, 0])}
        self.worst = sorted([*self.worst, (score, len(self.f1), shown)], key=lambda entry: entry[:2])[:WORST]

    def _named(self, numbers: np.ndarray) -> str:
        return ", ".join(self.labels[int(number)] for number in numbers) or "nothing"

    def result(self) -> Evaluation:
        """Scores map, map50 and map75 with intervals, map_small, map_medium and map_large where there are such.

        Without a true box nothing can be measured, and there are no scores.
        """
        detections, truth, count = self.tally.found, self.tally.truth, len(self.tally)
        table = average_precisions(detections, truth, len(self.labels), np.ones(count))
        rows, example_scores = self._rows(table, truth), [self.f1[place] for place in sorted(self.f1)]
        objects = {"rows": rows, "errors": self.errors, "said": SAID}
        if not len(truth.image):
            return Evaluation({}, {"objects": objects, "example_scores": example_scores})
        scores: dict[str, float] = {}
        once_and_drawn = np.concatenate([np.ones((1, count)), metrics.drawn_counts(count, resamples=500)])
        for name, (value, *drawn) in self.tally.scores(once_and_drawn).items():
            scores |= metrics.with_interval(name, value, np.nanquantile(drawn, [0.025, 0.975]))
        by_size = {
            name: mean(average_precisions(detections, truth, len(self.labels), np.ones(count), size))
            for name, size in SIZES.items()
        }
        scores |= {f"map_{name}": value for name, value in by_size.items() if not np.isnan(value)}
        details = {
            "headline": metrics.headline("map", "Mean average precision", "bootstrap"),
            "objects": {**objects, "sizes": _size_rows(by_size, truth)},
            "precision_recall": self._curves(detections, truth),
            "boxes": [entry for _, _, entry in self.worst],
            "example_scores": example_scores,
        }
        return Evaluation(metrics.finite(scores), details)

    def _curves(self, detections: Found, truth: Truth) -> list[dict[str, Any]]:
        """Precision at RECALLS of each label that occurs, at half overlap and at .75, and of all of them."""
        table = precisions(detections, truth, len(self.labels), np.ones(len(self.tally)))[:, :, [0, 5]]
        occur = [i for i in range(len(self.labels)) if not np.isnan(table[i]).any()]
        rows = [("all labels", table[occur].mean(axis=0)), *((self.labels[i], table[i]) for i in occur)]
        return [
            {"label": label, "p50": curve[:, 0].round(3).tolist(), "p75": curve[:, 1].round(3).tolist()}
            for label, curve in rows
        ]

    def _rows(self, table: np.ndarray, truth: Truth) -> list[dict[str, Any]]:
        counts = np.bincount(truth.label, minlength=len(self.labels))
        return [
            {"label": label, "objects": int(counts[i]), "map": mean(table[i]), "map50": mean(table[i, :1]),
             "map75": mean(table[i, 5:6])}
            for i, label in enumerate(self.labels)
        ]  # fmt: skip


def errors(rows: np.ndarray, ignored: np.ndarray, sides: np.ndarray, classes: np.ndarray) -> dict[str, int]:
    """Of one image, how many of the boxes that are said are right, or wrong in which way; and how many are missed.

    Args:
        rows: (n, 5) true rows.
        ignored: (m, 5) rows that count neither way.
        sides: (boxes, 4) left, top, right, bottom, best first.
        classes: (boxes,) their labels.
    """
    partner = matches(rows, sides, classes, 0.5)
    counts = {"right": int((partner >= 0).sum()), "missed": len(rows) - int((partner >= 0).sum())}
    near = iou(sides[:, None], rows[None, :, 1:])
    alike = classes[:, None] == rows[None, :, 0]
    for i in np.flatnonzero((partner < 0) & ~on_ignored(ignored, sides, classes)[:, 0]):
        same_label, other_label = (np.where(mask, near[i], 0.0).max(initial=0.0) for mask in (alike[i], ~alike[i]))
        kind = _kind(float(same_label), float(other_label))
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _f1(counts: Mapping[str, int]) -> float:
    """F1 of one image by `errors`; 1 where there is nothing and nothing is said that counts."""
    every = sum(counts.values()) + counts["right"]  # each box that is said, and each true one
    return 2 * counts["right"] / every if every else 1.0


def _kind(same_label: float, other_label: float) -> str:
    """What is wrong with a box that overlaps objects of its label, and others, at most this far."""
    if same_label >= 0.5:
        return "duplicate"
    if other_label >= 0.5:
        return "class"
    if same_label >= NEAR:
        return "localisation"
    return "both" if other_label >= NEAR else "background"


def _size_rows(by_size: Mapping[str, float], truth: Truth) -> list[dict[str, Any]]:
    """Objects and average precision of each size that occurs, with the side in pixels that it reaches up to."""
    rows = []
    for name, (least, most) in SIZES.items():
        count = int(((truth.area >= least) & (truth.area < most)).sum())
        if count:
            upto = None if np.isinf(most) else round(most**0.5)
            rows.append({"size": name, "upto": upto, "objects": count, "map": by_size[name]})
    return rows


def _drawn_box(box: np.ndarray, *, true: bool) -> Mapping[str, Any]:
    return {**on_page(box), "true": true}
