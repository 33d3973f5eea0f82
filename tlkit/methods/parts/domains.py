"""What methods of domain adaptation share: a task over two domains, and a penalty on its outputs while it trains."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, array_of
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.task import Inference, Objective, Task
from tlkit.layer.reads import pooled
from tlkit.methods import mixing
from tlkit.methods.parts import selection

FEWEST = 10  # examples of the source's validation, and of the target, from which an accuracy is foretold
PROBABILITIES = "probabilities"  # what `classify` decodes
OUTPUTS = "outputs"  # of the raw outputs, what the task itself reads

Raw = Mapping[str, Any]
Extras = Callable[[Any, Any], Raw]  # (what enters the head's last layer, the head's outputs) -> further outputs
Penalty = Callable[[Raw, Any], Any]  # (raw outputs, domains (batch,)) -> a scalar that is added to the loss


def penalized(
    task: Task, method: str, arguments: Mapping[str, Any], *, penalty: Penalty, extras: Extras | None = None
) -> Task:
    """A task whose loss is its own on the source's examples, plus a penalty on both domains.

    Args:
        task: A task on one vector an example (`classify`, `regress`), or one that a method of this kind has made.
        method: Name of the method, `dann`.
        arguments: What it was called with, `task` included.
        penalty: What is added to the loss of each batch.
        extras: Outputs that the penalty needs besides the task's own.
    """
    from tlkit.tasks import recording

    mixed = task if _reads_domains(task) else _on_domains(task)

    def head(features: Any) -> Raw:
        raw = mixed.head(features)
        return raw if extras is None else {**raw, **extras(_entering(raw[OUTPUTS]), raw[OUTPUTS])}

    def loss() -> Any:
        from tlkit.methods.parts.losses import Penalized

        return Penalized(mixed.objective.loss(), penalty)

    def begin(splits: Splits, say: Callable[[str], None]) -> Task:
        inside = splits if _reads_domains(task) else mixing.source_only(splits)
        prepared = task.begun(inside, say)
        return penalized(prepared, method, {**arguments, "task": prepared}, penalty=penalty, extras=extras)

    return dataclasses.replace(
        mixed,
        head=head,
        objective=dataclasses.replace(mixed.objective, loss=loss),
        begin=None if task.begin is None else begin,
        made_by=recording.record(f"tlkit.methods.{method}", arguments),
    )


def check_classes(task: Task, method: str) -> None:
    """Refuse a task whose outputs are not one probability a class.

    Raises:
        InputError: If they are not.
    """
    if not gives_one_label(task):
        raise InputError(f"`{method}` needs a `classify` of one label an example. Received: {task.name}.")


def gives_one_label(task: Task) -> bool:
    """Whether the task, or the one that methods were put around, is a `classify` of one label an example."""
    path, arguments = innermost(task).made_by
    return path == "tlkit.tasks.classify" and not arguments["multi_label"]


def innermost(task: Task) -> Task:
    """The task that methods were put around."""
    return task if task.remains is None else innermost(task.remains.task)


def _reads_domains(task: Task) -> bool:
    return task.remains is not None and task.remains.data is mixing.source_only


def _on_domains(task: Task) -> Task:
    """The task over targets whose last column is the domain: only the source has labels."""
    _check_task(task)
    answer = task.answers[0]
    return dataclasses.replace(
        task,
        head=lambda features: {OUTPUTS: task.head(features)},
        objective=Objective(
            loss=lambda: _source_loss(task),
            metrics=lambda: _source_metrics(task),
            weights=None if task.objective.weights is None else lambda targets: _weights(task, targets),
            monitor=None,
            check=lambda splits: _check(task, splits),
        ),
        answers=(dataclasses.replace(answer, decode=lambda raw: answer.decode(raw[OUTPUTS])),),
        inference=(Inference(task, lambda raw: raw[OUTPUTS], mixing.source_only, _label_free(task)),),
    )


def _label_free(task: Task) -> Callable[[Any, Splits, Splits], Mapping[str, float]] | None:
    """Scores of predictions on the target without its labels, of tasks with one probability a class."""
    if not gives_one_label(task):
        return None

    def scores(model: Any, mixed: Splits, data: Splits) -> dict[str, float]:
        from tlkit.model.evaluate import decoded_outputs

        target = mixing.of_target(mixed)
        estimates = selection.label_free(decoded_outputs(model, task, target)[PROBABILITIES])
        enough = min(len(data.val), len(target)) >= FEWEST
        return estimates | _foretold(model, task, data.val, target) if enough else estimates

    return scores


def _foretold(model: Any, task: Task, val: Examples, target: Examples) -> dict[str, float]:
    """Accuracy on the target, told by the source's validation examples and the densities of the features."""
    import keras

    from tlkit.model.evaluate import decoded_outputs, raw_outputs

    entering = keras.Model(model.input, _entering(model.output))
    source_features, target_features = (raw_outputs(entering, part) for part in (val, target))
    right = decoded_outputs(model, task, val)[PROBABILITIES].argmax(axis=1) == val.target_array
    return selection.estimated(right, source_features, target_features)


def _source_loss(task: Task) -> Any:
    from tlkit.methods.parts.losses import OnSource

    return OnSource(task.objective.loss(), OUTPUTS)


def _source_metrics(task: Task) -> list[Any]:
    from tlkit.methods.parts.losses import MetricOf, on_source

    return [MetricOf(metric, functools.partial(on_source, OUTPUTS)) for metric in task.objective.metrics()]


def _weights(task: Task, column: Column) -> np.ndarray | None:
    """Weights by target of the source's examples; those of the target count 1."""
    assert task.objective.weights is not None
    targets = array_of(column)
    rows = targets[:, -1] == mixing.SOURCE
    weights, source_weights = (
        np.ones(len(targets), np.float32),
        task.objective.weights(ArrayColumn(mixing.labels_of(targets[rows]))),
    )
    if source_weights is None:
        return None
    weights[rows] = source_weights
    return weights


def _check_task(task: Task) -> None:
    if task.reads.name != pooled().name or task.finish is not None or len(task.answers) > 1:
        raise InputError(
            f"Domain adaptation needs a task with labels on one vector an example, such as `classify` or `regress`; of "
            f"several heads give it the one that has two domains. Received: {task.name}."
        )


def _check(task: Task, splits: Splits) -> None:
    for name, examples in (("training", splits.train), ("validation", splits.val)):
        if len(examples) and not _mixed(examples):
            raise InputError(
                f"The {name} examples are of one domain: mix two with tlkit.methods.domain_mix(source, target)."
            )
    task.objective.check(mixing.source_only(splits))


def _mixed(examples: Examples) -> bool:
    targets = examples.target_array
    return targets.ndim == 2 and targets.shape[1] > 1 and bool(np.isin(targets[:, -1], (0, 1)).all())


def _entering(outputs: Any) -> Any:
    """What enters the last layer of a head, before dropout: what methods align."""
    import keras

    _, entered = _last(outputs)
    while isinstance(_last(entered)[0], keras.layers.Dropout):
        _, entered = _last(entered)
    return entered


def _last(tensor: Any) -> tuple[Any, Any]:
    """The layer that gave a Keras tensor, and what it took; None where it took nothing."""
    history = tensor._keras_history  # what Keras' own functional models are found by
    inputs = history.operation._inbound_nodes[history.node_index].input_tensors
    return history.operation, inputs[0] if inputs else None
