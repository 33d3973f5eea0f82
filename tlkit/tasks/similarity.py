"""Similarity: how alike two texts are, by the cosine of their vectors."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.affine import Affine
from tlkit.answers.values import values
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.task import Evaluation, Objective, Task
from tlkit.layer import reads
from tlkit.tasks import metrics, recording
from tlkit.tasks.gathering import gathered
from tlkit.tasks.split_checks import check_training, named_splits

if TYPE_CHECKING:
    import keras

LOSSES = ("cosine", "contrastive", "ranking")
WORST = 24
NAME = "similarity"  # of the decoded tensor, and of its only column


def similarity(
    loss: str = "cosine",
    *,
    low: float = 0.0,
    high: float = 1.0,
    projection: int | None = None,
    margin: float = 1.0,
    scale: float = 20.0,
) -> Task:
    """Bring the vectors of texts that belong together close to each other.

    Both texts of a pair go through the one module, then through one linear map, and are compared by their cosine.

    Args:
        loss: "cosine" regresses the cosine to scores, float32 (n, 1). With int32 (n,) labels, 1 for pairs that are the
            same and 0 for others, "contrastive" draws together and pushes apart; "ranking" finds each partner among
            the batch, for which pairs of the same are enough, and gains from large batches.
        low: Score of pairs that have nothing in common, of "cosine": their cosine is brought to 0.
        high: Score of pairs that say the same, > `low`: their cosine is brought to 1.
        projection: Width of the linear map. None keeps the module's width and begins as the identity; 0 leaves the map
            out, so that vectors are the module's own, and only phases with `unfrozen` > 0 train anything.
        margin: Distance that "contrastive" wants between vectors of different texts, in (0, 2].
        scale: Factor of the cosines in "ranking", > 0.

    Returns:
        A task for `tlkit.data.pairs`; its output is the score, or the cosine where pairs have labels.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> similarity("cosine", low=0, high=5).reads.name
        'pair()'

    Source: Reimers and Gurevych 2019, arXiv:1908.10084 (cosine); Hadsell et al. 2006, doi:10.1109/CVPR.2006.100
    (contrastive); Henderson et al. 2017, arXiv:1705.00652 (ranking).
    """
    _check_options(loss, low, high, projection, margin, scale)
    scored = loss == "cosine"
    ends = (float(low), float(high)) if scored else (0.0, 1.0)
    recipe = {"loss": loss, "low": low, "high": high, "projection": projection, "margin": margin, "scale": scale}
    answer = values((NAME,), Affine(NAME, (ends[1] - ends[0],), (ends[0],), _cosines), name=NAME)
    return Task(
        name="similarity",
        made_by=recording.record("tlkit.tasks.similarity", recipe),
        reads=reads.pair(),
        head=functools.partial(_head, projection=projection),
        objective=Objective(
            loss=functools.partial(_loss, loss, ends, margin, scale),
            metrics=list,
            check=functools.partial(_check_scores, ends) if scored else functools.partial(_check_labels, loss),
        ),
        answers=(dataclasses.replace(answer, labels=()),),
        scorer=gathered(evaluate_scores if scored else evaluate_labels, NAME),
    )


def evaluate_scores(examples: Examples, outputs: np.ndarray) -> Evaluation:
    """Spearman and Pearson correlation of predicted scores with the true ones, each with a bootstrap 95 % interval.

    Args:
        examples: Pairs, whose targets are float (n, 1) or (n,).
        outputs: float (n, 1); one that is not finite counts as 0.
    """
    truth, values = np.asarray(examples.target_array, np.float64).reshape(-1), _finite(outputs)
    error = np.abs(values - truth)
    details = {
        "headline": metrics.headline("spearman", "Spearman", "bootstrap", unit="value"),
        "mistakes": _worst(truth, values, error, examples.ids),
        "example_scores": (-error / (truth.std() or 1.0)).tolist(),
    }
    figures = {"spearman": metrics.spearman, "pearson": metrics.pearson}
    scores = metrics.finite(metrics.bootstrapped(figures, truth, values))
    return Evaluation(scores, details, np.asarray(outputs, np.float32))


def evaluate_labels(examples: Examples, outputs: np.ndarray) -> Evaluation:
    """ROC AUC and average precision of the cosines of pairs that are the same (1) or not (0), with intervals.

    Args:
        examples: Pairs, whose targets are int (n,) of 0 and 1.
        outputs: float (n, 1) cosines; one that is not finite counts as 0.

    Returns:
        Scores and details; `example_scores` are the share of pairs of the other kind that a pair is told apart from.
    """
    truth, values = np.asarray(examples.target_array).reshape(-1), _finite(outputs)
    shares = _told_apart(truth, values)
    details = {
        "headline": metrics.headline("auc", "ROC AUC", "bootstrap", unit="value"),
        "mistakes": _worst(truth, values, 1.0 - shares, examples.ids),
        "example_scores": shares.tolist(),
    }
    figures = {"auc": metrics.roc_auc, "average_precision": metrics.average_precision}
    scores = metrics.finite(metrics.bootstrapped(figures, truth, values))
    return Evaluation(scores, details, np.asarray(outputs, np.float32))


def _told_apart(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64 (n,) share of pairs of the other kind on the right side of each pair, ties counted half."""
    shares = np.full(len(truth), 0.5)
    for kind in (0, 1):
        other_values = np.sort(values[truth != kind])
        if len(other_values):
            below, upto = (np.searchsorted(other_values, values[truth == kind], side) for side in ("left", "right"))
            under = (below + upto) / (2 * len(other_values))
            shares[truth == kind] = under if kind else 1.0 - under
    return shares


