"""A method, Task -> Task: outputs that are too sure of themselves cost something (Pereyra et al. 2017)."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

import tlkit


def less_confident(task: tlkit.Task, weight: float = 0.1) -> tlkit.Task:
    """The task with `weight` times the negative entropy of its softmax in the loss.

    Args:
        task: With one answer of logits, one of which is right, such as `tasks.classify`.
        weight: >= 0.

    Raises:
        InputError: If the task has several answers, or `weight` is negative.

    Source: Pereyra et al. 2017, arXiv:1701.06548, eq. 3.
    """
    if len(task.answers) != 1:
        raise tlkit.InputError(f"`less_confident` needs a task with one answer. Received: {task.name}.")
    if weight < 0:
        raise tlkit.InputError(f"`weight` must be 0 or more. Received: weight={weight!r}.")
    objective = dataclasses.replace(task.objective, loss=lambda: LessConfident(task.objective.loss(), weight))
    return dataclasses.replace(
        task, objective=objective, made_by=tlkit.made_by(less_confident, task=task, weight=weight)
    )


class LessConfident(keras.losses.Loss):
    """A loss, and behind it the negative entropy of the softmax of the raw outputs."""

    def __init__(self, plain: keras.losses.Loss, weight: float) -> None:
        super().__init__(name="less_confident")
        self.plain, self.weight = plain, weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        logs = keras.ops.log_softmax(y_pred, axis=-1)
        sure = keras.ops.sum(keras.ops.exp(logs) * logs, axis=-1)
        return self.plain.call(y_true, y_pred) + self.weight * sure
