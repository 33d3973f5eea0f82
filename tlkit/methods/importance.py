"""Density ratio: weights that say how much likelier an example is in the target than in the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkit.core.checks import check_positive
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.methods import mixing
from tlkit.methods.parts import instances, linear

KINDS = ("classifier", "ulsif")
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the median distance
CENTRES = 100  # of the target, as the paper has
FOLDS = 5


def density_ratio(
    source: Splits,
    target: Splits,
    backbone: Any = None,
    *,
    kind: str = "classifier",
    ridge: float | None = None,
    clip: float | None = 20.0,
    batch_size: int = 32,
) -> Splits:
    """Weight the source's training examples by p_target(x) / p_source(x).

    It assumes what `kmm` does: only the inputs are distributed differently, and the source has examples wherever the
    target has. No label of the target is read. "classifier" is a logistic regression that tells the domains apart, and
    scales to many features; "ulsif" fits the ratio itself by kernels around target examples, and can bend.

    Args:
        source: Labelled splits.
        target: Splits of the other domain, read alike; of training the inputs are used, the test becomes the result's.
        backbone: As in `kmm`: a module, or None for the examples' own arrays.
        kind: "classifier" or "ulsif".
        ridge: Factor of the squared coefficients, > 0; None takes the best of five, by held-out fifths for the
            classifier and by leaving one out for uLSIF, whose kernel's width is chosen with it.
        clip: Largest weight in multiples of the mean, >= 1; None leaves them as they are.
        batch_size: Examples at a time through the module.

    Returns:
        The source's splits with `weights` of mean 1 on the training examples (times those they had), the target's
        test, and the effective sample size among the notes.

    Raises:
        InputError: If an argument is out of its range, or the domains are not read alike.

    Source: Bickel et al. 2009, JMLR 10, "Discriminative learning under covariate shift" (the ratio from a
    classifier of domains); Kanamori et al. 2009, JMLR 10, "A least-squares approach to direct importance estimation"
    (uLSIF).
    """
    if kind not in KINDS:
        raise InputError(f"`kind` must be one of {', '.join(KINDS)}. Received: kind={kind!r}.")
    if clip is not None and not clip >= 1:
        raise InputError(f"`clip` must be 1 or more, or None. Received: clip={clip!r}.")
    check_positive(ridge=ridge)
    mixing.check_domains(source, target)
    source_rows, target_rows = instances.both_domains(source, target, backbone, batch_size)
    ridges = RIDGES if ridge is None else (ridge,)
    weights = (told_apart if kind == "classifier" else least_squares)(source_rows, target_rows, ridges)
    return instances.weighted(instances.for_target(source, target), clipped(weights, clip), "density_ratio")


def clipped(weights: np.ndarray, clip: float | None) -> np.ndarray:
    """Weights of mean 1, none above `clip`; cutting lowers the mean, so it is cut until both hold.

    Example:
        >>> clipped(np.array([8.0, 1.0, 1.0, 0.0]), 2.0).tolist()
        [2.0, 1.0, 1.0, 0.0]
    """
    if clip is None or not weights.sum() > 0:
        return np.asarray(weights)
    capped = np.asarray(weights / weights.mean())
    for _ in range(len(capped)):  # each round cuts at least one more, so it ends
        uncut = capped < clip
        if capped.max() <= clip * (1 + 1e-9) or not capped[uncut].sum() > 0:
            break
        capped = np.where(uncut, capped * (len(capped) - clip * (~uncut).sum()) / capped[uncut].sum(), clip)
    return np.asarray(np.minimum(capped, clip))


# -- a classifier of domains


def told_apart(source: np.ndarray, target: np.ndarray, ridges: Sequence[float]) -> np.ndarray:
    """n_source / n_target * p(target | x) / p(source | x) of the source's rows, by logistic regression.

    Args:
        source: float (n, d).
        target: float (m, d).
        ridges: Those to choose from, by the held-out log loss of FOLDS parts.
    """
    x, y = linear.in_span(np.concatenate([source, target]))[0], np.repeat([0, 1], [len(source), len(target)])
    ridge = ridges[0] if len(ridges) == 1 else min(ridges, key=lambda strength: _held_out_loss(x, y, strength))
    return np.asarray(len(source) / len(target) * np.exp(_logits(x[: len(source)], _logistic(x, y, ridge))))


def _logistic(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    # of two classes each has half of the difference, whose square is then held back by half
    return linear.softmax_regression(x, y, np.ones(len(y)), 2 * ridge, 2)


def _logits(x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """log p(target | x) / p(source | x), float (n,)."""
    logits = linear.outputs(x, coefficients)
    return np.asarray(logits[:, 1] - logits[:, 0])


def log_loss(logits: np.ndarray, y: np.ndarray) -> float:
    """Mean log loss of labels 0 and 1."""
    return float(np.mean(np.logaddexp(0.0, logits) - y * logits))


def _held_out_loss(x: np.ndarray, y: np.ndarray, ridge: float) -> float:
    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS
    parts = [(fold != k, fold == k) for k in range(FOLDS)]
    losses = [
        log_loss(_logits(x[held_out], _logistic(x[fitted], y[fitted], ridge)), y[held_out])
        for fitted, held_out in parts
    ]
    return float(np.average(losses, weights=[held_out.sum() for _, held_out in parts]))


# -- uLSIF


def least_squares(source: np.ndarray, target: np.ndarray, ridges: Sequence[float]) -> np.ndarray:
    """The ratio at the source's rows by uLSIF; width and ridge by the closed form of leaving one out.

    Args:
        source: float (n, d), the denominator.
        target: float (m, d), the numerator; CENTRES of it at most are the kernels' centres.
        ridges: Those to choose from.
    """
    rng = np.random.default_rng(0)
    centres = target[rng.permutation(len(target))[:CENTRES]]
    middle = instances.median_distance(np.concatenate([source, target]))
    even = min(len(source), len(target))
    kernels = {
        factor: [instances.gaussian(centres, rows, factor * middle) for rows in (source, target)] for factor in WIDTHS
    }
    orders = [rng.permutation(len(rows))[:even] for rows in (source, target)]

    def score(choice: tuple[float, float]) -> float:
        below, above = (k[:, order] for k, order in zip(kernels[choice[0]], orders, strict=True))
        return left_out_score(below, above, choice[1])

    if even < 3:
        width, ridge = 1.0, ridges[0]
    else:
        width, ridge = min(((factor, strength) for factor in WIDTHS for strength in ridges), key=score)
    below, above = kernels[width]
    return np.asarray(ulsif_coefficients(below, above, ridge) @ below)


def ulsif_coefficients(below: np.ndarray, above: np.ndarray, ridge: float) -> np.ndarray:
    """max(0, (H + ridge I)^-1 h), float (b,), one a centre.

    Args:
        below: float (b, n), kernels at examples of the denominator.
        above: float (b, m), kernels at examples of the numerator.
        ridge: > 0.

    Source: Kanamori et al. 2009 (uLSIF: the ridge solution, negative coefficients set to 0).
    """
    curvature = below @ below.T / below.shape[1] + ridge * np.eye(len(below))
    return np.asarray(np.maximum(np.linalg.solve(curvature, above.mean(axis=1)), 0.0))


def left_out_score(below: np.ndarray, above: np.ndarray, ridge: float) -> float:
    """Mean over i of w_i(x_i)^2 / 2 - w_i(x'_i), where w_i is fitted without the i-th of both: (b, n) and (b, n).

    Source: Kanamori et al. 2009: one inverse for all n fits, by Sherman, Morrison, Woodbury.
    """
    b, n = below.shape
    system = below @ below.T / n + ridge * (n - 1) / n * np.eye(b)
    inner = np.linalg.solve(system, below)
    left = n - (below * inner).sum(axis=0)
    mean = np.linalg.solve(system, above.mean(axis=1, keepdims=True))
    first = mean + inner * ((above.mean(axis=1) @ inner) / left)
    second = np.linalg.solve(system, above) + inner * ((above * inner).sum(axis=0) / left)
    fitted = np.maximum((n - 1) / (n * (n - 1)) * (n * first - second), 0.0)
    at_source, at_target = (below * fitted).sum(axis=0), (above * fitted).sum(axis=0)
    return float((at_source**2).mean() / 2 - at_target.mean())
