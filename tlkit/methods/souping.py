"""Model soups: the average of the weights of several fine-tuned models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.run import Run
from tlkit.core.task import Task

TRAINING = (  # arguments of tasks that answers do not depend on
    "dropout", "l2", "label_smoothing", "class_weights", "focal_gamma", "monitor", "loss", "margin", "scale",
    "weighting",
)  # fmt: skip
DECIDED = ("threshold",)  # what a task leaves to the validation examples
KEPT = ("batch_size", "module", "input_range", "data", "versions", "machine", "threads")  # of a record


def soup(runs: Sequence[Run], *, greedy: Examples | None = None, batch_size: int = 32) -> Run:
    """One model whose weights are the mean of several that were tuned from the same module.

    It costs nothing when it is used, unlike an ensemble. It works where runs began with the same weights, the head's
    included, and differ in the order of examples, rates or augmentation; of models that began apart the mean is none.

    Args:
        runs: At least two, of one module and one task; the tasks may differ in what concerns training alone, such as
            dropout.
        greedy: Labelled validation examples. Runs are then tried from the best to the worst on them, and one is taken
            in only where it does not make the mean worse. None takes all.
        batch_size: Examples at a time when `greedy` judges.

    Returns:
        A run with a model of its own and the first run's data, not evaluated yet. Its record holds what all runs share,
            and no phases, seconds or scores. A threshold that each run found on its own is found anew on the first
            run's validation examples; without any there is none.

    Raises:
        InputError: If there are fewer than two runs, their weights differ in shape, their tasks in labels or in another
            part of what they answer, or the task has no headline score.

    Source: Wortsman et al. 2022, arXiv:2203.05482, recipe 1 (greedy) and eq. of the uniform soup.
    """
    import keras

    weights = [run.model.get_weights() for run in runs]
    _check(weights)
    _check_tasks([run.task for run in runs])
    model = keras.models.clone_model(runs[0].model)
    chosen = list(range(len(runs)))
    if greedy is not None:
        chosen = _greedily(model, runs[0], weights, greedy, batch_size)
    model.set_weights(mean([weights[i] for i in chosen]))
    task = _decided_anew(runs, model, batch_size)
    return Run(model=model, task=task, data=runs[0].data, record=_record(runs, chosen))


def mean(weights: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Mean of each array over the models; whole numbers (states of generators) are the first model's.

    Example:
        >>> mean([[np.array([1.0, 2.0])], [np.array([3.0, 2.0])]])[0].tolist()
        [2.0, 2.0]
    """
    return [
        np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype) if arrays[0].dtype.kind == "f" else arrays[0]
        for arrays in zip(*weights, strict=True)
    ]


def _greedily(model: Any, run: Run, weights: Sequence[list[np.ndarray]], val: Examples, batch_size: int) -> list[int]:
    def score(chosen: Sequence[int]) -> float:
        from tlkit.model.evaluate import evaluate, headline

        model.set_weights(mean([weights[i] for i in chosen]))
        figure = headline(evaluate(model, run.task, val, batch_size=batch_size))
        if figure is None:
            raise InputError(f"The task {run.task.name} names no headline score, so soups cannot be compared.")
        return figure.merit

    single = [score([i]) for i in range(len(weights))]
    order = sorted(range(len(weights)), key=lambda i: -single[i])
    members, best = [order[0]], single[order[0]]
    for i in order[1:]:
        tried = score([*members, i])
        if tried >= best:
            members, best = [*members, i], tried
    return members


def _check(weights: Sequence[Sequence[np.ndarray]]) -> None:
    if len(weights) < 2:
        raise InputError(f"A soup needs two runs or more. Received: {len(weights)}.")
    shapes = [[array.shape for array in run_weights] for run_weights in weights]
    if any(run_shapes != shapes[0] for run_shapes in shapes):
        raise InputError(
            "The runs' weights differ in shape: a soup is made of runs of one module and one kind of head."
        )


def _check_tasks(tasks: Sequence[Task]) -> None:
    labels = [[answer.labels for answer in task.answers] for task in tasks]
    if any(run_labels != labels[0] for run_labels in labels):
        raise InputError(
            "The runs' labels differ or stand in another order, so their outputs mean different things: a soup is made "
            "of runs of one task."
        )
    recipes = [_without(task.made_by, (*TRAINING, *DECIDED)) for task in tasks]
    if any(recipe != recipes[0] for recipe in recipes):
        raise InputError(
            "The runs' tasks differ in what they answer: a soup is made of runs of one task. "
            f"Received: {', '.join(dict.fromkeys(map(repr, recipes)))}."
        )


def _without(recipe: Sequence[Any], names: Collection[str]) -> tuple[str, dict[str, Any]]:
    """A task's recipe without some arguments, also of the tasks in it."""
    path, arguments = recipe
    return path, {name: _inner(value, names) for name, value in arguments.items() if name not in names}


def _inner(value: Any, names: Collection[str]) -> Any:
    if isinstance(value, Mapping) and set(value) == {"recipe"}:
        return {"recipe": _without(value["recipe"], names)}
    return list(value) if isinstance(value, tuple) else value  # as JSON gives it back


def _decided_anew(runs: Sequence[Run], model: Any, batch_size: int) -> Task:
    """The runs' task; what each run decided for itself is decided by the validation examples, if there are any."""
    from tlkit.model.evaluate import evaluate
    from tlkit.tasks import restore

    task, val = runs[0].task, runs[0].data.val
    recipes = [_without(run.task.made_by, TRAINING) for run in runs]
    if all(recipe == recipes[0] for recipe in recipes):
        return task
    task = restore(_without(task.made_by, DECIDED))
    if task.finish is None or not len(val):
        return task
    return task.finished(evaluate(model, task, val, batch_size=batch_size))


def _record(runs: Sequence[Run], chosen: Sequence[int]) -> dict[str, Any]:
    """What is true of the soup; the command, the phases, the scores and the exports are those of single runs."""
    first = runs[0].record
    seeds = [run.record.get("seed") for run in runs]
    method = ["tlkit.methods.soup", {"runs": len(runs), "taken": list(chosen), "seeds": seeds}]
    return {**{key: first[key] for key in KEPT if key in first}, "method": method}
