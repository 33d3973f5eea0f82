"""multitask: several heads on one module, each with its own labels, trained together."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core import multi_targets
from tlkit.core.columns import ArrayColumn, array_of
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.run import Run
from tlkit.core.task import Answer, Decoded, Evaluation, Inference, Objective, Scorer, Task
from tlkit.methods.parts.derived import derived

EQUAL, UNCERTAINTY = "equal", "uncertainty"
LOG_VARIANCES = "log_variances"  # of the raw outputs, what the heads' losses are weighed by; for training alone
TAKEN = (LOG_VARIANCES, "checkpoints", "saved_model", "serving_default", "backbone")

Heads = Mapping[str, Task]


def multitask(*, weighting: str | Mapping[str, float] = EQUAL, **heads: Task) -> Task:
    """Learn several tasks on one module: one forward pass answers all, and each can teach the module for the others.

    Hurts where tasks pull the module apart, and where one has far more labels than another and its loss far more
    weight. A head's loss in a batch is the mean over those of its examples that have a label of its kind, so each head
    has the same say however many labels it has. Data are made by `methods.task_mix`. What balances gradients by their
    size (GradNorm) is left out: a task gives one loss, and its heads' gradients are not told apart.

    Args:
        weighting: "equal", factors of the heads' losses by name, each > 0, or "uncertainty": factors exp(-s) that are
            learned, s/2 being added to the loss for each. With s = log sigma^2 of classes and s = log 2 sigma^2 of
            squared errors these are the paper's eq. 7 and 10 up to a constant.
        **heads: Two tasks or more by name, which take the same features; also what methods made of tasks.

    Returns:
        A task whose outputs, scores ("style_accuracy") and exported signatures go by the heads' names;
        `methods.one_head` gives a run of one head alone.

    Raises:
        InputError: If there are fewer than two heads, they take different features, or `weighting` does not fit.

    Example:
        >>> from tlkit import tasks
        >>> both = multitask(animal=tasks.classify(["cat", "dog"]), weight=tasks.regress(["kg"]))
        >>> [answer.name for answer in both.answers]
        ['animal', 'weight']

    Source: Caruana 1997, "Multitask Learning" (Machine Learning 28); Kendall, Gal and Cipolla 2018, arXiv:1705.07115,
    section 3.
    """
    from tlkit.tasks import recording

    _check_heads(heads)
    factors = _factors(weighting, heads)
    learned = weighting == UNCERTAINTY
    return Task(
        name="multitask",
        made_by=recording.record("tlkit.methods.multitask", {"weighting": weighting, **heads}),
        reads=next(iter(heads.values())).reads,
        head=functools.partial(_outputs, heads, learned),
        objective=Objective(
            loss=lambda: _loss(heads, factors, learned),
            metrics=lambda: _metrics(heads),
            weights=functools.partial(_weights, heads),
            monitor=None if any(task.objective.monitor is None for task in heads.values()) else ("val_loss", "min"),
            check=functools.partial(_check, heads),
        ),
        answers=tuple(_named(name, task.answers[0]) for name, task in heads.items()),
        scorer=functools.partial(HeadScorer, heads),
        begin=_beginning(weighting, heads),
        finish=_finishing(weighting, heads),
        inference=_inference(weighting, heads),
    )


def one_head(run: Run, head: str) -> Run:
    """One head of a trained multi-task run as a run of its own, to be saved, exported and used like any other.

    Args:
        run: Of `multitask`.
        head: Its name.

    Returns:
        A Run of the head's task, with the examples that have a label of its kind; not saved. Of a run opened from its
        folder it has no scores: `load(folder / head)` has them.

    Raises:
        InputError: If the run has no such head.
    """
    import keras

    heads = {inference.name: inference for inference in run.task.inference if inference.name}
    if head not in heads:
        raise InputError(f"The run has no head {head!r}; it has {', '.join(heads) or 'a single one'}.")
    task = heads[head].task
    data = dataclasses.replace(heads[head].data(run.data), labels=task.labels)
    evaluation = None if run.evaluation is None else run.evaluation.parts.get(head)
    model = keras.Model(run.model.input, heads[head].outputs(run.model.output), name=task.name)
    head_run = derived(run, model, method=list(run.task.made_by), head=head)
    return dataclasses.replace(head_run, task=task, data=data, evaluation=evaluation)


# -- what the task is made of


def _named(head: str, answer: Answer) -> Answer:
    """The answer under the head's name; its tensors keep theirs."""
    return dataclasses.replace(answer, name=head, tensors=answer.tensors or (answer.name,))


