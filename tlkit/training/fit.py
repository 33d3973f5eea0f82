"""fit: run the phases. The loop is ours so that order, resume and proof are exact; Keras compiles, we drive."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit.core import memory, multi_targets, trials
from tlkit.core.batches import order_of_epoch, pieces_of, steps_of, targets_of, trimmed, width_of
from tlkit.core.errors import InputError, TrainingError
from tlkit.core.examples import Examples, Splits, check_splits
from tlkit.core.identity import Itself
from tlkit.core.progress import Progress, quiet
from tlkit.core.run import Phase, PhaseResult, Run
from tlkit.core.task import Task
from tlkit.layer.lookup import backbone_of
from tlkit.model.functional import functional
from tlkit.model.partition import Arrangement, arrange, uncut, weights_hash
from tlkit.tasks.recording import key_of
from tlkit.training import checkpoint
from tlkit.training.callbacks import Watchers, checked, watching
from tlkit.training.closed_form import solved
from tlkit.training.inputs import Drawn, Moment, Settings, Source, batches, sources
from tlkit.training.inputs import check as check_settings
from tlkit.training.proof import frozen_variables, proof_of
from tlkit.training.replicas import add_metrics, begin_seeds, check_placed, workers_of
from tlkit.training.resume import Arrays, State, assign, is_seed, keeper, numbered, opened_state, resume
from tlkit.training.step import NOT_FINITE, Trainer, again, compiled, has_steps, optimizer_of, steps_of_epoch

log = logging.getLogger(__name__)

OTHERWISE = "read them so, or wrap the module in a keras.Model that takes such examples"
HIGH_RATE = 1.0  # Adam moves each weight by about the rate at a step, and weights are mostly below 1


@dataclass(frozen=True, eq=False)
class Job:
    """What all parts of a fit are about."""

    model: keras.Model
    task: Task
    data: Splits
    phases: tuple[Phase, ...]
    settings: Settings
    progress: Progress
    keep: Callable[[State, Trainer | None], None]
    start: Mapping[int, np.ndarray]  # values that the module began with, by id, where a phase asks for them
    watchers: Watchers


@dataclass(frozen=True, eq=False)
class Stage:
    """One phase made ready: its split model, its data, its compiled steps."""

    number: int
    phase: Phase
    arrangement: Arrangement
    trainer: Trainer
    train: Source
    val: Source


@memory.kept()
def fit(
    model: keras.Model,
    task: Task,
    data: Splits,
    phases: Sequence[Phase],
    *,
    seed: int = 0,
    batch_size: int = 32,
    views: int | None = None,
    cache: str = "auto",
    cache_dtype: str = "float32",
    checkpoints: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    micro_batch: int | None = None,
    strategy: tf.distribute.Strategy | None = None,
    progress: Progress = quiet,
) -> Run:
    """Run the phases over the data and keep the best weights of all of them.

    Each phase computes the frozen front of the module once, then trains the rest with a fresh Adam. Frozen weights
    are hashed before and after. The order of examples is a pure function of (seed, phase, epoch), so a fit that was
    killed and is started again with the same arguments ends with the same weights, bit for bit; but for what a module
    draws itself by operations without a seed of their own, as dropout inside a module of the hub is with
    `batch_stats="adapt"`.

    Args:
        model: A model that `build` made, or any functional or Sequential keras.Model with at most one HubLayer; its
            outputs are raw (logits).
        task: Loss, metrics, checks and the figure by which the best weights are chosen.
        data: Training and validation examples are used; the test examples are not touched. Without validation
            examples nothing can be chosen: every epoch is run, and the last weights are taken.
        phases: What to do, in order; () for a task that is solved in closed form (`Task.solve`).
        seed: Of the order of examples, the views and everything random in TensorFlow and Keras.
        batch_size: Examples a step, >= 1.
        views: Augmented views of each training example that are computed once; 0 augments anew in every epoch and
            caches nothing; None is 4 where the examples have an `augment`, else 1.
        cache: "auto" keeps computed features on disk, within `TLKIT_CACHE_GB`, and computes them anew in every epoch
            where they do not fit; "require" refuses to; "off" never keeps any.
        cache_dtype: "float32", or "float16", which halves the space; its rounding error goes into the record.
        checkpoints: Folder for checkpoints, one an epoch; None keeps none.
        callbacks: Keras callbacks that watch, such as TensorBoard and CSVLogger. Epochs are counted over all phases;
            a fit that goes on where it was stopped tells them of the epochs that are left.
        micro_batch: Examples of a batch that are in memory at a time; their gradients add up to the batch's step, so
            weights are the same to rounding, but for the head's dropout, which draws other masks. None takes as many
            as about 0.5 GB hold, by the sizes of the tensors in the module's graph. What compares the examples of a
            batch (`batch_stats="adapt"`, a BatchNorm in the head, domain adaptation) is not divided.
        strategy: Shares each batch among several GPUs (`tf.distribute.MirroredStrategy()`) or hosts
            (`MultiWorkerMirroredStrategy()`, made before TensorFlow does anything; each host calls this with the same
            arguments, and `TLKIT_CACHE` and `checkpoints` on a folder that all see). The model is made outside its
            scope. Weights are those of one device to rounding, but for the head's dropout.
        progress: Where progress goes; of several workers only the chief tells.

    Returns:
        A Run with history, seconds and freeze proof of each phase. Its `task` is to be used from here on: it knows what
        the training targets decide, as the mean of values to regress.

    Raises:
        InputError: If the task cannot learn from this data, `checkpoints` belong to another fit, or a callback would
            steer; before training.
        TrainingError: If the loss is not finite (weights are those before that batch), frozen weights moved, or a
            worker has ended.
    """
    workers = workers_of(strategy)
    check_splits(data)
    model = functional(model, data.train.inputs.spec)
    check_placed(model, workers)
    _check(model, task, data, phases)
    if (trial := trials.under_way()) is not None:
        trial.judge_by(task.objective.monitor, data)
    data, watch = _uncut(model, data), checked(callbacks) if workers.chief else ()
    progress = progress if workers.chief else quiet
    task = task.begun(data, progress.line)
    if task.solve is None:
        _check_loss(model, task, data.train)
    settings = Settings(seed, batch_size, _views(views, data), cache, cache_dtype, micro_batch, workers)
    check_settings(settings)
    keras.utils.set_random_seed(seed % 2**32)
    if task.solve is not None:
        return _remaining(solved(model, task, data, settings, progress))
    _say_high_rates(phases, progress)
    _say_unused_patience(task, phases, progress)
    started = time.perf_counter()
    keep, stored = keeper(model, task, data, phases, settings, checkpoints, progress)
    start = _starting_point(model, phases)  # before a checkpoint's weights come in
    state = State() if stored is None else opened_state(stored)
    assign(model, state.weights)
    assign(model, {} if stored is None else numbered(stored, "seed"))
    with watching(
        model, watch, optimizer_of(phases[0], model), _params(phases, data, settings), progress.line
    ) as watchers:
        job = Job(model, task, data, tuple(phases), settings, progress, keep, start, watchers)
        state = _run_phases(job, state, stored)
    _thaw_flags(job)
    seconds = {"phases": time.perf_counter() - started}
    run = Run(model=model, task=task, data=data, phases=state.results, seconds=seconds, worker=workers.index)
    return _remaining(run)


def _remaining(run: Run) -> Run:
    """The run without the outputs that were there for training alone, the outermost method's first."""
    while (remains := run.task.remains) is not None:
        model = keras.Model(run.model.input, remains.outputs(run.model.output), name=run.model.name)
        run = replace(run, model=model, task=remains.task, data=remains.data(run.data))
    return run


