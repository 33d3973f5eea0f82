"""Model soups: the average of the weights of several fine-tuned models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tlkit.errors import InputError
from tlkit.types import Examples, Run


def soup(runs: Sequence[Run], *, greedy: Examples | None = None, batch_size: int = 32) -> Run:
    """One model whose weights are the mean of several that were tuned from the same module.

    It costs nothing when it is used, unlike an ensemble. It works where runs began with the same weights, the head's
    included, and differ in the order of examples, rates or augmentation; of models that began apart the mean is none.

    Args:
        runs: At least two, of one module and one kind of head.
        greedy: Labelled validation examples. Runs are then tried from the best to the worst on them, and one is taken
            in only where it does not make the mean worse. None takes all.
        batch_size: Examples at a time when `greedy` judges.

    Returns:
        A run with a model of its own, not evaluated yet; all else is the first run's.

    Raises:
        InputError: If there are fewer than two runs, their weights differ in shape, or the task has no headline score.

    Source: Wortsman et al. 2022, arXiv:2203.05482, recipe 1 (greedy) and eq. of the uniform soup.
    """
    import keras

    weights = [run.model.get_weights() for run in runs]
    _check(weights)
    model = keras.models.clone_model(runs[0].model)
    taken = list(range(len(runs)))
    if greedy is not None:
        taken = _greedily(model, runs[0], weights, greedy, batch_size)
    model.set_weights(mean([weights[i] for i in taken]))
    record = {**runs[0].record, "scores": {}, "method": ["tlkit.methods.soup", {"runs": len(runs), "taken": taken}]}
    return replace(runs[0], model=model, evaluation=None, exports=(), folder=None, record=record)


def mean(weights: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Mean of each array over the models; whole numbers (states of generators) are the first model's.

    Example:
        >>> mean([[np.array([1.0, 2.0])], [np.array([3.0, 2.0])]])[0].tolist()
        [2.0, 2.0]
    """
    return [
        np.mean(same, axis=0, dtype=np.float64).astype(same[0].dtype) if same[0].dtype.kind == "f" else same[0]
        for same in zip(*weights, strict=True)
    ]


def _greedily(model: Any, run: Run, weights: Sequence[list[np.ndarray]], val: Examples, batch_size: int) -> list[int]:
    def score(chosen: Sequence[int]) -> float:
        from tlkit.evaluation import evaluate, headline

        model.set_weights(mean([weights[i] for i in chosen]))
        found = headline(evaluate(model, run.task, val, batch_size=batch_size))
        if found is None:
            raise InputError(f"The task {run.task.name} names no headline score, so soups cannot be compared.")
        return found.merit

    single = [score([i]) for i in range(len(weights))]
    order = sorted(range(len(weights)), key=lambda i: -single[i])
    taken, best = [order[0]], single[order[0]]
    for i in order[1:]:
        tried = score([*taken, i])
        if tried >= best:
            taken, best = [*taken, i], tried
    return taken


def _check(weights: Sequence[Sequence[np.ndarray]]) -> None:
    if len(weights) < 2:
        raise InputError(f"A soup needs two runs or more. Received: {len(weights)}.")
    shapes = [[array.shape for array in own] for own in weights]
    if any(own != shapes[0] for own in shapes):
        raise InputError(
            "The runs' weights differ in shape: a soup is made of runs of one module and one kind of head."
        )