def _outputs(heads: Heads, learned: bool, features: Any) -> dict[str, Any]:
    """Raw outputs of all heads by name, on the same features."""
    raw = {name: _named_after(name, features, task.head(features)) for name, task in heads.items()}
    if learned:
        from tlkit.methods.parts.losses import LogVariances

        raw[LOG_VARIANCES] = LogVariances(len(heads), name=LOG_VARIANCES)(features)
    return raw


def _named_after(head: str, features: Any, raw: Any) -> Any:
    """A head's raw outputs, its layers called after it: in one model, names must differ."""
    import keras

    for layer in keras.Model(keras.tree.flatten(features), raw).layers:
        if not isinstance(layer, keras.layers.InputLayer):
            layer.name = f"{head}_{layer.name}"
    return raw


def _loss(heads: Heads, factors: Sequence[float], learned: bool) -> Any:
    from tlkit.methods.parts.losses import OfHeads

    losses = {name: task.objective.loss() for name, task in heads.items()}
    return OfHeads(losses, factors, LOG_VARIANCES if learned else None)


def _metrics(heads: Heads) -> list[Any]:
    from tlkit.methods.parts.losses import MetricOf, of_head

    return [
        MetricOf(metric, functools.partial(of_head, name, number), name=f"{name}_{metric.name}")
        for number, (name, task) in enumerate(heads.items())
        for metric in task.objective.metrics()
    ]


def _weights(heads: Heads, column: Column) -> np.ndarray | None:
    """float32 (n, heads): weights of the examples, times those that a head gives its targets; None where all are 1."""
    targets = array_of(column)
    plain = all(task.objective.weights is None for task in heads.values())
    weights = np.stack([targets[name][multi_targets.WEIGHT] for name in heads], axis=1)
    labelled = np.stack([targets[name][multi_targets.KNOWN] for name in heads], axis=1)
    if plain and (weights[labelled] == 1).all():
        return None
    for number, (name, task) in enumerate(heads.items()):
        rows = multi_targets.known(targets, name)
        if task.objective.weights is not None and len(rows):
            head_weights = task.objective.weights(ArrayColumn(targets[name][multi_targets.TARGET][rows]))
            weights[rows, number] *= 1.0 if head_weights is None else head_weights
    return weights