def _starting_point(model: keras.Model, phases: Sequence[Phase]) -> Mapping[int, np.ndarray]:
    """Copies of the module's weights, where a phase is to stay near them."""
    layer = backbone_of(model)
    if layer is None or not any(phase.l2_sp or phase.start_share for phase in phases):
        return {}
    return {id(v): np.array(v) for v in layer.module_variables.values()}


def check_plan(task: Task, phases: Sequence[Phase]) -> None:
    """Refuse a plan that trains nothing, and any plan of a task that is not trained.

    Raises:
        InputError: If it is empty, or holds something else than phases; if the task is solved in closed form, and it
            is not empty.
    """
    if task.solve is not None:
        if phases:
            raise InputError(
                f"`{_called(task)}` is solved in closed form on the frozen module, and no phase trains it: leave "
                "`phases` out, or pass ()."
            )
        return
    if not phases:
        raise InputError("`phases` is empty; take plans.two_phase() or plans.recommend(len(data.train)).")
    wrong = [phase for phase in phases if not isinstance(phase, Phase)]
    if wrong:
        raise InputError(f"`phases` must hold Phases, as plans.two_phase() makes them. Received: {wrong[0]!r:.80}.")


def _check(model: keras.Model, task: Task, data: Splits, phases: Sequence[Phase]) -> None:
    check_plan(task, phases)
    task.objective.check(data)
    if not len(data.train):
        raise InputError("The training split is empty; give more data, or another `split`.")
    _check_shape(model, data.train.inputs.spec)


