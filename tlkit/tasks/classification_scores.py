"""What classification measures: flat scores, and the details that the report draws. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkit.core.examples import Examples
from tlkit.core.task import Evaluation
from tlkit.tasks import metrics

WORST = 24  # mistakes that the report shows


def single_label(labels: tuple[str, ...], examples: Examples, outputs: np.ndarray) -> Evaluation:
    """Scores of one label an example.

    Args:
        labels: Names of the classes, k of them.
        examples: Their targets are int (n,) class numbers.
        outputs: float (n, k) probabilities; a row that is not finite counts as wrong.

    Returns:
        Scores accuracy (with its Wilson 95 % interval), macro_f1, ece, top-k, of two classes auc, and details for the
        report.
    """
    targets = examples.target_array
    usable = np.isfinite(outputs).all(axis=1)
    likely = np.where(usable[:, None], outputs, 0.0)
    predicted = np.where(usable, likely.argmax(axis=1), -1)
    correct = predicted == targets
    confusion = metrics.confusion_matrix(targets, predicted, len(labels))
    support = np.bincount(targets, minlength=len(labels))
    ece, bins = metrics.calibration(likely.max(axis=1), correct)
    macro_f1 = metrics.bootstrap_confusion(metrics.macro_f1, confusion)
    scores = {
        **_accuracy("accuracy", correct),
        **metrics.with_interval("macro_f1", metrics.macro_f1(confusion), macro_f1),
        "ece": ece,
    }
    if len(labels) == 2:
        scores |= metrics.bootstrapped({"auc": metrics.roc_auc}, targets, likely[:, 1])
    else:
        scores |= _top_k(targets, outputs)
    details = {
        "headline": metrics.headline("accuracy", "Accuracy", "Wilson"),
        "confusion": {"labels": list(labels), "counts": confusion.tolist()},
        "per_class": _rows(labels, np.diag(confusion), confusion.sum(axis=0), support),
        "calibration": {"ece": ece, "bins": bins},
        "mistakes": _mistakes(labels, targets, predicted, outputs, examples.ids),
        "example_scores": correct.astype(int).tolist(),
    }
    return Evaluation(metrics.finite(scores), details, outputs.astype(np.float32))


def multi_label(labels: tuple[str, ...], examples: Examples, outputs: np.ndarray) -> Evaluation:
    """Scores of any number of labels an example, each decided at a probability of 0.5.

    Args:
        labels: Names of the labels, k of them.
        examples: Their targets are (n, k) of 0 and 1.
        outputs: float (n, k) probabilities; one that is not finite counts as wrong.

    Returns:
        Scores exact_match (with its Wilson 95 % interval), macro_f1 (bootstrap), mean_average_precision,
        hamming_loss, ece, and details for the report.
    """
    truth = examples.target_array > 0.5
    usable = np.isfinite(outputs)
    predicted = np.where(usable, outputs > 0.5, ~truth)
    likely = np.where(usable, outputs, 0.0)
    wrong = predicted != truth
    rows = _per_label(labels, truth, predicted, likely)
    ece, bins = metrics.calibration(likely.ravel(), truth.ravel())
    scores = {
        **_accuracy("exact_match", ~wrong.any(axis=1)),
        **metrics.bootstrapped({"macro_f1": _f1}, truth, predicted),
        "mean_average_precision": float(np.mean([row["average_precision"] for row in rows if row["support"]] or [0])),
        "hamming_loss": float(wrong.mean()),
        "ece": ece,
    }
    details = {
        "headline": metrics.headline("exact_match", "Exact match", "Wilson"),
        "per_class": rows,
        "calibration": {"ece": ece, "bins": bins},
        "mistakes": _label_mistakes(labels, truth, predicted, likely, examples.ids),
        "example_scores": (~wrong.any(axis=1)).astype(int).tolist(),
    }
    return Evaluation(metrics.finite(scores), details, outputs.astype(np.float32))


def _accuracy(name: str, correct: np.ndarray) -> dict[str, float]:
    return metrics.with_interval(name, float(correct.mean()), metrics.wilson(int(correct.sum()), correct.size))


def _top_k(targets: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    k = min(5, outputs.shape[1] - 1)
    return {f"top{k}_accuracy": float(metrics.top_k_hits(targets, outputs, k).mean())}


def _rows(
    labels: tuple[str, ...], hits: np.ndarray, predicted: np.ndarray, support: np.ndarray
) -> list[dict[str, Any]]:
    precision, recall, f1 = metrics.precision_recall_f1(hits, predicted, support)
    return [
        {"label": label, "precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]),
         "support": int(support[i])}
        for i, label in enumerate(labels)
    ]  # fmt: skip


def _per_label(
    labels: tuple[str, ...], truth: np.ndarray, predicted: np.ndarray, likely: np.ndarray
) -> list[dict[str, Any]]:
    rows = _rows(labels, (truth & predicted).sum(axis=0), predicted.sum(axis=0), truth.sum(axis=0))
    return [
        {**row, "average_precision": metrics.average_precision(truth[:, i], likely[:, i])} for i, row in enumerate(rows)
    ]


def _f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    hits = (truth & predicted).sum(axis=0)
    return float(metrics.precision_recall_f1(hits, predicted.sum(axis=0), truth.sum(axis=0))[2].mean())


def _mistakes(
    labels: tuple[str, ...], targets: np.ndarray, predicted: np.ndarray, outputs: np.ndarray, ids: Sequence[str]
) -> list[dict[str, Any]]:
    likely = np.where(np.isfinite(outputs), outputs, 0.0)
    claimed = np.where(predicted >= 0, likely.max(axis=1), 1.0)  # outputs that are no numbers come first
    wrong = np.flatnonzero(predicted != targets)
    worst = wrong[np.argsort(-claimed[wrong], kind="stable")][:WORST]
    return [
        {
            "index": i,
            "id": ids[i],
            "true": labels[targets[i]],
            "predicted": labels[predicted[i]] if predicted[i] >= 0 else "not a number",
            "probability": float(claimed[i]),
            "true_probability": float(likely[i, targets[i]]),
        }
        for i in worst.tolist()
    ]


def _label_mistakes(
    labels: tuple[str, ...], truth: np.ndarray, predicted: np.ndarray, likely: np.ndarray, ids: Sequence[str]
) -> list[dict[str, Any]]:
    gap = np.where(predicted != truth, np.abs(likely - truth), 0.0).max(axis=1)
    wrong = np.flatnonzero((predicted != truth).any(axis=1))
    worst = wrong[np.argsort(-gap[wrong], kind="stable")][:WORST]
    return [
        {
            "index": i,
            "id": ids[i],
            "true": _joined(labels, truth[i]),
            "predicted": _joined(labels, predicted[i]),
            "probability": float(gap[i]),
        }
        for i in worst.tolist()
    ]


def _joined(labels: tuple[str, ...], chosen: np.ndarray) -> str:
    return ", ".join(labels[i] for i in np.flatnonzero(chosen)) or "none"
