"""Scores and their uncertainty as pure functions of NumPy arrays."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from tlkit.core.errors import InputError

Array = np.ndarray


class Interval(NamedTuple):
    """Both ends of a confidence interval."""

    low: float
    high: float


class PairedInterval(NamedTuple):
    """Mean difference b - a: it lies above `low`, and it lies below `high`, each at the confidence asked."""

    difference: float
    low: float
    high: float


def wilson(successes: float, count: int, confidence: float = 0.95) -> Interval:
    """Interval of a proportion; fits few examples and shares near 0 and 1, where mean +- 2 errors does not.

    Args:
        successes: Right answers, 0 to `count`.
        count: Answers; 0 gives (0, 1).
        confidence: In (0, 1).

    Returns:
        Ends in [0, 1].

    Example:
        >>> [round(end, 4) for end in wilson(81, 263)]
        [0.2553, 0.3662]

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if count == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = successes / count, z * z / count
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / count + spread / count / 4)
    return Interval(max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread)))


def with_interval(name: str, value: float, interval: Iterable[float]) -> dict[str, float]:
    """A score and the ends of its interval, by their names.

    Example:
        >>> with_interval("auc", 0.75, (0.5, 1.0))
        {'auc': 0.75, 'auc_low': 0.5, 'auc_high': 1.0}
    """
    low, high = interval
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def bootstrap(statistic: Callable[[Array], float], count: int, *, resamples: int = 1000) -> Interval:
    """Percentile bootstrap 95 % interval of any statistic of `count` examples.

    Args:
        statistic: Indices (n,) of the examples drawn -> a figure.
        count: Examples, >= 1.
        resamples: Draws.

    Returns:
        The 2.5 and 97.5 percentiles, the same each time.
    """
    rng = np.random.default_rng(0)
    draws = [statistic(rng.integers(count, size=count)) for _ in range(resamples)]
    return _percentiles(draws)


def bootstrapped(
    figures: Mapping[str, Callable[[Array, Array], float]], truth: Array, values: Array
) -> dict[str, float]:
    """Figures of examples, each with its bootstrap interval.

    Args:
        figures: Name -> function of true and predicted values.
        truth: (n, ...), n >= 1.
        values: (n, ...).
    """
    scores: dict[str, float] = {}
    for name, figure in figures.items():
        interval = bootstrap(lambda drawn, of=figure: of(truth[drawn], values[drawn]), len(truth))  # type: ignore[misc]
        scores |= with_interval(name, figure(truth, values), interval)
    return scores


def drawn_counts(count: int, *, resamples: int = 1000) -> Array:
    """How often each of `count` examples is drawn by a bootstrap, float64 (resamples, count); the same each time."""
    rng = np.random.default_rng(0)
    draws = (rng.integers(count, size=count) for _ in range(resamples))
    return np.stack([np.bincount(drawn, minlength=count).astype(np.float64) for drawn in draws])


