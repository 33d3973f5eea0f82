"""finetune: from a module and data to a saved, evaluated run. Nothing here that a recipe could not write."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec

import keras
import numpy as np
import tensorflow as tf

from tlkit import plans
from tlkit.core import quick, trials
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits, check_splits
from tlkit.core.files import held, sha256_bytes
from tlkit.core.identity import Itself, identity
from tlkit.core.progress import Progress, quiet, shown
from tlkit.core.run import CHECKPOINTS, Phase, Run
from tlkit.core.task import Evaluation, Task
from tlkit.core.workers import Workers
from tlkit.data.long_texts import check_way
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.lookup import backbone_of
from tlkit.modalities.prepare import prepare
from tlkit.model.build import BACKBONE, build
from tlkit.model.evaluate import evaluate
from tlkit.report.terminal import score_lines
from tlkit.runs import folder as run_folder
from tlkit.runs import invocation, overview
from tlkit.tasks.recording import key_of
from tlkit.training import checkpoint
from tlkit.training.callbacks import checked
from tlkit.training.fit import check_plan, fit
from tlkit.training.inputs import Settings
from tlkit.training.inputs import check as check_settings
from tlkit.training.replicas import workers_of

NOT_JUDGED = (
    "there are no test examples, so no score says how good this run is; give `split` a share for the test to have one."
)
P = ParamSpec("P")


def _holding_out(function: Callable[P, Run]) -> Callable[P, Run]:
    """Hold the folder `out` while `function` runs; one that cannot be written to is told before all else."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Run:
        if trials.under_way() is not None:
            return function(*args, **kwargs)
        arguments = inspect.signature(function).bind(*args, **kwargs).arguments
        if not workers_of(arguments.get("strategy")).chief:
            return function(*args, **kwargs)
        out = arguments.get("out")
        with held(Path("runs") / arguments["task"].name if out is None else out) as folder:
            run_folder.check_folder(folder)
            return function(*args, **kwargs)

    return call


@_holding_out
def finetune(
    handle: Any,
    task: Task,
    data: Splits,
    phases: Sequence[Phase] | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    batch_size: int = 32,
    image_size: tuple[int, int] | None = None,
    length: int | None = None,
    input_range: tuple[float, float] | None = None,
    long: str = "cut",
    settings: Mapping[str, Any] | None = None,
    micro_batch: int | None = None,
    views: int | None = None,
    cache: str = "auto",
    fresh: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    strategy: tf.distribute.Strategy | None = None,
    progress: Progress | None = None,
) -> Run:
    """Adapt a pretrained module to a task: build, fit, evaluate on the test split where there is one, save.

    Args:
        handle: A HubLayer or what HubLayer takes as handle.
        task: What to learn: `tasks.classify(data.labels)`.
        data: Splits; images get the size that the module takes.
        phases: What to train, in order; None takes the task's own plan, or `plans.recommend` for this many
            examples. A task that is solved in closed form has none.
        out: Folder of the run; None is "runs/<task>".
        seed: Of the head's first weights, the order of examples and all else that is random.
        batch_size: Examples a step, >= 1.
        image_size: (height, width); None is the module's own, or of one that takes any, what the data were read with.
        length: Word pieces of a text, for modules that take any; None is what 99 % of the training texts need.
        input_range: Range of the pixels that an image module takes, as HubLayer has it; None is what its card, its
            graph or its BatchNorm says.
        long: What becomes of longer texts: "cut", or "windows", whose answers are averaged (`data.text.tokenized`).
        settings: Further ones by name, which the `prepare` of the data's modality takes, such as your own modality's.
        micro_batch: Examples of a batch that are in memory at a time, as `fit` has it.
        views: Augmented views of each training example that are computed once, as `fit` has it.
        cache: "auto", "require" or "off", as `fit` has it.
        fresh: Start over where `out` holds a fit that was begun before; else it goes on where it was.
        callbacks: Keras callbacks that watch, as `fit` has them; the record has their names.
        strategy: Shares each batch among several GPUs or hosts, as `fit` has it; of several hosts only the chief saves
            the run and exports it.
        progress: Where progress goes; None shows it.

    Returns:
        The saved run; `tlkit.export(run)` makes the files for phones.

    Raises:
        InputError: If module, data and task do not fit; before any training.
        TrainingError: If the loss is not finite, or frozen weights moved.
    """
    check_splits(data)
    workers, watch = workers_of(strategy), checked(callbacks)
    progress = (progress or shown()) if workers.chief else quiet
    seconds: dict[str, float] = {"import": quick.import_seconds}
    check_settings(Settings(seed, batch_size, 1 if views is None else views, cache, micro_batch=micro_batch))
    check_way(long)
    if phases is not None:
        check_plan(task, phases)
    ways: dict[str, Any] = {"image_size": image_size, "length": length, "input_range": input_range}
    ways |= {} if long == "cut" else {"long": long}
    chosen = _chosen(ways, settings)
    how: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "views": views, "cache": cache}
    how |= {"micro_batch": micro_batch, "strategy": strategy}
    if (trial := trials.under_way()) is not None:
        return _tried(trial, handle, task, data, phases, chosen, how)
    _check_data(task, data, progress)
    model, data = _built(handle, task, data, seed, chosen, seconds, progress)
    task = task.begun(data, progress.line)
    before = _before(model, task, data, batch_size, progress)
    plan = _planned(phases, task, data, model, progress)
    folder = _folder(out, task, fresh, workers)
    run = fit(model, task, data, plan, checkpoints=folder / CHECKPOINTS, callbacks=watch, progress=progress, **how)
    run = _compared(_judged(run, task, data, batch_size, seconds), before)
    record = invocation.describe(run, seed=seed, batch_size=batch_size, command=_command())
    run = replace(run, record=record | _of_training(task, watch))
    _say_scores(run, progress)
    run = run_folder.save(run, folder) if workers.chief else run
    workers.wait()  # for the chief's files: a failure there ends all
    return run