def _check_loss(model: keras.Model, task: Task, train: Examples) -> None:
    """Let the loss refuse targets that do not fit the model's outputs before any feature is computed.

    Only what it says itself counts: it is asked with zeros, of which other errors may come.
    """
    shapes = [output.shape[1:] for output in keras.tree.flatten(model.output)]
    if any(size is None for shape in shapes for size in shape):
        return
    zeros = keras.tree.map_structure(lambda output: np.zeros((1, *output.shape[1:]), np.float32), model.output)
    try:
        task.objective.loss()(multi_targets.unpacked(train.targets.take(np.arange(1))), zeros)
    except InputError:
        raise
    except Exception as error:  # of a loss that takes no zeros; the steps will say more
        log.debug("the loss of zeros: %s", error)


def _say_high_rates(phases: Sequence[Phase], progress: Progress) -> None:
    for number, phase in enumerate(phases, start=1):
        if phase.lr > HIGH_RATE:
            progress.line(
                f"warning: lr={phase.lr:g} of phase {number} is far above what Adam learns with (1e-5 to 1e-2): each "
                "step moves every weight by about that much, so expect the model to get worse."
            )


def _say_unused_patience(task: Task, phases: Sequence[Phase], progress: Progress) -> None:
    """Domain adaptation has no labels of the target to choose by, so that no epoch is known to be the best."""
    patient = [phase.epochs for phase in phases if phase.patience is not None]
    if task.objective.monitor is None and patient:
        counts = " and ".join(str(count) for count in patient)
        progress.line(
            f"note: no validation figure judges {_called(task)}, so `patience` ends no phase: all {counts} epochs are "
            "run, and the last weights are taken."
        )


def _called(task: Task) -> str:
    return task.made_by[0].rpartition(".")[2]


def _check_shape(model: keras.Model, spec: Any) -> None:
    """Refuse examples that the model cannot take; sizes that it leaves open fit all."""
    if isinstance(model.input, Mapping):
        names = set(spec) if isinstance(spec, Mapping) else {"one array"}
        if names != set(model.input):
            raise InputError(f"The examples have {_listed(names)}, but the model takes {_listed(set(model.input))}.")
        for name, tensor in model.input.items():
            shape, takes = tuple(spec[name].shape), tuple(tensor.shape[1:])
            if len(shape) == len(takes) and any(b not in (None, a) for a, b in zip(shape, takes, strict=True)):
                raise InputError(f"The examples' {name} has shape {shape}, but the model takes {takes}: make them so.")
    if isinstance(spec, Mapping) or not hasattr(model.input, "shape"):
        return
    shape, takes = tuple(spec.shape), tuple(model.input.shape[1:])
    fits = len(shape) == len(takes) and all(b is None or a == b for a, b in zip(shape, takes, strict=True))
    if not fits:
        resizable = len(shape) == len(takes) == 3 and shape[-1] == takes[-1]
        advice = "resize them: tlkit.data.image.resized(data, (height, width))" if resizable else OTHERWISE
        raise InputError(f"The examples have shape {shape}, but the model takes {takes}; {advice}.")


