"""multitask: several heads on one module, each with its own labels, trained together."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core import excerpts, multi_targets
from tlkit.core.columns import ArrayColumn, array_of
from tlkit.core.errors import InputError
from tlkit.core.examples import Column, Examples, Splits
from tlkit.core.run import Run
from tlkit.core.task import Evaluation, Objective, Served, Task
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
        >>> list(both.heads)
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
        labels=(),
        head=functools.partial(_outputs, heads, learned),
        objective=Objective(
            loss=lambda: _loss(heads, factors, learned),
            metrics=lambda: _metrics(heads),
            weights=functools.partial(_weights, heads),
            monitor=None if any(task.objective.monitor is None for task in heads.values()) else ("val_loss", "min"),
            check=functools.partial(_check, heads),
        ),
        decode=lambda raw: {name: task.decode(raw[name]) for name, task in heads.items()},
        evaluate=functools.partial(_evaluated, heads),
        takes=next(iter(heads.values())).takes,
        begin=_preparation(weighting, heads),
        calibrate=_calibration(weighting, heads),
        served=_served(weighting, heads),
        heads=dict(heads),
        made_by=recording.record("tlkit.methods.multitask", {"weighting": weighting, **heads}),
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

    if head not in run.task.heads:
        raise InputError(f"The run has no head {head!r}; it has {', '.join(run.task.heads) or 'a single one'}.")
    task = run.task.heads[head]
    data = dataclasses.replace(multi_targets.parts(run.data, head), labels=task.labels)
    evaluation = None
    if run.evaluation is not None and len(data.test):
        rows = multi_targets.known(excerpts.whole(run.data.test).target_array, head)
        evaluation = task.evaluate(excerpts.whole(data.test), run.evaluation.outputs[head][rows])
    model = keras.Model(run.model.input, run.model.output[head], name=task.name)
    own = derived(run, model, method=list(run.task.made_by), head=head)
    return dataclasses.replace(own, task=task, data=data, evaluation=evaluation)


# -- what the task is made of


def _outputs(heads: Heads, learned: bool, features: Any) -> dict[str, Any]:
    """Raw outputs of all heads by name, on the same features."""
    found = {name: _named_after(name, features, task.head(features)) for name, task in heads.items()}
    if learned:
        from tlkit.methods.parts.losses import LogVariances

        found[LOG_VARIANCES] = LogVariances(len(heads), name=LOG_VARIANCES)(features)
    return found


def _named_after(head: str, features: Any, raw: Any) -> Any:
    """A head's raw outputs, its layers called after it: in one model, names must differ."""
    import keras

    for layer in keras.Model(features, raw).layers:
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
    known = np.stack([targets[name][multi_targets.KNOWN] for name in heads], axis=1)
    if plain and (weights[known] == 1).all():
        return None
    for number, (name, task) in enumerate(heads.items()):
        rows = multi_targets.known(targets, name)
        if task.objective.weights is not None and len(rows):
            own = task.objective.weights(ArrayColumn(targets[name][multi_targets.TARGET][rows]))
            weights[rows, number] *= 1.0 if own is None else own
    return weights


def _evaluated(heads: Heads, examples: Examples, outputs: Mapping[str, np.ndarray]) -> Evaluation:
    scores: dict[str, float] = {}
    rows = []
    for name, task in heads.items():
        own = multi_targets.part(examples, name)
        if not len(own):
            continue
        found = task.evaluate(own, outputs[name][multi_targets.known(examples.target_array, name)])
        scores |= {f"{name}_{key}": value for key, value in found.scores.items()}
        rows.append({"name": name, "task": task.name, "examples": len(own), **_headline(found)})
    return Evaluation(scores=scores, details={"heads": rows}, outputs=outputs)


def _headline(found: Evaluation) -> dict[str, Any]:
    from tlkit.model.evaluate import headline

    main = headline(found)
    return (
        {}
        if main is None
        else {"label": main.label, "value": main.value, "low": main.low, "high": main.high, "unit": main.unit}
    )


