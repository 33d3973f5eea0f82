"""Deep CORAL: features whose covariance is the same in both domains."""

from __future__ import annotations

from typing import Any

from tlkit.core.checks import check_positive
from tlkit.core.task import Task
from tlkit.methods.parts.domains import penalized

_FEATURES = "coral_features"


def coral(task: Task, *, weight: float = 1.0) -> Task:
    """Align the covariance of the features that enter the head's last layer, batch by batch.

    Cheap and hard to break: there is nothing adversarial in it. It assumes that the domains differ in how features vary
    together, and does nothing about a shift of their means. A batch should hold some times more examples than is
    comfortable for so many features; give the task a hidden layer, `classify(labels, hidden=(64,))`.

    Args:
        task: What is learned: `classify` or `regress`.
        weight: Of the distance in the loss, > 0; the paper sets it so that both end about equal.

    Returns:
        A task whose last weights are taken.

    Raises:
        InputError: If an argument is out of its range, or the task is of another kind.

    Example:
        >>> from tlkit import tasks
        >>> coral(tasks.classify(["cat", "dog"], hidden=(64,)), weight=10.0).labels
        ('cat', 'dog')

    Source: Sun and Saenko 2016, arXiv:1607.01719, eq. 1.
    """
    check_positive(weight=weight)

    def penalty(raw: Any, domains: Any) -> Any:
        from tlkit.methods.parts.losses import apart

        return weight * coral_distance(*apart(raw[_FEATURES], domains))

    return penalized(
        task,
        "coral",
        {"task": task, "weight": weight},
        extras=lambda features, outputs: {_FEATURES: features},
        penalty=penalty,
    )


def coral_distance(source: Any, target: Any) -> Any:
    """Squared distance of two covariances over 4 d^2 (eq. 1); 0 where either has fewer than two examples.

    Args:
        source: float (n, d).
        target: float (m, d).
    """
    from keras import ops

    gap = covariance(source) - covariance(target)
    enough = ops.minimum(ops.shape(source)[0], ops.shape(target)[0]) > 1
    return ops.where(enough, ops.sum(gap**2) / (4 * source.shape[-1] ** 2), 0.0)


def covariance(x: Any) -> Any:
    """Of the columns of (n, d), unbiased (eq. 2 and 3); (d, d)."""
    from keras import ops

    count = ops.cast(ops.shape(x)[0], x.dtype)
    centred = x - ops.sum(x, axis=0, keepdims=True) / ops.maximum(count, 1.0)
    return ops.matmul(ops.transpose(centred), centred) / ops.maximum(count - 1.0, 1.0)
