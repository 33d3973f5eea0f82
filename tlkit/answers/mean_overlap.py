"""Overlap of masks by label: intersection over union and Dice, of the pixels of many images together. NumPy alone."""

from __future__ import annotations

import numpy as np

from tlkit.core.examples import Examples
from tlkit.core.task import Decoded
from tlkit.data.augment import VOID

MASK = "mask"


class MeanOverlap:
    """Mean intersection over union and Dice of the labels that occur; counts of pixels are kept, not masks.

    Args:
        labels: Count of labels.
    """

    def __init__(self, labels: int) -> None:
        self.labels = labels
        self._counts: list[np.ndarray] = []

    @property
    def counts(self) -> np.ndarray:
        """int64 (images, 3, labels): right, said and true pixels of each image."""
        return np.stack(self._counts)

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some images."""
        for row, mask in enumerate(decoded[MASK].argmax(-1)):
            self.add(np.asarray(examples.targets[row]), mask)

    def add(self, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Take in one image's masks; gives its confusion of pixels, int64 (labels, labels), true ones by rows."""
        labelled = true != VOID
        pairs = true[labelled].astype(np.int64) * self.labels + predicted[labelled]
        table = np.bincount(pairs, minlength=self.labels**2).reshape(self.labels, self.labels)
        self._counts.append(counts_of(table))
        return table

    def scores(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """miou and dice of each draw of the images.

        Args:
            draws: (draws, images) how often each image counts.
        """
        totals = np.tensordot(draws, self.counts, axes=1)
        return {
            "miou": np.array([mean_iou(counts) for counts in totals]),
            "dice": np.array([mean_dice(counts) for counts in totals]),
        }


def counts_of(table: np.ndarray) -> np.ndarray:
    """Right, said and true pixels (3, k) of a confusion (k, k)."""
    return np.stack([np.diag(table), table.sum(axis=0), table.sum(axis=1)])


def iou_of(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each label, of right, said and true pixels (3, k); 1 where there are none.

    Example:
        >>> iou_of(np.array([[2, 0], [4, 0], [2, 0]])).tolist()
        [0.5, 1.0]
    """
    right, predicted, true = counts
    union = predicted + true - right
    return np.where(union > 0, right / np.maximum(union, 1), 1.0)


def dice_of(counts: np.ndarray) -> np.ndarray:
    """Twice the right pixels over the said and the true ones (3, k); 1 where there are none."""
    right, predicted, true = counts
    return np.where(predicted + true > 0, 2 * right / np.maximum(predicted + true, 1), 1.0)


def _occur(counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts[1:].sum(axis=0) > 0)


def mean_iou(counts: np.ndarray) -> float:
    """Mean of the labels that occur, of right, said and true pixels (3, k)."""
    return float(iou_of(counts)[_occur(counts)].mean()) if _occur(counts).any() else 1.0


def mean_dice(counts: np.ndarray) -> float:
    """Mean of the labels that occur, of right, said and true pixels (3, k)."""
    return float(dice_of(counts)[_occur(counts)].mean()) if _occur(counts).any() else 1.0
