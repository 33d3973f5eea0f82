"""Which of several adapted models is the best, without labels of the target."""

from __future__ import annotations

import numpy as np

from tlkit.core.errors import InputError
from tlkit.methods import importance
from tlkit.methods.parts import instances

_TINY = 1e-12
_MOST = 4000  # examples that are compared with each other
_FEWEST = 3  # examples of which one can lie nearer to some others than to the rest
_WEIGHED = 1000  # examples of each domain by which densities are compared
_CLIP = 20.0  # largest weight; that of a source like the target is 1


def entropy(probabilities: np.ndarray) -> float:
    """Minus the mean entropy of predictions on the target, in nats; higher is better.

    It prefers models that are sure, and is fooled by those that are sure of one class for all.

    Args:
        probabilities: float (n, k).

    Example:
        >>> round(entropy(np.array([[0.5, 0.5]])), 4)
        -0.6931
    """
    return float((probabilities * np.log(np.maximum(probabilities, _TINY))).sum(axis=1).mean())


def soft_neighbourhood_density(probabilities: np.ndarray, temperature: float = 0.05, most: int = _MOST) -> float:
    """How densely predictions on the target lie together: the entropy of each one's likeness to the others.

    Higher is better: a class is a dense cluster. Fooled, as entropy is, by a model that sees one class alone.

    Args:
        probabilities: float (n, k), n >= 2.
        temperature: Of the softmax over likenesses, > 0.
        most: Examples that are compared, evenly spread; all pairs of them are held in memory.

    Source: Saito et al. 2021, arXiv:2108.10860, eq. 2 to 4.
    """
    if len(probabilities) < 2:
        raise InputError("The density of a neighbourhood needs two examples or more.")
    chosen = probabilities[np.linspace(0, len(probabilities) - 1, min(most, len(probabilities))).astype(int)]
    unit = chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), _TINY)
    likeness = unit @ unit.T / temperature
    np.fill_diagonal(likeness, -np.inf)
    shares = np.exp(likeness - likeness.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return float(-(shares * np.log(np.maximum(shares, _TINY))).sum(axis=1).mean())


def label_free(probabilities: np.ndarray) -> dict[str, float]:
    """What can be said of predictions on the target without its labels, as shares: 1 is sure, and one dense cluster.

    Args:
        probabilities: float (n, k), k >= 2.

    Returns:
        `certainty`, which is 1 + entropy / log k, and `neighbourhood_density`, which is that over log(n - 1). What has
        too few examples is left out: the density of fewer than 3, and both where there are none.

    Example:
        >>> label_free(np.eye(3))["certainty"]
        1.0
    """
    n, k = probabilities.shape
    scores = {"certainty": 1.0 + entropy(probabilities) / float(np.log(k))} if n else {}
    if n < _FEWEST:
        return scores
    density = soft_neighbourhood_density(probabilities) / float(np.log(min(n, _MOST) - 1))
    return scores | {"neighbourhood_density": density}


def estimated(right: np.ndarray, source: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Accuracy on the target as the source's validation examples foretell it; shares, which noise may put above 1.

    Args:
        right: bool (n,), which of the source's examples the model gets right.
        source: float (n, d), their features.
        target: float (m, d), features of the target's examples.

    Returns:
        `importance_weighted_accuracy`, by weights that are brought to mean 1, and `deep_embedded_accuracy`, by those
        that are found: how far their mean is from 1 is what it corrects by. At most 1,000 examples of each domain are
        used, and no weight is above 20.
    """
    source_places, target_places = (
        np.linspace(0, len(rows) - 1, min(_WEIGHED, len(rows))).astype(int) for rows in (source, target)
    )
    known, unknown = instances.standardized(source[source_places], target[target_places], one_unit=True)
    ratios = importance.told_apart(known, unknown, importance.RIDGES)
    wrong = 1.0 - right[source_places].astype(np.float64)
    scores = (
        importance_weighted(wrong, importance.clipped(ratios, _CLIP)),
        deep_embedded(wrong, np.minimum(ratios, _CLIP)),
    )
    return dict(zip(("importance_weighted_accuracy", "deep_embedded_accuracy"), (1.0 + s for s in scores), strict=True))


def importance_weighted(losses: np.ndarray, weights: np.ndarray) -> float:
    """Minus the mean loss on the source's validation examples, each weighted by target / source density.

    Unbiased where the weights are right and the target's examples occur in the source; of high variance otherwise.

    Args:
        losses: float (n,) of labelled source examples.
        weights: float (n,), >= 0, such as those of `methods.density_ratio`.

    Source: Sugiyama et al. 2007, JMLR 8, eq. 7.
    """
    return -float(np.mean(weights * losses))


def deep_embedded(losses: np.ndarray, weights: np.ndarray) -> float:
    """As `importance_weighted`, with the weights themselves as a control variate, which lowers the variance (DEV).

    Args:
        losses: float (n,), n >= 2.
        weights: float (n,), >= 0, whose expectation is 1; with a mean of exactly 1 there is nothing to correct.

    Source: You et al. 2019, "Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation", ICML 97, eq. 9.
    """
    weighted = weights * losses
    spread = float(np.var(weights, ddof=1))
    control = 0.0 if spread < _TINY else -float(np.cov(weighted, weights, ddof=1)[0, 1]) / spread
    return -(float(weighted.mean()) + control * float(weights.mean()) - control)
