"""What detection measures: average precision by COCO's rules, and what goes wrong with the other boxes. NumPy alone.

Source: Lin et al. 2014, arXiv:1405.0312, and the evaluation that COCO publishes with it (ten overlaps, 101 recalls);
Bolya et al. 2020, arXiv:2008.08115 (kinds of errors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlkit.answers.boxes import SAID, area, iou, matches, on_page, sides_first
from tlkit.core.examples import ArraySpec, Examples
from tlkit.core.task import Decoded, Evaluation
from tlkit.tasks import metrics

OVERLAPS = np.round(np.arange(0.5, 1.0, 0.05), 2)
RECALLS = np.linspace(0, 1, 101)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # square pixels
ALL = (0.0, np.inf)
NEAR = 0.1  # overlap from which a box is at an object, though in the wrong place
WORST = 12  # images that the report shows
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


class DetectionScorer:
    """Average precision over overlaps, labels and sizes; the boxes that are right and wrong, and why.

    Images are counted at the size at which they are read. Intervals are a bootstrap over images.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.found: list[Found] = []
        self.truth: list[Truth] = []
        self.errors: dict[str, int] = dict.fromkeys(
            ("right", "localisation", "class", "both", "duplicate", "background", "missed"), 0
        )
        self.worst: list[tuple[float, int, dict[str, Any]]] = []

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some images."""
        pixels = _pixels(examples)
        for index, name in enumerate(examples.ids):
            rows = np.asarray(examples.targets[index], np.float64)
            rows = rows[rows[:, 0] >= 0]  # without those that fill up
            ignored = np.asarray(examples.columns[IGNORED][index]) if IGNORED in examples.columns else np.zeros((0, 5))
            number, nonzero = len(self.truth), decoded["scores"][index] > 0
            sides, classes = sides_first(decoded)[index][nonzero].astype(np.float64), decoded["classes"][index][nonzero]
            scores = decoded["scores"][index][nonzero]
            self.truth.append(Truth(np.full(len(rows), number), rows[:, 0].astype(int), pixels * area(rows[:, 1:])))
            self.found.append(_found(number, rows, ignored, sides, classes, scores, pixels))
            confident = scores >= SAID
            counts = errors(rows, ignored, sides[confident], classes[confident])
            for kind, count in counts.items():
                self.errors[kind] += count
            self._keep(name, _f1(counts), rows, sides[confident], classes[confident])

    def _keep(self, name: str, score: float, rows: np.ndarray, sides: np.ndarray, classes: np.ndarray) -> None:
        if score == 1:
            return
        drawn = [*(_drawn_box(box, true=True) for box in rows[:, 1:]), *(_drawn_box(box, true=False) for box in sides)]
        shown = {"id": name, "f1": score, "boxes": drawn, "said": self._named(classes), "true": self._named(rows[:, 0])}
        self.worst = sorted([*self.worst, (score, len(self.truth), shown)], key=lambda entry: entry[:2])[:WORST]

    def _named(self, numbers: np.ndarray) -> str:
        return ", ".join(self.labels[int(number)] for number in numbers) or "nothing"

    def result(self) -> Evaluation:
        """Scores map, map50 and map75 with intervals, map_small, map_medium and map_large where there are such.

        Without a true box nothing can be measured, and there are no scores.
        """
        detections = Found(*map(np.concatenate, zip(*self.found, strict=True)))
        truth = Truth(*map(np.concatenate, zip(*self.truth, strict=True)))
        count = len(self.truth)
        table = average_precisions(detections, truth, len(self.labels), np.ones(count))
        if not len(truth.image):
            return Evaluation({}, {"objects": {"rows": self._rows(table, truth), "errors": self.errors, "said": SAID}})
        scores = _means(table)
        drawn = [_means(average_precisions(detections, truth, len(self.labels), w)) for w in _weights(count)]
        for name in list(scores):
            low, high = np.nanquantile([sample[name] for sample in drawn], [0.025, 0.975])
            scores |= {f"{name}_low": low, f"{name}_high": high}
        by_size = {
            name: _mean(average_precisions(detections, truth, len(self.labels), np.ones(count), size))
            for name, size in SIZES.items()
        }
        scores |= {f"map_{name}": value for name, value in by_size.items() if not np.isnan(value)}
        details = {
            "headline": metrics.headline("map", "Mean average precision", "bootstrap"),
            "objects": {
                "rows": self._rows(table, truth),
                "errors": self.errors,
                "said": SAID,
                "sizes": _size_rows(by_size, truth),
            },
            "precision_recall": self._curves(detections, truth),
            "boxes": [entry for _, _, entry in self.worst],
        }
        return Evaluation(metrics.finite(scores), details)

    def _curves(self, detections: Found, truth: Truth) -> list[dict[str, Any]]:
        """Precision at RECALLS of each label that occurs, at half overlap and at .75, and of all of them."""
        table = precisions(detections, truth, len(self.labels), np.ones(len(self.truth)))[:, :, [0, 5]]
        occur = [i for i in range(len(self.labels)) if not np.isnan(table[i]).any()]
        rows = [("all labels", table[occur].mean(axis=0)), *((self.labels[i], table[i]) for i in occur)]
        return [
            {"label": label, "p50": curve[:, 0].round(3).tolist(), "p75": curve[:, 1].round(3).tolist()}
            for label, curve in rows
        ]

    def _rows(self, table: np.ndarray, truth: Truth) -> list[dict[str, Any]]:
        counts = np.bincount(truth.label, minlength=len(self.labels))
        return [
            {"label": label, "objects": int(counts[i]), "map": _mean(table[i]), "map50": _mean(table[i, :1]),
             "map75": _mean(table[i, 5:6])}
            for i, label in enumerate(self.labels)
        ]  # fmt: skip


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
    for i in np.flatnonzero((partner < 0) & ~_on(ignored, sides, classes)[:, 0]):
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


def _found(
    number: int,
    rows: np.ndarray,
    ignored: np.ndarray,
    sides: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    pixels: float,
) -> Found:
    partners = np.stack([matches(rows, sides, classes, least) for least in OVERLAPS], axis=1)
    areas = np.append(pixels * area(rows[:, 1:]), 0.0)
    hit = partners >= 0
    on = _on(ignored, sides, classes) & ~hit
    return Found(
        np.full(len(sides), number), classes.astype(int), scores, pixels * area(sides), hit, areas[partners], on
    )


def _on(ignored: np.ndarray, sides: np.ndarray, classes: np.ndarray) -> np.ndarray:
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


def _weights(count: int, resamples: int = 500) -> list[np.ndarray]:
    """How often each image is drawn, a row a draw; the same each time."""
    rng = np.random.default_rng(0)
    return [np.bincount(rng.integers(count, size=count), minlength=count).astype(float) for _ in range(resamples)]


def _means(table: np.ndarray) -> dict[str, float]:
    return {"map": _mean(table), "map50": _mean(table[:, :1]), "map75": _mean(table[:, 5:6])}


def _mean(values: np.ndarray) -> float:
    """NaN where no label has a true box."""
    return float("nan") if np.isnan(values).all() else float(np.nanmean(values))


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
