"""MMD: features whose kernel means are the same in both domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlkit.core.checks import check_positive
from tlkit.core.errors import InputError
from tlkit.core.task import Task
from tlkit.methods.parts.domains import penalized

_FEATURES = "mmd_features"
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd(task: Task, *, weight: float = 1.0, scales: Sequence[float] = SCALES) -> Task:
    """Align the features that enter the head's last layer by their maximum mean discrepancy, batch by batch.

    The kernel is a mean of Gaussians whose widths are `scales` times the batch's own mean squared distance, so that it
    needs no tuning to a module's features. Like all that aligns whole distributions it assumes labels as frequent in
    both domains.

    Args:
        task: What is learned: `classify` or `regress`.
        weight: Of the discrepancy in the loss, > 0.
        scales: Factors of the widths, each > 0.

    Returns:
        A task whose last weights are taken.

    Raises:
        InputError: If an argument is out of its range, or the task is of another kind.

    Example:
        >>> from tlkit import tasks
        >>> mmd(tasks.classify(["cat", "dog"], hidden=(64,))).labels
        ('cat', 'dog')

    Source: Long et al. 2015 (DAN), arXiv:1502.02791, eq. 1 and 4, with equal weights of the kernels and all pairs of a
    batch instead of the linear-time estimate.
    """
    check_positive(weight=weight)
    if not scales or any(not scale > 0 for scale in scales):
        raise InputError(f"`scales` must hold positive numbers. Received: scales={scales!r}.")
    widths = tuple(float(scale) for scale in scales)

    def penalty(raw: Any, domains: Any) -> Any:
        from tlkit.methods.parts.losses import apart

        return weight * discrepancy(*apart(raw[_FEATURES], domains), widths)

    return penalized(
        task,
        "mmd",
        {"task": task, "weight": weight, "scales": widths},
        extras=lambda features, outputs: {_FEATURES: features},
        penalty=penalty,
    )


def discrepancy(source: Any, target: Any, scales: Sequence[float] = SCALES) -> Any:
    """Squared maximum mean discrepancy (biased, so never below 0); 0 where either has no examples.

    Args:
        source: float (n, d).
        target: float (m, d).
        scales: Widths of the Gaussians, as factors of the mean squared distance of all pairs.
    """
    from keras import ops

    joined = ops.concatenate([source, target], axis=0)
    squared = ops.sum(joined**2, axis=1)
    distances = ops.maximum(squared[:, None] + squared[None, :] - 2 * ops.matmul(joined, ops.transpose(joined)), 0.0)
    # the width is measured, not learned: no gradient passes through it
    width = ops.stop_gradient(ops.mean(distances)) + 1e-12
    kernel = sum(ops.exp(-distances / (scale * width)) for scale in scales) / len(scales)
    count = [ops.cast(ops.shape(rows)[0], joined.dtype) for rows in (source, target)]
    shares = [ops.ones_like(rows[:, 0]) / ops.maximum(n, 1.0) for rows, n in zip((source, target), count, strict=True)]
    sign = ops.concatenate([shares[0], -shares[1]], axis=0)
    value = ops.matmul(sign[None, :], ops.matmul(kernel, sign[:, None]))[0, 0]
    return ops.where(ops.minimum(*count) > 0, value, 0.0)
