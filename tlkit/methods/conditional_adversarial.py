"""CDAN: a critic that sees features together with what is predicted from them."""

from __future__ import annotations

from typing import Any

from tlkit.core.checks import check_positive
from tlkit.core.task import Task
from tlkit.methods.parts.domains import check_classes, penalized

_DOMAIN = "cdan_domain"


def cdan(task: Task, *, weight: float = 1.0, hidden: int = 256, gamma: float = 10.0) -> Task:
    """Conditional domain-adversarial training: as `dann`, but the critic sees features times predicted probabilities.

    So it aligns class by class as far as the predictions can be trusted, which helps where classes lie apart, and hurts
    where most predictions are wrong. It sees d * k numbers an example: keep the last hidden layer small.

    Args:
        task: A `classify` of one label an example.
        weight: As in `dann`, like all below.
        hidden: Width of the critic's two hidden layers.
        gamma: How fast the factor rises.

    Returns:
        A task, as `dann` gives.

    Raises:
        InputError: If an argument is out of its range, or the task is of another kind.

    Example:
        >>> from tlkit import tasks
        >>> cdan(tasks.classify(["cat", "dog"], hidden=(64,))).labels
        ('cat', 'dog')

    Source: Long et al. 2018, arXiv:1705.10667, eq. 4 (the multilinear map, without the entropy's weights).
    """
    check_classes(task, "cdan")
    check_positive(weight=weight, hidden=hidden, gamma=gamma)
    return penalized(
        task,
        "cdan",
        {"task": task, "weight": weight, "hidden": hidden, "gamma": gamma},
        extras=lambda features, outputs: {_DOMAIN: _critic(features, outputs, hidden, weight, gamma)},
        penalty=_telling,
    )


def multilinear(features: Any, probabilities: Any) -> Any:
    """Every feature times every probability: (batch, d) and (batch, k) -> (batch, d * k)."""
    from keras import ops

    product = ops.expand_dims(features, 1) * ops.expand_dims(probabilities, 2)
    return ops.reshape(product, (-1, features.shape[-1] * probabilities.shape[-1]))


def _critic(features: Any, outputs: Any, hidden: int, weight: float, gamma: float) -> Any:
    from keras import ops

    from tlkit.methods.parts.losses import critic

    # eq. 3: no gradient through the condition
    condition = ops.stop_gradient(ops.softmax(outputs, axis=-1))
    return critic(multilinear(features, condition), hidden, "cdan", weight, gamma)


def _telling(raw: Any, domains: Any) -> Any:
    from tlkit.methods.parts.losses import domain_loss

    return domain_loss(raw[_DOMAIN], domains)