def _uncut(model: keras.Model, data: Splits) -> Splits:
    if not hasattr(model, "inputs") or not model.inputs:
        return data
    train, val, test = (uncut(model.inputs, part) for part in (data.train, data.val, data.test))
    return data if train is data.train else replace(data, train=train, val=val, test=test)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _views(views: int | None, data: Splits) -> int:
    if views is None:
        return 1 if data.train.augment is None else 4
    return min(views, 1) if data.train.augment is None else views


def _params(phases: Sequence[Phase], data: Splits, settings: Settings) -> dict[str, int]:
    """What Keras tells callbacks before it begins."""
    steps = steps_of_epoch(len(data.train), settings.batch_size)
    return {"epochs": sum(phase.epochs for phase in phases), "steps": steps}


def _run_phases(job: Job, state: State, stored: checkpoint.Checkpoint | None) -> State:
    job.watchers.tell("on_train_begin")
    for number in range(len(state.results), len(job.phases)):
        state = _run_phase(job, state, number, stored)
        stored = None
    job.watchers.tell("on_train_end", _last_figures(state))
    return state


def _last_figures(state: State) -> dict[str, float]:
    histories = [result.history for result in state.results if result.history]
    return _logs({name: values[-1] for name, values in histories[-1].items()}) if histories else {}


