"""Classification: one label an example, or several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.scores import scores
from tlkit.core.columns import array_of
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.task import Objective, Task
from tlkit.layer import reads
from tlkit.tasks import classification_scores as measures
from tlkit.tasks import heads, recording
from tlkit.tasks.gathering import gathered
from tlkit.tasks.split_checks import check_labels, check_training, listed, named_splits

if TYPE_CHECKING:
    import keras

MONITORS = {"val_loss": "min", "val_accuracy": "max"}


def classify(
    labels: Sequence[str],
    hidden: Sequence[int] = (),
    dropout: float = 0.2,
    activation: str = "relu",
    l2: float = 0.0,
    *,
    normalize: bool = False,
    label_smoothing: float = 0.0,
    class_weights: str | Mapping[str, float] | None = None,
    focal_gamma: float | None = None,
    multi_label: bool = False,
    head: Callable[[Any], Any] | None = None,
    monitor: str = "val_loss",
) -> Task:
    """Say which label an example has, or with `multi_label` which of them.

    Raw outputs are one logit a label, two for two classes: a softmax over one unit learns nothing. Targets are int32
    (n,) class numbers, or float32 (n, k) of 0 and 1 with `multi_label`, which then decodes by a sigmoid.

    Args:
        labels: Name of each output, in the order of the targets' numbers.
        hidden: Widths of dense layers between features and outputs.
        dropout: Share of features dropped before each dense layer, in [0, 1).
        activation: Activation of the hidden layers.
        l2: Factor of the squared weights of the head in the loss, >= 0.
        normalize: Whether features are brought to mean 0 and deviation 1 first, by the training examples: for modules
            whose features are far from that, such as those of sounds.
        label_smoothing: Share of each target spread over all classes, in [0, 1).
        class_weights: Weight of each class in the loss: None, "balanced" (n / (k * count)), or label -> weight, where
            a label left out weighs 1. Not with `multi_label`.
        focal_gamma: Focus on hard examples by this power, > 0 (2 in the paper), or None for cross-entropy.
        multi_label: Whether an example has any number of labels rather than exactly one.
        head: Your own head in place of the dense stack: features (batch, d) -> logits (batch, len(labels)). The
            run's record keeps its import path, so a lambda or a function of a notebook makes a run that opens and
            exports, but whose model `build` can make again only from a task that you pass anew.
        monitor: Figure that chooses the best weights: "val_loss" or "val_accuracy".

    Returns:
        A task for `build`, `fit`, `finetune`.

    Raises:
        InputError: If an argument is out of its range, or labels are too few or repeat.

    Example:
        >>> classify(["cat", "dog"], hidden=[128], class_weights="balanced").labels
        ('cat', 'dog')
    """
    names = tuple(str(label) for label in labels)
    recipe = recording.record(
        "tlkit.tasks.classify",
        {
            "labels": names, "hidden": hidden, "dropout": dropout, "activation": activation, "l2": l2,
            "normalize": normalize, "label_smoothing": label_smoothing, "class_weights": class_weights,
            "focal_gamma": focal_gamma, "multi_label": multi_label, "head": head,
            "monitor": monitor,
        },
    )  # fmt: skip
    _check_labels(names, multi_label)
    heads.check_stack(hidden, dropout, l2)
    _check_options(label_smoothing, focal_gamma, monitor)
    stack = functools.partial(
        heads.dense_stack, outputs=len(names), hidden=tuple(hidden), dropout=dropout, activation=activation, l2=l2,
        normalize=normalize,
    )  # fmt: skip
    answer = scores(names, several=multi_label)
    return Task(
        name="classify",
        made_by=recipe,
        reads=reads.pooled(),
        head=functools.partial(heads.own_head, head=head, outputs=len(names)) if head else stack,
        objective=Objective(
            loss=functools.partial(_loss, multi_label, label_smoothing, focal_gamma or 0.0),
            metrics=functools.partial(_metrics, multi_label),
            weights=_weighting(names, class_weights, multi_label),
            monitor=(monitor, MONITORS[monitor]),
            check=functools.partial(_check_several if multi_label else _check_one, names),
        ),
        answers=(answer,),
        scorer=gathered(
            functools.partial(measures.multi_label if multi_label else measures.single_label, names), answer.name
        ),
    )


def balanced_weights(targets: np.ndarray, num_classes: int) -> np.ndarray:
    """float32 (k,) weights that give every class the same say: n / (k * count); a class without examples weighs 0."""
    counts = np.bincount(targets, minlength=num_classes)
    weights = len(targets) / (num_classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0).astype(np.float32)


def _loss(multi_label: bool, smoothing: float, gamma: float) -> keras.losses.Loss:
    import keras

    from tlkit.tasks import losses

    if multi_label:
        plain = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
        return losses.BinaryFocal(gamma, smoothing) if gamma else plain
    if gamma or smoothing:
        return losses.SparseFocal(gamma, smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _metrics(multi_label: bool) -> list[keras.metrics.Metric]:
    import keras

    from tlkit.tasks import losses

    if multi_label:
        return [keras.metrics.MeanMetricWrapper(losses.label_accuracy, name="accuracy")]
    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]


def _weighting(
    labels: tuple[str, ...], class_weights: str | Mapping[str, float] | None, multi_label: bool
) -> Callable[[Column], np.ndarray] | None:
    if class_weights is None:
        return None
    if multi_label:
        raise InputError("`class_weights` weighs examples by their one label: leave it out with `multi_label=True`.")
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise InputError(f'`class_weights` must be None, "balanced" or a mapping. Received: {class_weights!r}.')
        return lambda targets: balanced_weights(array_of(targets), len(labels))[array_of(targets)]
    unknown = sorted(set(class_weights) - set(labels))
    if unknown:
        raise InputError(f"`class_weights` names labels that the task does not have: {listed(unknown)}.")
    if any(not 0 <= weight < float("inf") for weight in class_weights.values()):
        raise InputError(f"`class_weights` must be finite and 0 or more. Received: {dict(class_weights)!r}.")
    table = np.asarray([class_weights.get(label, 1.0) for label in labels], dtype=np.float32)
    return lambda targets: table[array_of(targets)]


def _check_labels(labels: tuple[str, ...], multi_label: bool) -> None:
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise InputError(f"Labels must differ from each other, but these repeat: {listed(repeated)}.")
    least = 1 if multi_label else 2
    if len(labels) < least:
        raise InputError(
            f"Classification needs at least {least} label{'s' if least > 1 else ''}: with a single class there is "
            f"nothing to tell apart. Received: labels={list(labels)!r}. (Targets that are floats are numbers to "
            "predict; for classes make them whole numbers, `.astype(int)`.)"
        )


def _check_options(label_smoothing: float, focal_gamma: float | None, monitor: str) -> None:
    if not 0 <= label_smoothing < 1:
        raise InputError(f"`label_smoothing` must lie in [0, 1). Received: label_smoothing={label_smoothing!r}.")
    if focal_gamma is not None and focal_gamma <= 0:
        raise InputError(f"`focal_gamma` must be positive or None. Received: focal_gamma={focal_gamma!r}.")
    if monitor not in MONITORS:
        raise InputError(f"`monitor` must be one of {', '.join(MONITORS)}. Received: monitor={monitor!r}.")


def _check_one(labels: tuple[str, ...], splits: Splits) -> None:
    _check_common(labels, splits)
    for name, examples in named_splits(splits):
        _check_numbers(labels, name, examples)
    missing = [labels[i] for i in np.flatnonzero(np.bincount(splits.train.target_array, minlength=len(labels)) == 0)]
    if missing:
        raise InputError(f"The training split has no example of {listed(missing)}: add some, or leave the label out.")


def _check_several(labels: tuple[str, ...], splits: Splits) -> None:
    _check_common(labels, splits)
    for name, examples in named_splits(splits):
        targets = examples.target_array
        if targets.ndim != 2 or targets.shape[1] != len(labels):
            raise InputError(
                f"With `multi_label=True` the {name} targets must be (n, {len(labels)}) of 0 and 1, one column a "
                f"label. Received: shape={targets.shape}."
            )
        if not np.isin(targets, (0, 1)).all():
            raise InputError(f"The {name} targets of a multi-label task must be 0 or 1 everywhere.")
    never = [labels[i] for i in np.flatnonzero(splits.train.target_array.sum(axis=0) == 0)]
    if never:
        raise InputError(f"No training example has the label {listed(never)}: add some, or leave the label out.")


def _check_common(labels: tuple[str, ...], splits: Splits) -> None:
    check_labels(labels, splits, "classify")
    check_training(splits)


def _check_numbers(labels: tuple[str, ...], name: str, examples: Examples) -> None:
    targets = examples.target_array
    if targets.ndim == 2 and targets.shape[1] > 1 and np.isin(targets, (0, 1)).all():
        raise InputError(_said_of_columns(name, targets))
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        raise InputError(
            f"The {name} targets must be whole class numbers (n,): make floats that number classes whole, "
            "`.astype(int)`, and predict other numbers by `tasks.regress`. "
            f"Received: dtype={targets.dtype}, shape={targets.shape}."
        )
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < len(labels):
        wrong = int(np.flatnonzero((targets < 0) | (targets >= len(labels)))[0])
        raise InputError(
            f"The task has {len(labels)} labels, so targets must lie in [0, {len(labels) - 1}]. "
            f"Received: {int(targets[wrong])} for `{examples.ids[wrong]}` of the {name} split."
        )


def _said_of_columns(name: str, targets: np.ndarray) -> str:
    if (targets.sum(axis=1) == 1).all():
        return (
            f"The {name} targets hold exactly one 1 in each row, one column a class: give class numbers, "
            f"`targets.argmax(axis=1)`. Received: shape={targets.shape}."
        )
    return (
        f"The {name} targets hold several labels an example: use `classify(labels, multi_label=True)`. "
        f"Received: shape={targets.shape}."
    )
