"""MCC: predictions on the target that do not hesitate between two classes."""

from __future__ import annotations

from typing import Any

from tlkit.core.checks import check_positive
from tlkit.core.task import Task
from tlkit.methods.parts.domains import OUTPUTS, check_classes, penalized


def mcc(task: Task, *, weight: float = 1.0, temperature: float = 2.5) -> Task:
    """Minimum class confusion: on the target, examples that could be of one class should not be of another.

    It looks at predictions alone, so it needs no hidden layer, makes no assumption on how frequent labels are, and goes
    with any of the methods that align features: `mcc(coral(task))`. It needs batches that hold several examples of each
    class, and predictions on the target that are mostly right at the start.

    Args:
        task: A `classify` of one label an example.
        weight: Of the confusion in the loss, > 0.
        temperature: By which logits are divided first, > 0.

    Returns:
        A task whose last weights are taken.

    Raises:
        InputError: If an argument is out of its range, or the task is of another kind.

    Example:
        >>> from tlkit import tasks
        >>> mcc(tasks.classify(["cat", "dog"])).labels
        ('cat', 'dog')

    Source: Jin et al. 2020, arXiv:1912.03699, eq. 1 to 7.
    """
    check_classes(task, "mcc")
    check_positive(weight=weight, temperature=temperature)

    def penalty(raw: Any, domains: Any) -> Any:
        from tlkit.methods.parts.losses import apart

        return weight * confusion(apart(raw[OUTPUTS], domains)[1], temperature)

    arguments = {"task": task, "weight": weight, "temperature": temperature}
    return penalized(task, "mcc", arguments, penalty=penalty)


def confusion(logits: Any, temperature: float = 2.5) -> Any:
    """Mean confusion of a class with the others, in [0, 1] (eq. 7); 0 of no examples.

    Args:
        logits: float (n, k).
        temperature: Divides them (eq. 1).
    """
    from keras import ops

    shares = ops.softmax(logits / temperature, axis=-1)
    entropy = -ops.sum(shares * ops.log(ops.maximum(shares, 1e-12)), axis=-1)
    certainty = ops.stop_gradient(1.0 + ops.exp(-entropy))
    count = ops.cast(ops.shape(logits)[0], shares.dtype)
    weights = count * certainty / ops.maximum(ops.sum(certainty), 1e-12)  # eq. 4
    together = ops.matmul(ops.transpose(shares * weights[:, None]), shares)  # eq. 5
    by_class = together / ops.maximum(ops.sum(together, axis=1, keepdims=True), 1e-12)  # eq. 6
    k = logits.shape[-1]
    return ops.where(count > 0, (ops.sum(by_class) - ops.trace(by_class)) / k, 0.0)
