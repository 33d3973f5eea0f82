"""DANN: features from which a critic cannot tell the domains apart."""

from __future__ import annotations

from typing import Any

from tlkit.core.checks import check_positive
from tlkit.core.task import Task
from tlkit.methods.parts.domains import penalized

_DOMAIN = "dann_domain"


def dann(task: Task, *, weight: float = 1.0, hidden: int = 256, gamma: float = 10.0) -> Task:
    """Domain-adversarial training: a critic learns to tell the domains by the features, and the features to hide it.

    What the critic sees enters the head's last layer, so that a head with a hidden layer, `classify(labels,
    hidden=(256,))`, adapts even where the module is frozen. Assumes that labels are as frequent in both domains: where
    they are not, it aligns classes that do not belong together. Data are made by `methods.domain_mix`.

    Args:
        task: What is learned: `classify` or `regress`.
        weight: Factor of the reversed gradient, > 0.
        hidden: Width of the critic's two hidden layers, >= 1.
        gamma: How fast the factor rises from 0 to `weight` over the fit, > 0.

    Returns:
        A task whose last weights are taken; of the run that `fit` gives, the critic is no longer part.

    Raises:
        InputError: If an argument is out of its range, or the task is of another kind.

    Example:
        >>> from tlkit import tasks
        >>> dann(tasks.classify(["cat", "dog"], hidden=(256,))).labels
        ('cat', 'dog')

    Source: Ganin et al. 2016, arXiv:1505.07818, eq. 18; gamma and the critic's shape from section 5.2.
    """
    check_positive(weight=weight, hidden=hidden, gamma=gamma)
    return penalized(
        task,
        "dann",
        {"task": task, "weight": weight, "hidden": hidden, "gamma": gamma},
        extras=lambda features, outputs: {_DOMAIN: _critic(features, hidden, weight, gamma)},
        penalty=_telling,
    )


def _critic(features: Any, hidden: int, weight: float, gamma: float) -> Any:
    from tlkit.methods.parts.losses import critic

    return critic(features, hidden, "dann", weight, gamma)


def _telling(raw: Any, domains: Any) -> Any:
    from tlkit.methods.parts.losses import domain_loss

    return domain_loss(raw[_DOMAIN], domains)