class HeadScorer:
    """Judges each head by the examples that have a label of its kind."""

    def __init__(self, heads: Heads) -> None:
        self.heads, self.task = heads, multitask(weighting=EQUAL, **heads)
        self.scorers: dict[str, Scorer] = {}
        self.counts: dict[str, int] = dict.fromkeys(heads, 0)

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some examples."""
        for answer in self.task.answers:
            rows = multi_targets.known(examples.target_array, answer.name)
            if len(rows):
                scorer = self.scorers.setdefault(answer.name, self.heads[answer.name].scorer())
                head_outputs = {name: values[rows] for name, values in self.task.own(answer, decoded).items()}
                scorer.update(multi_targets.part(examples, answer.name), head_outputs)
                self.counts[answer.name] += len(rows)

    def result(self) -> Evaluation:
        """All heads' scores, each with its head's name in front."""
        parts = {name: self.scorers[name].result() for name in self.heads if name in self.scorers}
        rows = [
            {"name": name, "task": self.heads[name].name, "examples": self.counts[name], **_headline(part)}
            for name, part in parts.items()
        ]
        return Evaluation(
            scores={f"{name}_{key}": value for name, part in parts.items() for key, value in part.scores.items()},
            details={"heads": rows},
            outputs={name: part.outputs for name, part in parts.items()},
            parts=parts,
        )


def _headline(evaluation: Evaluation) -> dict[str, Any]:
    from tlkit.model.evaluate import headline

    main = headline(evaluation)
    return (
        {}
        if main is None
        else {"label": main.label, "value": main.value, "low": main.low, "high": main.high, "unit": main.unit}
    )


def _beginning(
    weighting: str | Mapping[str, float], heads: Heads
) -> Callable[[Splits, Callable[[str], None]], Task] | None:
    if all(task.begin is None for task in heads.values()):
        return None

    def begin(data: Splits, say: Callable[[str], None]) -> Task:
        begun = {name: task.begun(multi_targets.parts(data, name), say) for name, task in heads.items()}
        return multitask(weighting=weighting, **begun)

    return begin


def _finishing(weighting: str | Mapping[str, float], heads: Heads) -> Callable[[Evaluation], Task] | None:
    if all(task.finish is None for task in heads.values()):
        return None

    def finish(evaluation: Evaluation) -> Task:
        finished = {
            name: task.finished(evaluation.parts[name]) if name in evaluation.parts else task
            for name, task in heads.items()
        }
        return multitask(weighting=weighting, **finished)

    return finish


# -- what remains


def _inference(weighting: str | Mapping[str, float], heads: Heads) -> tuple[Inference, ...]:
    """Without what methods added to the heads, and without weights of losses that are learned; then head by head."""
    methods = {name: task.remains for name, task in heads.items() if task.remains is not None}
    if methods or weighting == UNCERTAINTY:
        return (_without_methods(methods, heads),)
    return tuple(
        Inference(task, functools.partial(_of_head, name), functools.partial(multi_targets.parts, head=name), name=name)
        for name, task in heads.items()
    )


def _of_head(head: str, raw: Mapping[str, Any]) -> Any:
    return raw[head]


def _without_methods(methods: Mapping[str, Inference], heads: Heads) -> Inference:
    plain = {name: methods[name].task if name in methods else task for name, task in heads.items()}

    def outputs(raw: Mapping[str, Any]) -> dict[str, Any]:
        return {name: methods[name].outputs(raw[name]) if name in methods else raw[name] for name in heads}

    def scores(model: Any, trained: Splits, data: Splits) -> dict[str, float]:
        import keras

        all_scores: dict[str, float] = {}
        for name, remains in methods.items():
            if remains.scores is not None:
                head = keras.Model(model.input, model.output[name])
                head_scores = remains.scores(head, multi_targets.parts(trained, name), multi_targets.parts(data, name))
                all_scores |= {f"{name}_{key}": value for key, value in head_scores.items()}
        return all_scores

    return Inference(multitask(weighting=EQUAL, **plain), outputs, functools.partial(_remaining_data, methods), scores)


def _remaining_data(methods: Mapping[str, Inference], data: Splits) -> Splits:
    from tlkit.methods.task_mixing import task_mix

    if not methods:
        return data
    by_head = {name: multi_targets.parts(data, name) for name in data.heads}
    mixed = task_mix(**{n: methods[n].data(part) if n in methods else part for n, part in by_head.items()})
    return dataclasses.replace(mixed, notes=data.notes, seconds=data.seconds)


# -- checks


def _check_heads(heads: Heads) -> None:
    if len(heads) < 2:
        raise InputError(
            f"`multitask` needs two heads or more: multitask(a=..., b=...). Received: {', '.join(heads) or 'none'}."
        )
    wrong = [name for name, task in heads.items() if not isinstance(task, Task)]
    if wrong:
        raise InputError(f"Each head of `multitask` must be a Task. Received: {wrong[0]}={heads[wrong[0]]!r}.")
    reserved = [name for name in heads if name in TAKEN or not name.isidentifier()]
    if reserved:
        raise InputError(
            f"A head cannot be called {reserved[0]!r}: a head names a folder, an output and a signature of the run. "
            "Choose another word of letters, digits and _."
        )
    nested = [name for name, task in heads.items() if len(task.answers) > 1]
    if nested:
        raise InputError(f"The head {nested[0]!r} is several tasks itself: give all heads to one `multitask`.")
    deployed = [name for name, task in heads.items() if task.deployment is not None]
    if deployed:
        raise InputError(
            f"The head {deployed[0]!r} is used by other functions than it is trained with, so it cannot be one of "
            "several heads: train it by itself."
        )
    if len({task.reads.name for task in heads.values()}) > 1:
        listed = ", ".join(f"{name} reads {task.reads.name}" for name, task in heads.items())
        raise InputError(f"All heads must take the same features of the module; {listed}.")


def _factors(weighting: str | Mapping[str, float], heads: Heads) -> tuple[float, ...]:
    if isinstance(weighting, str):
        if weighting not in (EQUAL, UNCERTAINTY):
            raise InputError(
                f'`weighting` must be "{EQUAL}", "{UNCERTAINTY}" or a factor for each head. Received: {weighting!r}.'
            )
        return (1.0,) * len(heads)
    if set(weighting) != set(heads):
        raise InputError(
            f"`weighting` must name the heads, {', '.join(heads)}. Received: {', '.join(weighting) or 'none'}."
        )
    wrong = [name for name, factor in weighting.items() if not (factor > 0 and math.isfinite(factor))]
    if wrong:
        raise InputError(f"Each factor of `weighting` must be positive. Received: {wrong[0]}={weighting[wrong[0]]!r}.")
    return tuple(float(weighting[name]) for name in heads)


def _check(heads: Heads, data: Splits) -> None:
    data_heads = set(multi_targets.heads_of(data.train.target_array))
    if data_heads != set(heads):
        description = f"of {', '.join(sorted(data_heads))}" if data_heads else "of one task"
        raise InputError(
            f"The data are {description}, and the heads are {', '.join(heads)}: make them with "
            f"tlkit.methods.task_mix({', '.join(f'{name}=...' for name in heads)})."
        )
    for name, task in heads.items():
        try:
            task.objective.check(multi_targets.parts(data, name))
        except InputError as error:
            raise InputError(f"Head {name!r}: {error}") from None