def _preparation(
    weighting: str | Mapping[str, float], heads: Heads
) -> Callable[[Splits, Callable[[str], None]], Task] | None:
    if all(task.begin is None for task in heads.values()):
        return None

    def prepare(data: Splits, say: Callable[[str], None]) -> Task:
        return multitask(weighting=weighting, **{name: one(name, task, data, say) for name, task in heads.items()})

    def one(name: str, task: Task, data: Splits, say: Callable[[str], None]) -> Task:
        return task if task.begin is None else task.begin(multi_targets.parts(data, name), say)

    return prepare


def _calibration(weighting: str | Mapping[str, float], heads: Heads) -> Callable[[np.ndarray, Any], Task] | None:
    if all(task.calibrate is None for task in heads.values()):
        return None

    def calibrate(targets: np.ndarray, outputs: Any) -> Task:
        return multitask(
            weighting=weighting, **{name: one(name, task, targets, outputs[name]) for name, task in heads.items()}
        )

    def one(name: str, task: Task, targets: np.ndarray, outputs: np.ndarray) -> Task:
        rows = multi_targets.known(targets, name)
        if task.calibrate is None or not len(rows):
            return task
        return task.calibrate(targets[name][multi_targets.TARGET][rows], outputs[rows])

    return calibrate


# -- what remains


def _served(weighting: str | Mapping[str, float], heads: Heads) -> Served | None:
    """The heads' own tasks, where methods added to them or the weights of the losses are learned."""
    methods = {name: task.served for name, task in heads.items() if task.served is not None}
    if not methods and weighting != UNCERTAINTY:
        return None
    plain = {name: methods[name].task if name in methods else task for name, task in heads.items()}

    def outputs(raw: Mapping[str, Any]) -> dict[str, Any]:
        return {name: methods[name].outputs(raw[name]) if name in methods else raw[name] for name in heads}

    def scores(model: Any, trained: Splits, data: Splits) -> dict[str, float]:
        import keras

        all_scores: dict[str, float] = {}
        for name, served in methods.items():
            if served.scores is not None:
                head = keras.Model(model.input, model.output[name])
                own = served.scores(head, multi_targets.parts(trained, name), multi_targets.parts(data, name))
                all_scores |= {f"{name}_{key}": value for key, value in own.items()}
        return all_scores

    return Served(multitask(weighting=EQUAL, **plain), outputs, functools.partial(_served_data, methods), scores)


def _served_data(methods: Mapping[str, Served], data: Splits) -> Splits:
    from tlkit.methods.task_mixing import task_mix

    if not methods:
        return data
    each = {name: multi_targets.parts(data, name) for name in data.heads}
    mixed = task_mix(**{n: methods[n].data(own) if n in methods else own for n, own in each.items()})
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
    taken = [name for name in heads if name in TAKEN or not name.isidentifier()]
    if taken:
        raise InputError(
            f"A head cannot be called {taken[0]!r}: a head names a folder, an output and a signature of the run. "
            "Choose another word of letters, digits and _."
        )
    nested = [name for name, task in heads.items() if task.heads]
    if nested:
        raise InputError(f"The head {nested[0]!r} is several tasks itself: give all heads to one `multitask`.")
    takes = {task.takes for task in heads.values()}
    if len(takes) > 1:
        listed = ", ".join(f"{name} a {task.takes}" for name, task in heads.items())
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
    found = set(multi_targets.heads_of(data.train.target_array))
    if found != set(heads):
        held = f"of {', '.join(sorted(found))}" if found else "of one task"
        raise InputError(
            f"The data are {held}, and the heads are {', '.join(heads)}: make them with "
            f"tlkit.methods.task_mix({', '.join(f'{name}=...' for name in heads)})."
        )
    for name, task in heads.items():
        try:
            task.objective.check(multi_targets.parts(data, name))
        except InputError as error:
            raise InputError(f"Head {name!r}: {error}") from None
