"""Distillation: a large model's answers as further targets for one that fits on a phone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tlkit.core.checks import check_positive
from tlkit.core.columns import ArrayColumn, array_of
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.run import Run
from tlkit.core.task import Inference, Task
from tlkit.data.collection import joined
from tlkit.methods.parts.domains import check_classes, gives_one_label, innermost


def taught(
    splits: Splits, teacher: Run, *, unlabelled: Examples | None = None, length: int | None = None, batch_size: int = 32
) -> Splits:
    """Splits whose training and validation targets hold the teacher's logits behind the class number.

    The teacher answers once, whatever the number of epochs; the examples stay as the student will read them. Where
    they have an `augment`, the student sees changed examples while the teacher answered for them as they are.
    Examples without labels can be added, for which the teacher answers alone; they may be all that there are.

    Args:
        splits: Class numbers as targets, labels as the teacher's.
        teacher: A run of `tasks.classify` of one label an example over the same labels; it may read the examples
            another way (word pieces of the same texts, images at another size).
        unlabelled: Further training examples, read as those of `splits`; the teacher's choice stands for their labels,
            which are not looked at.
        length: Word pieces of a text for the teacher; None is as many as it was trained with.
        batch_size: Examples at a time.

    Returns:
        Splits with float32 (n, 1 + k) targets, for `methods.distill`; the test examples keep theirs.

    Raises:
        InputError: If the teacher is of another task, targets are no class numbers, labels differ, examples without
            labels are read another way, or the teacher cannot read them.

    Source: Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2 (the transfer set may be unlabelled).
    """
    from tlkit.modalities.prepare import prepare_like
    from tlkit.model.evaluate import raw_outputs

    _check_class_numbers(splits)
    _check_teacher(teacher.task)
    if splits.labels and splits.labels != teacher.task.labels:
        raise InputError(
            f"The teacher knows {', '.join(teacher.task.labels)}, and the data have {', '.join(splits.labels)}: both "
            "must have the same labels in the same order."
        )
    if unlabelled is not None:
        _check_alike(unlabelled, splits)

    def with_answers(examples: Examples, teacher_inputs: Examples) -> Examples:
        if not len(examples):
            return examples
        answers = raw_outputs(teacher.model, teacher_inputs, batch_size=batch_size)
        return dataclasses.replace(examples, targets=ArrayColumn(_behind(examples.target_array, answers)))

    for_teacher = prepare_like(splits, teacher, length=length)
    train, val = with_answers(splits.train, for_teacher.train), with_answers(splits.val, for_teacher.val)
    if unlabelled is not None and len(unlabelled):
        nothing = unlabelled.subset([])
        prepared = prepare_like(Splits(unlabelled, nothing, nothing), teacher, length=length).train
        logits = raw_outputs(teacher.model, prepared, batch_size=batch_size)
        train = _with_unlabelled(train, unlabelled, _behind(logits.argmax(axis=1), logits))
    return dataclasses.replace(splits, train=train, val=val)


def _with_unlabelled(train: Examples, unlabelled: Examples, targets: np.ndarray) -> Examples:
    """Examples with answers, and behind them others with theirs."""
    if not len(train):
        return dataclasses.replace(
            unlabelled, targets=ArrayColumn(targets), augment=unlabelled.augment or train.augment
        )
    return joined({"labelled": train, "unlabelled": unlabelled}, np.concatenate([train.target_array, targets]))


def _check_teacher(task: Task) -> None:
    if not gives_one_label(task):
        several = innermost(task).made_by[1].get("multi_label")
        raise InputError(
            "The teacher must be a `classify` of one label an example, as its logits are taken for shares of one "
            f"whole. Received: {task.name}{' with multi_label=True' if several else ''}."
        )


def _behind(classes: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """float32 (n, 1 + k): class numbers, and the logits behind them."""
    return np.concatenate([classes[:, None], logits], axis=1, dtype=np.float32)


def _check_class_numbers(splits: Splits) -> None:
    for name, part in (("training", splits.train), ("validation", splits.val)):
        if len(part) and (part.target_array.ndim != 1 or part.target_array.dtype.kind not in "iu"):
            raise InputError(
                f"`taught` takes class numbers as {name} targets, so it comes first: domain_mix(taught(source, "
                f"teacher), target). Received: targets of shape {part.target_array.shape}, {part.target_array.dtype}."
            )


def _check_alike(unlabelled: Examples, splits: Splits) -> None:
    if unlabelled.inputs.spec != splits.train.inputs.spec:
        raise InputError(
            f"Examples without labels must be read as those with, and differ: {unlabelled.inputs.spec} and "
            f"{splits.train.inputs.spec}."
        )


def distill(task: Task, *, temperature: float = 2.0, weight: float = 0.5) -> Task:
    """Learn from the labels and from how a teacher weighs all classes against each other.

    Helps where the student has few labelled examples or is much smaller; a teacher that is hardly better than the
    student has little to tell. Data are made by `methods.taught`.

    Args:
        task: A `classify` of one label an example, as no other method has made it: methods go around `distill`.
        temperature: Both logits are divided by it, > 0; above 1 the small probabilities count for more.
        weight: Of the teacher's part in the loss, in (0, 1]; the labels have the rest.

    Returns:
        A task; of the run that `fit` gives, nothing of the teacher is part.

    Raises:
        InputError: If an argument is out of its range, or the task is of another kind.

    Example:
        >>> from tlkit import tasks
        >>> distill(tasks.classify(["cat", "dog"]), temperature=4.0).labels
        ('cat', 'dog')

    Source: Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2 (gradients times the squared temperature).
    """
    from tlkit.tasks import recording

    check_positive(temperature=temperature)
    if not 0 < weight <= 1:
        raise InputError(f"`weight` must lie in (0, 1]. Received: weight={weight!r}.")
    check_classes(task, "distill")
    if task.remains is not None:
        name = task.made_by[0].rpartition(".")[2]
        raise InputError(f"`distill` comes first: {name}(distill(task)) instead of distill({name}(task)).")

    def loss() -> Any:
        from tlkit.methods.parts.losses import Taught

        return Taught(task.objective.loss(), temperature, weight)

    weigh = task.objective.weights
    return dataclasses.replace(
        task,
        objective=dataclasses.replace(
            task.objective,
            loss=loss,
            metrics=lambda: _metrics(task),
            weights=None if weigh is None else lambda targets: weigh(_class_numbers(targets)),
            check=lambda splits: _check(task, splits),
        ),
        inference=(Inference(task, lambda raw: raw, untaught),),
        made_by=recording.record("tlkit.methods.distill", {"task": task, "temperature": temperature, "weight": weight}),
    )


def _class_numbers(targets: Column) -> Column:
    """The class numbers, in front of the teacher's answers."""
    return ArrayColumn(array_of(targets)[:, 0].astype(np.int32))


def untaught(splits: Splits) -> Splits:
    """The splits without the teacher's answers."""
    return dataclasses.replace(splits, train=_of_labels(splits.train), val=_of_labels(splits.val))


def _of_labels(examples: Examples) -> Examples:
    if examples.target_array.ndim == 1:
        return examples
    return dataclasses.replace(examples, targets=ArrayColumn(examples.target_array[:, 0].astype(np.int32)))


def _metrics(task: Task) -> list[Any]:
    from tlkit.methods.parts.losses import MetricOf, of_labels

    return [MetricOf(metric, of_labels) for metric in task.objective.metrics()]


def _check(task: Task, splits: Splits) -> None:
    columns = 1 + len(task.labels)
    for name, part in (("training", splits.train), ("validation", splits.val)):
        if len(part) and part.target_array.shape[1:] != (columns,):
            raise InputError(
                f"The {name} targets hold no teacher's answers: make them with tlkit.methods.taught(splits, teacher). "
                f"Received: shape={part.target_array.shape}, expected (n, {columns})."
            )
    task.objective.check(untaught(splits))