def _worst(truth: np.ndarray, values: np.ndarray, error: np.ndarray, ids: Sequence[str]) -> list[dict[str, Any]]:
    order = np.argsort(-error, kind="stable")[:WORST]
    return [
        {"index": i, "id": ids[i], "true": f"{truth[i]:.4g}", "predicted": f"{values[i]:.4g}", "error": float(error[i])}
        for i in order.tolist()
        if error[i] > 0
    ]


def _finite(outputs: np.ndarray) -> np.ndarray:
    values = np.asarray(outputs, np.float64).reshape(-1)
    return np.where(np.isfinite(values), values, 0.0)


def _head(features: Any, projection: int | None) -> Any:
    import keras

    x = features
    if projection != 0:
        start = "identity" if projection is None else "orthogonal"
        x = keras.layers.Dense(
            projection or features.shape[-1], use_bias=False, kernel_initializer=start, dtype="float32",
            name="head_projection",
        )(x)  # fmt: skip
    return keras.layers.UnitNormalization(axis=-1, dtype="float32", name="head_outputs")(x)


def _loss(kind: str, ends: tuple[float, float], margin: float, scale: float) -> keras.losses.Loss:
    from tlkit.tasks import losses

    if kind == "cosine":
        return losses.CosineError(*ends)
    return losses.PairContrast(margin) if kind == "contrastive" else losses.PairRanking(scale)


def _cosines(raw: Any) -> Any:
    from tlkit.tasks import losses

    return losses.cosines(raw)


def _check_options(loss: str, low: float, high: float, projection: int | None, margin: float, scale: float) -> None:
    checks = {
        "loss": (loss in LOSSES, f"be one of {', '.join(LOSSES)}", loss),
        "high": (np.isfinite([low, high]).all() and low < high, f"be finite and above low={low!r}", high),
        "projection": (
            projection is None or (isinstance(projection, int) and projection >= 0), "be None or 0 or more", projection
        ),
        "margin": (0 < margin <= 2, "lie in (0, 2]", margin),
        "scale": (0 < scale < float("inf"), "be finite and positive", scale),
    }  # fmt: skip
    check_rules(checks)


def _check_scores(ends: tuple[float, float], splits: Splits) -> None:
    low, high = ends
    check_training(splits, "give more pairs, or a larger share of them to it")
    for name, examples in named_splits(splits):
        targets = examples.target_array
        if targets.size != len(examples) or not np.issubdtype(targets.dtype, np.floating):
            raise InputError(
                f'The {name} targets must be float scores (n, 1); for labels 0 and 1 use loss="contrastive" or '
                f'"ranking". Received: shape={targets.shape}, dtype={targets.dtype}.'
            )
        outside = np.flatnonzero(~((targets.reshape(-1) >= low) & (targets.reshape(-1) <= high)))
        if len(outside):
            raise InputError(
                f"Scores must lie in [low, high] = [{low:g}, {high:g}]. Received: {targets.reshape(-1)[outside[0]]:g} "
                f"for `{examples.ids[outside[0]]}` of the {name} split."
            )


def _check_labels(loss: str, splits: Splits) -> None:
    check_training(splits, "give more pairs, or a larger share of them to it")
    for name, examples in named_splits(splits):
        targets = examples.target_array
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer) or not np.isin(targets, (0, 1)).all():
            raise InputError(
                f"The {name} targets must be whole numbers (n,), 1 for pairs that are the same and 0 for others; for "
                f'scores use loss="cosine". Received: shape={targets.shape}, dtype={targets.dtype}.'
            )
        needed = {1} if loss == "ranking" and name == "training" else {0, 1}
        lacking = needed - set(targets.tolist())
        if len(examples) and lacking:
            raise InputError(f"The {name} split has no pair labelled {min(lacking)}: add some.")