def bootstrap_confusion(statistic: Callable[[Array], float], confusion: Array) -> Interval:
    """Like `bootstrap` for what depends on the confusion matrix alone: drawing examples is drawing its cells.

    Args:
        statistic: Confusion matrix (k, k) -> a figure.
        confusion: int (k, k) counts.

    Returns:
        The 2.5 and 97.5 percentiles.
    """
    cells = np.flatnonzero(confusion)
    total = int(confusion.sum())
    if not total:
        return Interval(0.0, 0.0)
    drawn = np.random.default_rng(0).multinomial(total, confusion.flat[cells] / total, size=1000)
    matrix = np.zeros(confusion.shape, dtype=np.int64)
    figures = []
    for counts in drawn:
        matrix.flat[cells] = counts
        figures.append(statistic(matrix))
    return _percentiles(figures)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float | None, float | None]:
    """Interval of a mean by Student's t; (None, None) of a single value.

    Args:
        values: One or more.
        confidence: In (0, 1).

    Example:
        >>> tuple(round(v, 3) for v in mean_interval([1.0, 2.0, 3.0]))
        (-0.484, 4.484)
    """
    if len(values) < 2:
        return None, None
    half = student_quantile(confidence, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.fmean(values)
    return mean - half, mean + half


def student_quantile(confidence: float, freedom: int) -> float:
    """The t for which Student's distribution has a share `confidence` of its mass between -t and t.

    Args:
        confidence: In (0, 1).
        freedom: Degrees of freedom, >= 1.

    Example:
        >>> round(student_quantile(0.95, 2), 3)
        4.303

    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4, solved for the angle by bisection.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _student_mass(angle, freedom) < confidence else (low, angle)
    return math.tan(low) * math.sqrt(freedom)


def _student_mass(angle: float, freedom: int) -> float:
    """Mass between -t and t, t = tan(angle) * freedom**0.5."""
    odd = freedom % 2
    term, total = math.cos(angle) if odd else 1.0, 0.0
    for k in range(odd + 1, freedom, 2):
        total += term
        term *= k / (k + 1) * math.cos(angle) ** 2
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def paired_interval(a: Array, b: Array, confidence: float = 0.95) -> PairedInterval:
    """Difference b - a of two models' scores on the same examples, with one-sided bounds.

    "b is significantly worse by more than one point" is `high < -0.01`. For right-or-wrong scores the bounds are
    Tango's score interval, which stays sane when few or no examples differ; for others a bootstrap of the mean.

    Args:
        a: float (n,) score of each example by the first model (0/1 for right or wrong), higher is better.
        b: float (n,) the same by the second model.
        confidence: Of each bound on its own, in (0.5, 1).

    Returns:
        The mean difference and its bounds.

    Raises:
        InputError: If the two do not score the same, non-empty examples.

    Example:
        >>> paired_interval([1, 1, 1, 0], [1, 1, 1, 0]).difference
        0.0

    Source: Tango 1998, Statistics in Medicine 17:891-908.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise InputError(
            f"A paired interval needs two scores for each example. Received: shapes {first.shape} and {second.shape}."
        )
    changes = second - first
    mean = float(changes.mean())
    if np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        gained, lost = int((changes > 0).sum()), int((changes < 0).sum())
        return PairedInterval(mean, *_tango(gained, lost, changes.size, confidence))
    rng = np.random.default_rng(0)
    draws = [changes[rng.integers(changes.size, size=changes.size)].mean() for _ in range(2000)]
    low, high = np.quantile(draws, [1 - confidence, confidence])
    return PairedInterval(mean, float(low), float(high))


def confusion_matrix(targets: Array, predicted: Array, num_classes: int) -> Array:
    """int64 (k, k) counts, true classes in rows; predictions outside the classes are left out."""
    valid = (predicted >= 0) & (predicted < num_classes)
    cells = targets[valid].astype(np.int64) * num_classes + predicted[valid]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def precision_recall_f1(hits: Array, predicted: Array, support: Array) -> tuple[Array, Array, Array]:
    """Per-class figures from counts (k,); where nothing was predicted or nothing is there, the figure is 0."""
    precision, recall = _share(hits, predicted), _share(hits, support)
    return precision, recall, _share(2.0 * hits, predicted + support)


def macro_f1(confusion: Array) -> float:
    """Mean F1 over the classes that were seen or predicted, as scikit-learn has it."""
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    occurring = (predicted + support) > 0
    f1 = precision_recall_f1(np.diag(confusion), predicted, support)[2]
    return float(f1[occurring].mean()) if occurring.any() else 0.0


def top_k_hits(targets: Array, scores: Array, k: int) -> Array:
    """bool (n,): whether the true class is among the k highest scores; ties go to the lower class, as in argmax."""
    true_scores = np.take_along_axis(scores, targets[:, None].astype(np.int64), axis=1)
    before = np.arange(scores.shape[1])[None, :] < targets[:, None]
    rank = (scores > true_scores).sum(axis=1) + ((scores == true_scores) & before).sum(axis=1)
    hits: Array = (rank < k) & np.isfinite(true_scores[:, 0])
    return hits


def calibration(confidence: Array, correct: Array, bins: int = 15) -> tuple[float, list[dict[str, float]]]:
    """Expected calibration error, and the bins of its reliability curve.

    Args:
        confidence: float (n,) in [0, 1], what the model claims.
        correct: (n,) 0/1, what happened.
        bins: Count of bins of equal width, ((m-1)/bins, m/bins].

    Returns:
        The error, and one row for each bin that is not empty: low, high, count, confidence, accuracy.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3.
    """
    if not len(confidence):
        return 0.0, []
    where = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(where, minlength=bins)
    claimed = _share(np.bincount(where, weights=confidence, minlength=bins), counts)
    accuracy = _share(np.bincount(where, weights=correct, minlength=bins), counts)
    error = float(np.sum(counts * np.abs(accuracy - claimed)) / len(confidence))
    rows = [
        {"low": m / bins, "high": (m + 1) / bins, "count": int(counts[m]), "confidence": float(claimed[m]),
         "accuracy": float(accuracy[m])}
        for m in np.flatnonzero(counts).tolist()
    ]  # fmt: skip
    return error, rows


def average_precision(targets: Array, scores: Array) -> float:
    """Area under the precision-recall steps (no interpolation) of one label; 0 where it never occurs.

    Args:
        targets: (n,) 0/1.
        scores: float (n,), higher for yes.

    Returns:
        A figure in [0, 1].
    """
    positives = float(np.sum(targets))
    if not positives:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(targets[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # equal scores are one step
    precision, recall = hits[last] / (last + 1.0), hits[last] / positives
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def roc_auc(targets: Array, scores: Array) -> float:
    """Chance that a present example has a higher score than an absent one, ties counted half; .5 where one kind lacks.

    Args:
        targets: (n,) of 0 and 1.
        scores: float (n,), higher for present.

    Source: Hanley and McNeil 1982, Radiology 143, eq. 1: the Mann-Whitney statistic.

    Example:
        >>> roc_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.4, 0.8]))
        0.875
    """
    present = np.asarray(targets) > 0.5
    positive, negative = int(present.sum()), int((~present).sum())
    if not positive or not negative:
        return 0.5
    ranks = mean_ranks(scores)
    return float((ranks[present].sum() - positive * (positive + 1) / 2) / (positive * negative))


def mean_ranks(values: Array) -> Array:
    """float64 (n,) ranks from 1, the lowest value first; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def pearson(a: Array, b: Array) -> float:
    """Linear correlation of two series (n,), in [-1, 1]; 0 where one of them never varies."""
    x, y = (np.asarray(v, np.float64) - np.mean(v) for v in (a, b))
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0 else 0.0


def spearman(a: Array, b: Array) -> float:
    """Correlation of the ranks of two series (n,), in [-1, 1]: whether they sort alike.

    Example:
        >>> spearman(np.array([1, 2, 3]), np.array([10, 100, 1000]))
        1.0
    """
    return pearson(mean_ranks(a), mean_ranks(b))


def r2(targets: Array, values: Array) -> float:
    """Share of variance explained, averaged over columns; a column that never varies counts 1 if exact, else 0."""
    residual = np.sum((targets - values) ** 2, axis=0)
    total = np.sum((targets - targets.mean(axis=0)) ** 2, axis=0)
    exact = np.where(residual == 0, 1.0, 0.0)
    return float(np.mean(np.where(total > 0, 1.0 - residual / np.where(total > 0, total, 1.0), exact)))


def finite(scores: dict[str, float]) -> dict[str, float]:
    """Scores as plain floats."""
    return {name: float(value) for name, value in scores.items()}


def headline(
    name: str, label: str, interval: str, unit: str = "share", *, lower_is_better: bool = False
) -> dict[str, Any]:
    """The `headline` detail: which score stands for the whole, how people call it, and whence its interval."""
    return {"name": name, "label": label, "interval": interval, "unit": unit, "lower_is_better": lower_is_better}


def _tango(gained: int, lost: int, count: int, confidence: float) -> Interval:
    z = NormalDist().inv_cdf(confidence)

    def statistic(delta: float) -> float:  # falls as delta grows; Tango 1998, eq. 11 and the root q of eq. 12
        # q is the most likely share of `lost` when the difference is delta
        b = -gained - lost + (2 * count - gained + lost) * delta
        q = (math.sqrt(max(0.0, b * b + 8 * count * lost * delta * (1 - delta))) - b) / (4 * count)
        variance = count * (2 * q + delta * (1 - delta))
        gap = gained - lost - count * delta
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0

    return Interval(_falls_to(statistic, z), _falls_to(statistic, -z))


def _falls_to(statistic: Callable[[float], float], level: float) -> float:
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if statistic(middle) > level else (low, middle)
    return (low + high) / 2


def _share(part: Array, whole: Array) -> Array:
    share: Array = np.divide(part, whole, out=np.zeros(np.shape(whole), dtype=np.float64), where=np.asarray(whole) > 0)
    return share


def _percentiles(figures: Sequence[float]) -> Interval:
    low, high = np.quantile(np.asarray(figures, dtype=np.float64), [0.025, 0.975])
    return Interval(float(low), float(high))
