"""Speaker verification in figures: trials of pairs, equal error rate, detection cost, enrolment. NumPy alone.

A trial asks of two recordings whether one person speaks in both. It is a target trial where that is so. A score is the
cosine of two embeddings; a trial is accepted where its score is at or above a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.task import Evaluation
from tlkit.tasks import metrics

MOST = 600  # recordings whose pairs are tried: 180,000 trials
WORST = 24  # mistakes that the report shows
PRIORS = (0.01, 0.05)  # p_target of the two detection costs
RESAMPLES = 1000
EQUAL_ERROR_THRESHOLD = "equal_error_threshold"  # among the details


class Trials(NamedTuple):
    """Pairs of recordings: positions of both, the cosine of their embeddings, and whether one person speaks in both."""

    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray
    same: np.ndarray


class Errors(NamedTuple):
    """Errors at each threshold that changes anything, ascending; the last one accepts nothing.

    `missed` is the share of target trials below the threshold, `accepted` that of the others at or above it.
    """

    thresholds: np.ndarray
    missed: np.ndarray
    accepted: np.ndarray


def trials(embeddings: np.ndarray, speakers: np.ndarray) -> Trials:
    """All pairs of recordings.

    Args:
        embeddings: float (n, d) of any length.
        speakers: int (n,).

    Example:
        >>> found = trials(np.eye(2)[[0, 0, 1]], np.array([7, 7, 8]))
        >>> found.scores.tolist(), found.same.tolist()
        ([1.0, 0.0, 0.0], [True, False, False])
    """
    unit = _unit(embeddings)
    first, second = np.triu_indices(len(unit), 1)
    return Trials(first, second, (unit @ unit.T)[first, second], speakers[first] == speakers[second])


def errors(scores: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None) -> Errors:
    """Both kinds of error at every threshold.

    Args:
        scores: float (n,), higher for the same speaker.
        same: bool (n,), with at least one of each kind.
        weights: float (n,) of the trials, >= 0; None weighs all alike.

    Raises:
        InputError: If one kind of trial is missing.
    """
    order = np.argsort(scores, kind="stable")
    return _ranked(scores[order], same[order], np.ones(len(order)) if weights is None else weights[order])


def equal_error(curve: Errors) -> tuple[float, float]:
    """(equal error rate, threshold): where as large a share of targets is missed as of others is accepted.

    Between two thresholds both shares are taken to change linearly.

    Example:
        >>> equal_error(errors(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])))
        (0.5, 0.4)
    """
    gap = curve.missed - curve.accepted  # rises from -1 to 1
    right = int(np.flatnonzero(gap >= 0)[0])
    left = max(right - 1, 0)
    part = 0.0 if right == left or gap[right] == 0 else float(-gap[left] / (gap[right] - gap[left]))
    if gap[right] == 0:
        return float(curve.missed[right]), float(curve.thresholds[right])
    rate = curve.missed[left] + part * (curve.missed[right] - curve.missed[left])
    return float(rate), float(curve.thresholds[left] + part * (curve.thresholds[right] - curve.thresholds[left]))


def min_cost(curve: Errors, p_target: float) -> float:
    """Lowest normalised detection cost over all thresholds; 1 is what accepting none, or all, costs.

    C = p_target * missed + (1 - p_target) * accepted, with both errors costing 1, over min(p_target, 1 - p_target).

    Args:
        curve: Of `errors`.
        p_target: How often a trial is a target, in (0, 1).

    Source: NIST 2016 Speaker Recognition Evaluation Plan, section 3.1 (C_Det and its normalisation); 0.01 is one of its
    priors, 0.05 that of NIST's SRE 2019 and 2021 (audio) and of the VoxSRC challenges.
    """
    cost = p_target * curve.missed + (1 - p_target) * curve.accepted
    return float(cost.min() / min(p_target, 1 - p_target))


def enrol(embeddings: np.ndarray) -> np.ndarray:
    """One voice of several recordings: the mean of their directions, float64 (d,) at unit length.

    Args:
        embeddings: float (n, d) of any length, n >= 1.

    Raises:
        InputError: If there are none, or they cancel out.
    """
    vectors = np.asarray(embeddings)
    if vectors.ndim != 2 or not len(vectors):
        raise InputError(f"Enrolment takes embeddings (n, d) of one recording or more. Received: {vectors.shape}.")
    voice: np.ndarray = _unit(_unit(vectors).mean(axis=0, keepdims=True))[0]
    return voice


def score(voice: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Cosine of each embedding, float (n, d), with an enrolled voice (d,): float64 (n,) in [-1, 1].

    Example:
        >>> score(enrol([[3.0, 0.0], [1.0, 0.0]]), [[2.0, 0.0], [0.0, 1.0]]).tolist()
        [1.0, 0.0]
    """
    cosines: np.ndarray = _unit(embeddings) @ _unit(np.asarray(voice)[None])[0]
    return cosines


