"""What segmentation measures, a batch at a time: counts of pixels are kept, not masks. NumPy and Pillow."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable
from typing import Any

import numpy as np

from tlkit.answers.drawing import legend, mask_url, palette
from tlkit.answers.mean_overlap import MASK, MeanOverlap, counts_of, dice_of, iou_of, mean_dice, mean_iou
from tlkit.core.examples import Examples
from tlkit.core.task import Decoded, Evaluation
from tlkit.data.augment import VOID
from tlkit.tasks import metrics

WORST = 8  # masks that the report shows
TOLERANCE = 0.0075  # of the diagonal, within which a boundary counts as met


class SegmentationScorer:
    """Overlap (intersection over union, Dice), accuracy of pixels, and boundaries that are met, of all and by label.

    Means are over the labels that occur. Intervals are a bootstrap over images.

    Source: Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?" (boundary F1).
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.table = np.zeros((len(labels), len(labels)), np.int64)
        self.tally = MeanOverlap(len(labels))
        self.edges: list[np.ndarray] = []  # of each image (4, labels): said and true boundary, and what is met of each
        self.worst: list[tuple[float, int, dict[str, Any]]] = []

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some images."""
        predicted = decoded[MASK].argmax(-1).astype(np.uint8)
        for row, (name, mask) in enumerate(zip(examples.ids, predicted, strict=True)):
            true = np.asarray(examples.targets[row])
            table = self.tally.add(true, mask)
            self.table += table
            self.edges.append(boundary_counts(true, np.where(true != VOID, mask, VOID), len(self.labels)))
            self._keep(name, mean_iou(counts_of(table)), true, mask)

    def _keep(self, name: str, miou: float, true: np.ndarray, predicted: np.ndarray) -> None:
        entry = (-miou, -len(self.edges), {"id": name, "miou": miou, "masks": (true, predicted)})
        if len(self.worst) < WORST:
            heapq.heappush(self.worst, entry)
        elif entry > self.worst[0]:
            heapq.heapreplace(self.worst, entry)

    def result(self) -> Evaluation:
        """Scores miou, dice, boundary_f1, each with its interval, and pixel_accuracy; rows by label for the report."""
        counts, edges = self.tally.counts, np.stack(self.edges)
        figures = {"miou": (mean_iou, counts), "dice": (mean_dice, counts), "boundary_f1": (_mean_boundary, edges)}
        scores = {"pixel_accuracy": self.table.trace() / max(1, self.table.sum())}
        for name, (figure, rows) in figures.items():
            interval = metrics.bootstrap(functools.partial(_drawn, figure, rows), len(rows))
            scores |= metrics.with_interval(name, figure(rows.sum(axis=0)), interval)
        details = {
            "headline": metrics.headline("miou", "Mean IoU", "bootstrap"),
            "overlap": self._rows(counts, edges),
            "confusion": {"labels": list(self.labels), "counts": self.table.tolist()},
            "masks": self._masks(),
        }
        return Evaluation(metrics.finite(scores), details)

    def _rows(self, counts: np.ndarray, edges: np.ndarray) -> list[dict[str, Any]]:
        rows = []
        for i, label in enumerate(self.labels):
            class_counts, edge = counts[:, :, i], edges[:, :, i]
            low, high = metrics.bootstrap(functools.partial(_drawn, _iou_of_one, class_counts), len(class_counts))
            (iou,), (dice,) = iou_of(class_counts.sum(axis=0)[:, None]), dice_of(class_counts.sum(axis=0)[:, None])
            rows.append(
                {"label": label, "iou": float(iou), "iou_low": low, "iou_high": high, "dice": float(dice),
                 "boundary_f1": float(boundary_of(edge.sum(axis=0)[:, None])[0]),
                 "pixels": int(class_counts[:, 2].sum())}
            )  # fmt: skip
        return rows

    def _masks(self) -> dict[str, Any]:
        images = [
            {"id": entry["id"], "miou": entry["miou"],
             "true": mask_url(entry["masks"][0], len(self.labels)),
             "predicted": mask_url(entry["masks"][1], len(self.labels))}
            for _, _, entry in sorted(self.worst, key=lambda entry: entry[:2], reverse=True)
        ]  # fmt: skip
        return {"images": images, "legend": legend(self.labels, palette(len(self.labels)))}


def boundary_of(edges: np.ndarray) -> np.ndarray:
    """F1 of each label, of the lengths of said and true boundaries and what is met of each (4, k)."""
    predicted, true, predicted_met, true_met = edges
    precision, recall = predicted_met / np.maximum(predicted, 1), true_met / np.maximum(true, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return np.where(predicted + true > 0, f1, 1.0)


def boundary_counts(true: np.ndarray, predicted: np.ndarray, labels: int) -> np.ndarray:
    """int64 (4, labels): pixels of said and of true boundaries, and those of each that the other comes near to."""
    reach = max(1, round(TOLERANCE * float(np.hypot(*true.shape))))
    counts = np.zeros((4, labels), np.int64)
    for label in np.union1d(np.unique(true), np.unique(predicted)):
        if label < labels:
            predicted_edge, true_edge = (boundary(mask == label) for mask in (predicted, true))
            matched = (predicted_edge & near(true_edge, reach)).sum(), (true_edge & near(predicted_edge, reach)).sum()
            counts[:, label] = predicted_edge.sum(), true_edge.sum(), *matched
    return counts


def boundary(area: np.ndarray) -> np.ndarray:
    """Pixels of an area, bool (h, w), with a neighbour outside it; the image's edge is none.

    Example:
        >>> boundary(np.pad(np.ones((3, 3), bool), 1)).sum()
        np.int64(8)
    """
    inner = np.pad(area, 1, mode="edge")
    interior = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return np.asarray(area & ~interior)


def near(marked: np.ndarray, reach: int) -> np.ndarray:
    """Pixels within `reach` of a marked one, bool (h, w)."""
    height, width = marked.shape
    padded, within = np.pad(marked, reach), np.zeros_like(marked)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if down**2 + right**2 <= reach**2:
                within |= padded[reach + down : reach + down + height, reach + right : reach + right + width]
    return within


def _drawn(figure: Callable[[np.ndarray], float], rows: np.ndarray, indices: np.ndarray) -> float:
    return figure(rows[indices].sum(axis=0))


def _mean_boundary(edges: np.ndarray) -> float:
    occur = edges[:2].sum(axis=0) > 0
    return float(boundary_of(edges)[occur].mean()) if occur.any() else 1.0


def _iou_of_one(counts: np.ndarray) -> float:
    return float(iou_of(counts[:, None])[0])