def _chosen(ways: Mapping[str, Any], settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the modality's `prepare` is given: arguments of `finetune`, and `settings`."""
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        raise InputError(f'`settings` must be a dict, such as {{"gain": 2.0}}. Received: settings={settings!r:.60}.')
    for name in settings:
        if ways.get(name) is not None:
            raise InputError(f"`{name}` is given twice, as an argument and in `settings`: leave one out.")
    return {**ways, **settings}


def _folder(out: str | Path | None, task: Task, fresh: bool, workers: Workers) -> Path:
    """The run's folder; checkpoints of before are gone where the fit is to start over."""
    folder = Path(out) if out is not None else Path("runs") / task.name
    if (fresh or invocation.starts_over()) and workers.chief:
        checkpoint.clear(folder / CHECKPOINTS)
        run_folder.mark_unfinished(folder)
    workers.wait()
    return folder


def _say_scores(run: Run, progress: Progress) -> None:
    notes = () if run.evaluation is None else run.evaluation.details.get("notes", ())
    for line in (*score_lines(run.scores), *_no_better_than_the_mean(run.scores), *(f"note: {note}" for note in notes)):
        progress.line(line)


def _planned(
    phases: Sequence[Phase] | None, task: Task, data: Splits, model: keras.Model, progress: Progress = quiet
) -> tuple[Phase, ...]:
    """The phases that were given; else the task's own plan, or the usual one for so many examples. They are shown."""
    if phases is not None or task.solve is not None:
        plan = tuple(phases or ())
    elif task.plan is not None:
        plan = task.plan(data, progress.line, model)
    else:
        plan = plans.recommend(len(data.train), max(1, len(task.labels)))
        layer = backbone_of(model)
        if layer is not None and layer.untrainable is not None:
            plan = tuple(phase for phase in plan if not phase.unfrozen)
            progress.line(f"note: {layer.handle} cannot be trained: {layer.untrainable}; so its head alone is.")
    for line in overview.plan_lines(plan):
        progress.line(line)
    return plan


def _tried(
    trial: trials.Trial, handle: Any, task: Task, data: Splits, phases: Sequence[Phase] | None,
    settings: Mapping[str, Any], how: Mapping[str, Any],
) -> Run:  # fmt: skip
    """What a trial of a search does in place of all: train and validate, with what its search has built already."""
    trial.judge_by(task.objective.monitor, data)
    key = os.fspath(handle) if isinstance(handle, str | os.PathLike) else Itself(handle)
    model, ready = _built_once(trial, key, handle, task, data, how["seed"], settings)
    plan = _planned(phases, task, ready, model)
    if any(phase.unfrozen or phase.batch_stats == "adapt" for phase in plan):
        trial.keep.trained.add(key)
    try:
        return fit(model, task, ready, plan, **how)
    finally:
        trial.judge_by(task.objective.monitor, data)  # as they were given: how they are prepared may be searched for


def _check_data(task: Task, data: Splits, progress: Progress) -> None:
    """Show what was given, and refuse what cannot be learned."""
    for line in (*overview.lines(data), *(f"note: {note}" for note in data.notes)):
        progress.line(line)
    if not len(data.test):
        progress.line(f"note: {NOT_JUDGED}")
    if not len(data.val):
        progress.line("note: there are no validation examples, so nothing is chosen: the last weights are taken.")
    task.fresh_scorer()  # a mistake in it must not wait until all is trained
    task.objective.check(data)


def _of_training(task: Task, callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, Any]:
    """What only the record of a training run has: the names of callbacks, and the method."""
    names = {"callbacks": [type(callback).__name__ for callback in callbacks]} if callbacks else {}
    return names | ({} if task.remains is None else {"method": task.made_by})


def _no_better_than_the_mean(scores: Mapping[str, float]) -> Iterator[str]:
    """A note on each R2 below 0."""
    for name, value in scores.items():
        if value < 0 and (name == "r2" or name.endswith("_r2")):
            yield (
                f"note: {name} is {value:.3g}: always answering with the mean of the test's values would err less. "
                "Train longer, unfreeze more, or look for what tells these values apart."
            )


def _before(model: keras.Model, task: Task, data: Splits, batch_size: int, progress: Progress) -> Evaluation | None:
    """What the untrained model scores on the test, where the task asks."""
    if not task.before or not len(data.test):
        return None
    progress.line("scores before training")
    return evaluate(model, task, data.test, batch_size=batch_size)


def _compared(run: Run, before: Evaluation | None) -> Run:
    """The run with what was measured before training beside what was measured after."""
    if before is None or run.evaluation is None:
        return run
    twins = {f"{name}_before": value for name, value in before.scores.items()}
    evaluation = run.evaluation
    details = {**evaluation.details, "before": {"scores": dict(before.scores), "details": dict(before.details)}}
    return replace(run, evaluation=replace(evaluation, scores={**evaluation.scores, **twins}, details=details))


def _judged(run: Run, trained: Task, data: Splits, batch_size: int, seconds: dict[str, float]) -> Run:
    """The run with what validation decides of its task, its scores on the test, and the seconds of all stages."""
    started = time.perf_counter()
    run = replace(run, task=_finished(run, batch_size))
    evaluation = _evaluated(run, trained, data, batch_size)
    seconds["evaluate"] = time.perf_counter() - started
    return replace(run, evaluation=evaluation, seconds={**seconds, **run.seconds})


def _evaluated(run: Run, trained: Task, data: Splits, batch_size: int) -> Evaluation | None:
    """Scores on the test, and those without labels that a method gives besides; `data` as they were trained on.

    None where there are no test examples.
    """
    if not len(run.data.test):
        return None
    evaluation = evaluate(run.model, run.task, run.data.test, batch_size=batch_size)
    if trained.remains is None or trained.remains.scores is None:
        return evaluation
    return replace(evaluation, scores={**evaluation.scores, **trained.remains.scores(run.model, data, run.data)})


def _finished(run: Run, batch_size: int) -> Task:
    """The run's task with what it leaves to the validation examples."""
    task, val = run.task, run.data.val
    if task.finish is None or not len(val):
        return task
    return task.finished(evaluate(run.model, task, val, batch_size=batch_size))


def _built(
    handle: Any,
    task: Task,
    data: Splits,
    seed: int,
    settings: Mapping[str, Any],
    seconds: dict[str, float],
    progress: Progress,
) -> tuple[keras.Model, Splits]:
    started = time.perf_counter()
    keras.utils.set_random_seed(seed % 2**32)
    layer = _opened(handle)
    for note in layer.shaped(data.train.inputs.spec).form.notes:
        progress.line(f"note: {layer.handle} {note}.")
    seconds["module"] = time.perf_counter() - started
    started = time.perf_counter()
    earlier_notes = data.notes
    data = prepare(data, layer, **settings)
    seconds["data"] = data.seconds + time.perf_counter() - started
    started = time.perf_counter()
    model = build(layer, task, data=data)
    for line in overview.module_lines(layer, model.input_shape):
        progress.line(line)
    for note in data.notes[len(earlier_notes) :]:
        progress.line(f"note: {note}")
    seconds["module"] += time.perf_counter() - started
    return model, data


def _built_once(
    trial: trials.Trial,
    key: str | Itself,
    handle: Any,
    task: Task,
    data: Splits,
    seed: int,
    settings: Mapping[str, Any],
) -> tuple[keras.Model, Splits]:
    """Model and data of a trial, which never sees the test examples; weights are those that a new model would have."""
    layer, first = trial.keep.get("modules", key, lambda: _with_weights(_opened(handle)))
    if key in trial.keep.trained:
        _restore(first)
        trial.keep.trained.discard(key)

    def built() -> tuple[keras.Model, Splits, Any]:
        model, ready = _built(layer, task, replace(data, test=data.test.subset([])), seed, settings, {}, quiet)
        # zoo:rocket has thresholds of the data, which are not those that it was opened with
        as_opened = {id(variable) for variable, value in first if np.array_equal(np.array(variable), value)}
        return model, ready, [(v, np.array(v)) for v in model.variables if id(v) not in as_opened]

    seen = trial.keep.get("fingerprints", Itself(data), lambda: _seen(data))
    model, ready, weights = trial.keep.get("models", (key, key_of(task), seed, str(settings), seen), built)
    _restore(weights)
    return model, ready


def _seen(data: Splits) -> str:
    """Hash of all that a trial sees of the data."""
    columns = [
        sha256_bytes(part.fingerprint, *(f"{name} {column.digests}" for name, column in part.columns.items()))
        for part in (data.train, data.val)
    ]
    return sha256_bytes(*columns, identity(data.train.augment), str(data.labels), str(data.heads))


def _opened(handle: Any) -> HubLayer:
    return handle if isinstance(handle, HubLayer) else HubLayer(handle, name=BACKBONE)


def _with_weights(model: Any) -> tuple[Any, list[tuple[Any, np.ndarray]]]:
    """A layer or model, and copies of its weights."""
    return model, [(variable, np.array(variable)) for variable in model.variables]


def _restore(weights: Sequence[tuple[Any, np.ndarray]]) -> None:
    for variable, value in weights:
        variable.assign(value)


def _command() -> str:
    """The command that is running, as one would type it again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv and sys.argv[0] else ""