def verified(threshold: float | None, examples: Examples, outputs: np.ndarray) -> Evaluation:
    """Scores of all pairs of test recordings, at most MOST of these.

    Args:
        threshold: What was chosen on validation; None takes that of the equal error rate on these very examples.
        examples: Recordings, whose targets are int (n,) speakers.
        outputs: float (n, d) embeddings; one that is not finite is as far from all others as from itself.

    Returns:
        Scores eer and min_dcf_01, min_dcf_05, each with a 95 % interval by a bootstrap over speakers; auc; with a
        `threshold` it and the errors it makes: missed, accepted. Details for the report. Lower is better of all but
        auc.
    """
    places = _spread(len(examples))
    speakers = examples.target_array[places]
    pairs = trials(np.nan_to_num(outputs[places]), speakers)
    pair_errors = errors(pairs.scores, pairs.same)
    rate, equal_threshold = equal_error(pair_errors)
    limit = equal_threshold if threshold is None else threshold
    scores = {"eer": rate, **{_cost_name(p): min_cost(pair_errors, p) for p in PRIORS}}
    scores |= _intervals(pairs, speakers) | {"auc": metrics.roc_auc(pairs.same, pairs.scores)}
    scores |= {"trials": len(pairs.same), "target_trials": int(pairs.same.sum()), **_at(pairs, threshold)}
    right = (pairs.scores >= limit) == pairs.same
    details = {
        "headline": metrics.headline("eer", "Equal error rate", "bootstrap", lower_is_better=True),
        EQUAL_ERROR_THRESHOLD: equal_threshold,
        "mistakes": _mistakes(pairs, limit, [examples.ids[i] for i in places], places),
        "example_scores": _by_recording(pairs, right, len(places)).tolist(),
    }
    return Evaluation(metrics.finite(scores), details, np.asarray(outputs, np.float32))


def _ranked(scores: np.ndarray, same: np.ndarray, weights: np.ndarray) -> Errors:
    """The same of trials whose scores ascend."""
    target, other = np.where(same, weights, 0.0), np.where(same, 0.0, weights)
    if not target.sum() or not other.sum():
        raise InputError("Verification needs pairs of one speaker and pairs of two: give two speakers with two sounds.")
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))  # of equal scores, below which nothing lies
    below = [np.append(0.0, np.cumsum(part))[[*first, len(scores)]] for part in (target, other)]
    thresholds = np.append(scores[first], np.nextafter(scores[-1], np.inf))
    return Errors(thresholds, below[0] / target.sum(), 1 - below[1] / other.sum())


def _intervals(pairs: Trials, speakers: np.ndarray) -> dict[str, float]:
    """Speakers are drawn, not trials: the trials of a speaker hang together."""
    _, numbers = np.unique(speakers, return_inverse=True)
    order = np.argsort(pairs.scores, kind="stable")
    scores, same = pairs.scores[order], pairs.same[order]
    first, second = numbers[pairs.first[order]], numbers[pairs.second[order]]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(numbers.max() + 1, size=numbers.max() + 1), minlength=numbers.max() + 1)
        weights = np.where(same, times[first], times[first] * times[second]).astype(np.float64)
        if weights[same].any() and weights[~same].any():
            resampled = _ranked(scores, same, weights)
            drawn.append((equal_error(resampled)[0], *(min_cost(resampled, p) for p in PRIORS)))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if drawn else (np.zeros(3), np.ones(3))
    names = ("eer", *map(_cost_name, PRIORS))
    return {
        f"{n}_{end}": float(v) for end, row in (("low", low), ("high", high)) for n, v in zip(names, row, strict=True)
    }


def _at(pairs: Trials, threshold: float | None) -> dict[str, float]:
    if threshold is None:
        return {}
    accepted = pairs.scores >= threshold
    return {"threshold": threshold, "missed": float(np.mean(~accepted[pairs.same])),
            "accepted": float(np.mean(accepted[~pairs.same]))}  # fmt: skip


def _mistakes(pairs: Trials, limit: float, ids: Sequence[str], places: np.ndarray) -> list[dict[str, Any]]:
    """Trials farthest on the wrong side of the threshold."""
    over = np.where(pairs.same, limit - pairs.scores, pairs.scores - limit)
    wrong = np.flatnonzero(np.where(pairs.same, pairs.scores < limit, pairs.scores >= limit))
    worst = wrong[np.argsort(-over[wrong], kind="stable")][:WORST]
    phrases = {True: "another voice than", False: "the voice of"}
    return [
        {"index": int(places[pairs.first[i]]), "id": ids[pairs.first[i]],
         "true": f"{phrases[not pairs.same[i]]} {ids[pairs.second[i]]}",
         "predicted": f"{phrases[bool(pairs.same[i])]} {ids[pairs.second[i]]}", "error": float(over[i])}
        for i in worst.tolist()
    ]  # fmt: skip


def _by_recording(pairs: Trials, right: np.ndarray, count: int) -> np.ndarray:
    """Share of each recording's trials that are decided right."""
    sums = sum(np.bincount(side, right, minlength=count) for side in (pairs.first, pairs.second))
    return np.asarray(sums / max(1, count - 1))


def _spread(count: int) -> np.ndarray:
    """Positions of at most MOST of `count` recordings, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST)).astype(np.int64))


def _cost_name(p_target: float) -> str:
    return f"min_dcf_{round(100 * p_target):02d}"


def _unit(vectors: Any) -> np.ndarray:
    x = np.asarray(vectors, np.float64)
    unit: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return unit