def _logs(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures by the names that Keras' callbacks know: the rate is called `learning_rate`."""
    return {"learning_rate" if name == "lr" else name: value for name, value in figures.items()}


# -- one phase


def _run_phase(job: Job, state: State, number: int, stored: checkpoint.Checkpoint | None) -> State:
    started = time.perf_counter()
    trial = trials.under_way()
    stage = _staged(job, number) if trial is None else _staged_once(job, number, trial.keep)
    job = replace(job, watchers=_watching(job, stage, state))
    frozen = frozen_variables(job.model, stage) if trial is None else []  # the run that is kept has the proof
    before, best_before = weights_hash(frozen), state.best
    # the best weights with those that this phase is about to train: so far they are as the best had them
    state = replace(state, weights={**_trained_weights(job.model, stage), **state.weights})
    if stored is not None and state.epoch:
        resume(stage, stored)
    while state.epoch < stage.phase.epochs and not _patience_spent(stage.phase, state):
        state = _run_epoch(job, stage, state)
        job.keep(state, stage.trainer)
    proof = proof_of(stage, frozen, before, job.settings.workers)
    assign(job.model, state.weights)
    result = PhaseResult(
        phase=stage.phase,
        history=dict(state.history),
        seconds=time.perf_counter() - started,
        features_seconds=stage.train.seconds + stage.val.seconds,
        proof=proof,
        had={
            **stage.arrangement.had,
            "front": stage.train.how,
            "steps": stage.trainer.parts.why,
            "epoch_seconds": state.seconds,
        },
        best_epoch=state.own_best[1] if state.own_best else 0,
        improved=_improved(state, best_before, stored is not None),
    )
    next_state = State(results=(*state.results, result), best=state.best, weights=state.weights, number=state.number)
    job.keep(next_state, None)
    return next_state


def _staged(job: Job, number: int) -> Stage:
    phase, later = job.phases[number], job.phases[number + 1 :]
    arrangement = arrange(job.model, phase, later)
    train, val = sources(arrangement, job.data, job.settings, job.progress)
    size = job.settings.batch_size
    divide, workers = job.settings.micro_batch, job.settings.workers
    trainer = compiled(
        job.model, arrangement.trained, job.task, phase, job.data.train, size, job.start, divide, workers
    )
    if trainer.parts.wanted:
        job.progress.line(
            f"note: a step of phase {number + 1} takes about {trainer.parts.wanted / 1e9:.1f} GB and cannot be divided "
            f"({trainer.parts.why}); a lower `batch_size` takes less."
        )
    return Stage(number, phase, arrangement, trainer, train, val)


def _staged_once(job: Job, number: int, keep: trials.Keep) -> Stage:
    """The phase made ready as an earlier trial did, where that differs in rates and epochs alone.

    What is frozen now must never have been trained before: features computed once hold for the first weights alone.
    """
    phase, earlier = job.phases[number], job.phases[:number]
    if any(p.unfrozen > phase.unfrozen or p.batch_stats != "frozen" for p in earlier):
        return _staged(job, number)
    structure = replace(phase, epochs=1, lr=1.0, warmup=0.0, cosine=False, patience=None)
    cuts = tuple((p.unfrozen, p.batch_stats) for p in job.phases[number + 1 :])
    key = (Itself(job.model), Itself(job.data), key_of(job.task), number, structure, cuts, job.settings)
    stage: Stage = keep.get("stages", key, lambda: _staged(job, number))
    steps = steps_of_epoch(len(job.data.train), job.settings.batch_size) * max(1, phase.epochs)
    return replace(stage, phase=phase, trainer=again(stage.trainer, job.model, phase, steps))


def _watching(job: Job, stage: Stage, state: State) -> Watchers:
    if not job.watchers:
        return job.watchers
    before = _epochs_done(state.results) * steps_of_epoch(len(job.data.train), job.settings.batch_size)
    trainer, optimizer = stage.trainer, optimizer_of(stage.phase, job.model)
    return job.watchers.of_phase(trainer.optimizer, optimizer, trainer.train_step, before)


def _epochs_done(results: Sequence[PhaseResult]) -> int:
    return sum(len(result.history.get("loss", ())) for result in results)


def _improved(state: State, before: float | None, resumed: bool) -> bool:
    """Whether the best of all phases lies in this one."""
    if not resumed:
        return state.best != before
    return state.own_best is not None and state.best == state.own_best[0]


def _thaw_flags(job: Job) -> None:
    """Leave the module as the last phase had it, in inference mode for whoever fits on."""
    layer = backbone_of(job.model)
    if layer is not None:
        layer.batch_stats = "frozen"


# -- epochs


def _run_epoch(job: Job, stage: Stage, state: State) -> State:
    started = time.perf_counter()
    epoch = state.epoch + 1
    over_all_phases = _epochs_done(state.results) + state.epoch
    job.watchers.tell("on_epoch_begin", over_all_phases)
    figures = _trained(job, stage, epoch)
    with _drawn_back(job, stage):
        if len(job.data.val):
            figures |= {f"val_{name}": value for name, value in _validated(job, stage).items()}
        trained_weights = _trained_weights(job.model, stage)
    _check_finite(job, stage, state, figures)
    seconds = time.perf_counter() - started
    job.progress.line(_epoch_line(stage, epoch, figures, seconds))
    job.watchers.tell("on_epoch_end", over_all_phases, _logs(figures))
    figure = _monitored(figures, state, job)
    phase_best = state.own_best
    if phase_best is None or _better(figure, phase_best[0], job):
        phase_best = (figure, epoch)
    best, weights = state.best, state.weights
    if best is None or _better(figure, best, job):
        best, weights = figure, {**weights, **trained_weights}
    if (trial := trials.under_way()) is not None:
        trial.ended_epoch(figure, best)
    history = {name: [*state.history.get(name, []), value] for name, value in figures.items()}
    return State(state.results, epoch, history, (*state.seconds, seconds), phase_best, best, weights, state.number + 1)


@contextlib.contextmanager
def _drawn_back(job: Job, stage: Stage) -> Iterator[None]:
    """Inside, the module's weights are the mean with those that the fit began with, as `Phase.start_share` asks."""
    share = stage.phase.start_share
    moved = [v for v in stage.trainer.model.trainable_variables if share and id(v) in job.start]
    trained = [np.array(v) for v in moved]
    for variable, values in zip(moved, trained, strict=True):
        variable.assign(share * job.start[id(variable)] + (1 - share) * values)
    try:
        yield
    finally:
        for variable, values in zip(moved, trained, strict=True):
            variable.assign(values)


def _check_finite(job: Job, stage: Stage, state: State, figures: Mapping[str, float]) -> None:
    """Stop where the loss of an epoch or what is monitored is no number, with the best weights there were."""
    wrong = [name for name in ("loss", "val_loss") if not np.isfinite(figures.get(name, 0.0))]
    place = f"phase {stage.number + 1}, epoch {state.epoch + 1}"
    if wrong:
        assign(job.model, state.weights)
        loss = "validation loss" if wrong[0] == "val_loss" else "loss"
        raise TrainingError(
            f"The {loss} became NaN or infinite in {place}; the weights are the best of those before it. Lower the "
            "phase's lr, or look at the examples."
        )
    monitor = _monitor(job)
    if monitor is not None and np.isnan(figures.get(monitor[0], 0.0)):
        assign(job.model, state.weights)
        raise TrainingError(
            f"The figure {monitor[0]} is NaN in {place}, and no weights can be chosen by it: look at the validation "
            "examples, or give the task another `monitor`."
        )


def _patience_spent(phase: Phase, state: State) -> bool:
    if phase.patience is None or state.own_best is None:
        return False
    return state.epoch - state.own_best[1] >= phase.patience


def _monitor(job: Job) -> tuple[str, str] | None:
    """The figure that chooses weights and its direction; None where the last ones are taken."""
    return job.task.objective.monitor if len(job.data.val) else None


def _monitored(figures: Mapping[str, float], state: State, job: Job) -> float:
    monitor = _monitor(job)
    if monitor is None:
        return float(state.number)  # a later epoch is better
    if monitor[0] not in figures:
        raise InputError(
            f"The task monitors {monitor[0]!r}, and a phase measures {sorted(figures)}: correct `monitor`."
        )
    return figures[monitor[0]]


def _better(figure: float, than: float, job: Job) -> bool:
    monitor = _monitor(job)
    return figure < than if monitor is not None and monitor[1] == "min" else figure > than


def _trained(job: Job, stage: Stage, epoch: int) -> dict[str, float]:
    order = order_of_epoch(len(job.data.train), job.settings.seed, stage.number, epoch)
    pieces = pieces_of(job.data.train, order, job.settings.batch_size)
    total, count = 0.0, 0
    _reset_metrics(stage.trainer)
    begin_seeds(_drawing(job.model), job.settings.workers)
    rate = stage.trainer.rate(int(stage.trainer.optimizer.iterations))
    bar = job.progress.quiet_bar if stage.train.features and stage.phase.unfrozen == 0 else job.progress.bar
    with bar(f"phase {stage.number + 1} epoch {epoch}", len(order)) as advance:
        moment = Moment(stage.number, epoch)
        parts = batches(stage.train, order, job.settings, moment)
        for step, (piece, (indices, x, drawn)) in enumerate(zip(pieces, parts, strict=True)):
            job.watchers.tell("on_train_batch_begin", step)
            loss = _step(job, stage, piece, (indices, x, drawn), epoch)
            total, count = total + loss * len(piece), count + len(piece)
            if job.watchers:
                job.watchers.tell("on_train_batch_end", step, {"loss": total / count, **_metrics_so_far(job, stage)})
            advance(count)
    add_metrics(stage.trainer.metrics, job.settings.workers)
    return {"loss": total / count, **_metrics(stage.trainer), "lr": rate}


def _drawing(model: keras.Model) -> list[Any]:
    """States of the random generators of the head; those within the module draw nothing where batches are shared."""
    layer = backbone_of(model)
    inside = set() if layer is None else {id(v) for v in layer.module_variables.values()}
    return [v for v in model.variables if is_seed(v) and id(v) not in inside]


def _step(job: Job, stage: Stage, piece: np.ndarray, part: tuple[np.ndarray, Any, Drawn], epoch: int) -> float:
    """One step on a batch, `piece`, of which this worker has a part: its indices, inputs and draws."""
    (indices, x, drawn), weights = part, stage.trainer.weights
    for variable in stage.trainer.progress:
        variable.assign(_progress(job, stage))
    targets = None if x is None else _targets(job, job.data.train, indices, drawn, width_of(job.data.train, piece))
    whole = None if job.settings.workers.count == 1 else len(piece)
    try:
        loss = stage.trainer.train_step(x, targets, None if weights is None else weights[indices], whole=whole)
    except tf.errors.InvalidArgumentError as error:
        if NOT_FINITE not in str(error):
            raise
        names = ", ".join(job.data.train.ids[i] for i in piece[:3])
        step = int(stage.trainer.optimizer.iterations) + 1
        raise TrainingError(
            f"The loss became NaN or infinite in phase {stage.number + 1}, epoch {epoch}, at step {step} "
            f"(examples {names}, ...); the weights are those before it. "
            "Lower the phase's lr, or look at these examples."
        ) from None
    return float(loss)


def _progress(job: Job, stage: Stage) -> float:
    """Share of the fit's steps that are done, in [0, 1): what schedules go by."""
    steps = steps_of_epoch(len(job.data.train), job.settings.batch_size)
    epochs = [phase.epochs for phase in job.phases]
    steps_done = sum(epochs[: stage.number]) * steps + int(stage.trainer.optimizer.iterations)
    return steps_done / (sum(epochs) * steps)


def _targets(job: Job, examples: Examples, indices: np.ndarray, drawn: Drawn, width: int | None) -> Any:
    """Targets, moved as their inputs are; those that are one a step end where the batch's inputs end, at `width`."""
    targets = multi_targets.unpacked(targets_of(examples, indices, drawn))
    if "length" not in examples.columns or not has_steps(job.model.output):
        return targets
    steps = steps_of(examples.inputs.spec)
    return keras.tree.map_structure(lambda y: trimmed(y, width) if y.shape[1:2] == (steps,) else y, targets)


def _validated(job: Job, stage: Stage) -> dict[str, float]:
    examples = job.data.val
    _reset_metrics(stage.trainer)
    order, workers, total, count = np.arange(len(examples)), job.settings.workers, 0.0, 0
    pieces = pieces_of(examples, order, job.settings.batch_size)
    job.watchers.tell("on_test_begin")
    for step, (piece, part) in enumerate(zip(pieces, batches(stage.val, order, job.settings), strict=True)):
        job.watchers.tell("on_test_batch_begin", step)
        total, count = total + _test_loss(job, stage, piece, *part[:2]) * len(part[0]), count + len(part[0])
        if job.watchers:
            logs = {"loss": total / count, **_metrics(stage.trainer)} if workers.count == 1 else {}
            job.watchers.tell("on_test_batch_end", step, logs)
    if workers.count > 1:
        total, count = float(workers.add([np.float32(total)])[0]), len(examples)
    add_metrics(stage.trainer.metrics, workers)
    figures = {"loss": total / count, **_metrics(stage.trainer)}
    job.watchers.tell("on_test_end", figures)
    return figures


def _test_loss(job: Job, stage: Stage, piece: np.ndarray, indices: np.ndarray, x: Any) -> float:
    """Mean loss of this worker's part of a batch, 0 where it has none."""
    if x is None:
        return 0.0
    examples = job.data.val
    weights = None if examples.weights is None else examples.weights[indices]
    targets = _targets(job, examples, indices, None, width_of(examples, piece))
    return float(stage.trainer.test_step(x, targets, weights))


def _reset_metrics(trainer: Trainer) -> None:
    for metric in trainer.metrics:
        metric.reset_state()


def _metrics(trainer: Trainer) -> dict[str, float]:
    return {metric.name: float(metric.result()) for metric in trainer.metrics}


def _metrics_so_far(job: Job, stage: Stage) -> dict[str, float]:
    """Metrics within an epoch; workers bring theirs together at its end alone."""
    return _metrics(stage.trainer) if job.settings.workers.count == 1 else {}


def _epoch_line(stage: Stage, epoch: int, figures: Mapping[str, float], seconds: float) -> str:
    listed = "  ".join(f"{name} {value:.4g}" for name, value in figures.items() if name != "lr")
    share = stage.arrangement.had["unfrozen"]
    kind = f"top {share:.0%} unfrozen" if share else "frozen"
    return f"phase {stage.number + 1} ({kind}) epoch {epoch}/{stage.phase.epochs}  {listed}  {seconds:.2f} s"


# -- weights, by position in `model.variables`


def _trained_weights(model: keras.Model, stage: Stage) -> Arrays:
    """Copies of all that the phase can have changed."""
    inside = {id(v) for v in stage.trainer.model.variables}
    return {i: np.array(v) for i, v in enumerate(model.variables) if id(v) in inside and not is_seed(v)}
