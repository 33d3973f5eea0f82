"""fit: run the phases. The only place that compiles or trains; the loop is ours so that order, resume and proof are."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit import features as feature_cache
from tlkit.batches import chunks, order_of_epoch, read_batches, stable_seed, view_of_epoch
from tlkit.errors import InputError, TrainingError
from tlkit.features import Features
from tlkit.model import Arrangement, Front, arrange, backbone_of, weights_hash
from tlkit.optimizers import DepthAdamW
from tlkit.progress import Progress, quiet
from tlkit.types import Examples, Phase, PhaseResult, Run, Splits, Task


@dataclass(frozen=True)
class Settings:
    """What all phases of a fit share: seed, batch size, augmented views, whether features are cached on disk."""

    seed: int = 0
    batch_size: int = 32
    views: int = 1
    cached: bool = True
    memory: dict[str, Features] = field(default_factory=dict)


@dataclass
class Best:
    """Best validation figure over all phases and the weights that gave it, by position in `model.weights`."""

    figure: float | None = None
    weights: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Source:
    """Examples as a phase reads them: computed features (one set a view), or inputs that pass `front` batch by batch."""

    examples: Examples
    features: tuple[Features, ...] = ()
    front: Callable[[Any], Any] | None = None

    @property
    def seconds(self) -> float:
        """Seconds that the features took."""
        return sum(f.seconds for f in self.features)


def fit(
    model: keras.Model,
    task: Task,
    data: Splits,
    phases: Sequence[Phase],
    *,
    seed: int = 0,
    batch_size: int = 32,
    views: int | None = None,
    cached: bool = True,
    progress: Progress = quiet,
) -> Run:
    """Run the phases over the data and keep the best weights of all of them.

    Each phase computes the frozen front of the module once, then trains the rest with a fresh Adam. Frozen weights
    are hashed before and after. The order of examples is a pure function of (seed, phase, epoch).

    Args:
        model: A model that `build` made, or any keras.Model with one HubLayer; its outputs are raw (logits).
        task: Loss, metrics, checks and the figure by which the best weights are chosen.
        data: Training and validation examples are used; the test examples are not touched.
        phases: What to do, in order.
        seed: Of the order of examples, the views and everything random in TensorFlow and Keras.
        batch_size: Examples a step, >= 1.
        views: Augmented views of each training example that are computed once; 0 augments anew in every epoch and
            caches nothing; None is 4 where the examples have an `augment`, else 1.
        cached: Whether computed features are kept on disk for later runs.
        progress: Where progress goes.

    Returns:
        A Run with history, seconds and freeze proof of each phase.

    Raises:
        InputError: If the task cannot learn from this data; before any training.
        TrainingError: If the loss is not finite (weights are those before that batch) or frozen weights moved.
    """
    _check(model, task, data, phases, batch_size)
    keras.utils.set_random_seed(seed % 2**32)
    settings = Settings(seed, batch_size, _views(views, data.train), cached)
    best, results = Best(), []
    started = time.perf_counter()
    for number, phase in enumerate(phases):
        results.append(_run_phase(model, task, data, phase, phases[number + 1 :], number, settings, best, progress))
        _restore(model, best)
    seconds = {"phases": time.perf_counter() - started}
    return Run(model=model, task=task, data=data, phases=tuple(results), seconds=seconds)


def _check(model: keras.Model, task: Task, data: Splits, phases: Sequence[Phase], batch_size: int) -> None:
    task.check(data)
    if not phases:
        raise InputError("`phases` is empty; take plans.two_phase() or plans.recommend(len(data.train)).")
    if batch_size < 1:
        raise InputError(f"`batch_size` must be 1 or more. Received: batch_size={batch_size!r}.")
    for name in ("train", "val"):
        if len(getattr(data, name)) == 0:
            raise InputError(f"The {name} split is empty; give more data, or another `split`.")
    spec = getattr(data.train.spec, "shape", None)
    wanted = getattr(model.input, "shape", (None,))[1:]
    if spec is not None and tuple(spec) != tuple(wanted):
        raise InputError(
            f"The examples have shape {tuple(spec)}, but the model takes {tuple(wanted)}; "
            "resize them: tlkit.data.image.resized(data, (height, width))."
        )


def _views(views: int | None, train: Examples) -> int:
    if views is not None and views < 0:
        raise InputError(f"`views` must be 0 or more. Received: views={views!r}.")
    if train.augment is None:
        return 1
    return 4 if views is None else views


def _run_phase(
    model: keras.Model,
    task: Task,
    data: Splits,
    phase: Phase,
    later: Sequence[Phase],
    number: int,
    settings: Settings,
    best: Best,
    progress: Progress,
) -> PhaseResult:
    started = time.perf_counter()
    arrangement = arrange(model, phase, later)
    train, val = _sources(arrangement, data, settings, progress)
    trainer = _compiled(arrangement, task, phase, train, settings, model)
    frozen = _frozen(model, arrangement, phase)
    before, figure_before = weights_hash(frozen), best.figure
    history, best_epoch = _run_epochs(model, trainer, train, val, task, phase, number, settings, best, progress)
    proof = _proof(model, arrangement, frozen, before, number)
    return PhaseResult(
        phase=phase,
        history=history,
        seconds=time.perf_counter() - started,
        features_seconds=train.seconds + val.seconds,
        proof=proof,
        had={**arrangement.had, "front": "computed once" if train.features else "none", "views": settings.views},
        best_epoch=best_epoch,
        improved=best.figure != figure_before,
    )


# -- data of a phase


def _sources(arrangement: Arrangement, data: Splits, settings: Settings, progress: Progress) -> tuple[Source, Source]:
    """Computed features where the phase has a frozen front, else the inputs."""
    if not arrangement.fronts:
        return Source(data.train), Source(data.val)
    runs = [tf.function(front.run, reduce_retracing=True) for front in arrangement.fronts]
    if settings.views == 0:
        streamed = functools.partial(functools.reduce, lambda x, run: run(x), runs)
        return Source(data.train, front=streamed), Source(data.val, front=streamed)
    views = list(range(settings.views)) if data.train.augment is not None else [None]
    jobs = [(data.train, view) for view in views] + [(data.val, None)]
    done, computed = 0, []
    with progress.bar("features", sum(len(examples) for examples, _ in jobs)) as advance:
        for examples, view in jobs:
            ahead = functools.partial(_ahead, advance, done)
            computed.append(_computed(arrangement.fronts, runs, examples, view, settings, ahead))
            done += len(examples)
    return Source(data.train, tuple(computed[:-1])), Source(data.val, tuple(computed[-1:]))


def _ahead(advance: Callable[[int], None], before: int, done: int) -> None:
    advance(before + done)


def _computed(
    fronts: Sequence[Front],
    runs: Sequence[Callable[[Any], Any]],
    examples: Examples,
    view: int | None,
    settings: Settings,
    advance: Callable[[int], None],
) -> Features:
    """Features at the last front; those before it are computed only when that is not cached."""
    nearer = None
    if len(fronts) > 1:
        nearer = functools.partial(_computed, fronts[:-1], runs[:-1], examples, view, settings, advance)
    return feature_cache.compute(
        runs[-1],
        examples,
        key=fronts[-1].key,
        batch_size=settings.batch_size,
        view=view,
        seed=settings.seed,
        cached=settings.cached,
        memory=settings.memory,
        source=nearer,
        progress=advance,
    )


def _batches(
    source: Source, order: np.ndarray, settings: Settings, phase: int, epoch: int, training: bool
) -> Iterator[tuple[np.ndarray, Any]]:
    """(indices, inputs) of each batch of an epoch."""
    pieces = chunks(order, settings.batch_size)
    if source.features:
        count = len(source.features)
        views = view_of_epoch(len(order), count, settings.seed, phase, epoch) if count > 1 else None
        for piece in pieces:
            yield piece, _features_of(source, piece, views)
        return
    fresh = training and source.examples.augment is not None
    seeds = (lambda i: stable_seed(settings.seed, phase, epoch, i)) if fresh else None
    for piece, x in zip(pieces, read_batches(source.examples, pieces, seeds), strict=True):
        yield piece, x if source.front is None else source.front(x)


def _features_of(source: Source, piece: np.ndarray, views: np.ndarray | None) -> np.ndarray:
    if views is None:
        return source.features[0].take(piece)
    rows = [source.features[views[i]].take(np.asarray([i])) for i in piece]
    return np.concatenate(rows)


# -- compiled steps


@dataclass(frozen=True, eq=False)
class Trainer:
    """A compiled model and its two traced steps: (x, y, weights) -> loss, and the sums behind the loss."""

    model: keras.Model
    train_step: Callable[..., Any]
    test_step: Callable[..., Any]
    weights: np.ndarray | None
    schedule: Callable[[int], float]


def _compiled(
    arrangement: Arrangement, task: Task, phase: Phase, train: Source, settings: Settings, whole: keras.Model
) -> Trainer:
    """Compile with a fresh optimizer, loss and metrics, and trace the steps."""
    trained = arrangement.trained
    steps = -(-len(train.examples) // settings.batch_size) * max(1, phase.epochs)
    rate = _rate(phase, steps)
    optimizer = _optimizer(phase, rate, whole)
    trained.compile(optimizer=optimizer, loss=task.loss(), weighted_metrics=task.metrics(), jit_compile=False)
    optimizer.build(trained.trainable_variables)
    weights = _sample_weights(task, train.examples)
    keep = _kept_statistics(whole, phase)
    schedule = rate if callable(rate) else lambda step: rate
    return Trainer(
        model=trained,
        train_step=tf.function(_train_step(trained, optimizer, keep), reduce_retracing=True),
        test_step=tf.function(_test_step(trained), reduce_retracing=True),
        weights=weights,
        schedule=lambda step: float(schedule(step)),
    )


def _rate(phase: Phase, steps: int) -> Any:
    """Constant, or linear warm-up to the peak and then constant or a cosine to 0."""
    warmup = round(phase.warmup * steps)
    if not warmup and not phase.cosine:
        return phase.lr
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=phase.lr / max(1, warmup) if warmup else phase.lr,
        decay_steps=max(1, steps - warmup),
        alpha=0.0 if phase.cosine else 1.0,
        warmup_target=phase.lr if warmup else None,
        warmup_steps=warmup,
    )


def _optimizer(phase: Phase, rate: Any, model: keras.Model) -> keras.optimizers.Optimizer:
    shared = {"learning_rate": rate, "global_clipnorm": phase.clip_norm}
    layer = backbone_of(model)
    if phase.lr_decay == 1.0 or layer is None:
        if not phase.weight_decay:
            return keras.optimizers.Adam(**shared)
        return keras.optimizers.AdamW(weight_decay=phase.weight_decay, **shared)
    return DepthAdamW(factors=layer.depth_factors(phase.lr_decay), weight_decay=phase.weight_decay, **shared)


def _sample_weights(task: Task, train: Examples) -> np.ndarray | None:
    weights = train.weights
    if task.sample_weights is not None:
        by_target = task.sample_weights(train.targets)
        weights = by_target if weights is None else weights * by_target
    return None if weights is None else np.asarray(weights, dtype=np.float32)


def _kept_statistics(model: keras.Model, phase: Phase) -> list[Any]:
    """BatchNorm statistics of frozen blocks: with training=True the module moves them, so each step puts them back."""
    layer = backbone_of(model)
    cut = layer.cut_for(phase.unfrozen) if layer is not None and phase.batch_stats == "adapt" else None
    if cut is None or layer is None:
        return []
    behind = set(cut.variables_behind)
    return [v for i, v in layer.module_variables.items() if i not in behind and not v.trainable]


def _train_step(model: keras.Model, optimizer: Any, keep: list[Any]) -> Callable[..., Any]:
    """One step that raises before it touches a weight when the loss or a gradient is not finite."""

    def step(x: Any, y: Any, weights: Any) -> Any:
        kept = [tf.identity(v.value) for v in keep]
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = model.compute_loss(x, y, outputs, weights, training=True)
        gradients = tape.gradient(loss, variables)
        some = [g for g in gradients if g is not None]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(t))) for t in (loss, *some)])
        with tf.control_dependencies([tf.debugging.Assert(finite, ["not finite"])]):
            gradients = [None if g is None else tf.identity(tf.convert_to_tensor(g)) for g in gradients]
        optimizer.apply(gradients, variables)
        for variable, value in zip(keep, kept, strict=True):
            variable.assign(value)
        model.compute_metrics(x, y, outputs, weights)
        return loss

    return step


def _test_step(model: keras.Model) -> Callable[..., Any]:
    def step(x: Any, y: Any, weights: Any) -> Any:
        outputs = model(x, training=False)
        model.compute_metrics(x, y, outputs, weights)
        return model.compute_loss(x, y, outputs, weights, training=False)

    return step


# -- epochs


def _run_epochs(
    model: keras.Model,
    trainer: Trainer,
    train: Source,
    val: Source,
    task: Task,
    phase: Phase,
    number: int,
    settings: Settings,
    best: Best,
    progress: Progress,
) -> tuple[dict[str, list[float]], int]:
    history: dict[str, list[float]] = {}
    best_epoch, own_best = 0, None
    for epoch in range(1, phase.epochs + 1):
        started = time.perf_counter()
        figures = _train_epoch(trainer, train, number, epoch, settings, progress)
        figures |= {f"val_{k}": v for k, v in _validate(trainer, val, settings).items()}
        figures["seconds"] = time.perf_counter() - started
        for key, value in figures.items():
            history.setdefault(key, []).append(value)
        progress.line(_epoch_line(number, phase, epoch, figures))
        figure = _figure(figures, task)
        if own_best is None or _better(figure, own_best, task):
            own_best, best_epoch = figure, epoch
        if best.figure is None or _better(figure, best.figure, task):
            _remember(model, trainer, best, figure)
        if phase.patience is not None and epoch - best_epoch >= phase.patience:
            progress.line(f"phase {number + 1}: no better for {phase.patience} epochs, stopped")
            break
    return history, best_epoch


def _figure(figures: Mapping[str, float], task: Task) -> float:
    name = task.monitor[0]
    if name not in figures:
        raise InputError(f"The task monitors {name!r}, but a phase measures {sorted(figures)}; correct Task.monitor.")
    return figures[name]


def _better(figure: float, than: float, task: Task) -> bool:
    return figure < than if task.monitor[1] == "min" else figure > than


def _remember(model: keras.Model, trainer: Trainer, best: Best, figure: float) -> None:
    """Copy what this phase can have changed; the rest is as it was at the last improvement."""
    changed = {id(v) for v in trainer.model.variables}
    for index, weight in enumerate(model.weights):
        if id(weight) in changed or index not in best.weights:
            best.weights[index] = np.array(weight)
    best.figure = figure


def _restore(model: keras.Model, best: Best) -> None:
    for index, weight in enumerate(model.weights):
        if index in best.weights:
            weight.assign(best.weights[index])


def _train_epoch(
    trainer: Trainer, train: Source, phase: int, epoch: int, settings: Settings, progress: Progress
) -> dict[str, float]:
    order = order_of_epoch(len(train.examples), settings.seed, phase, epoch)
    trainer.model.reset_metrics()
    total, count = 0.0, 0
    rate = trainer.schedule(int(trainer.model.optimizer.iterations))
    shown = progress.quiet_bar if train.features else progress.bar
    with shown(f"phase {phase + 1} epoch {epoch}", len(order)) as advance:
        for indices, x in _batches(train, order, settings, phase, epoch, training=True):
            loss = _step(trainer, train, indices, x, phase, epoch)
            total, count = total + loss * len(indices), count + len(indices)
            advance(count)
    return {"loss": total / count, **_metrics(trainer.model), "lr": rate}


def _step(trainer: Trainer, train: Source, indices: np.ndarray, x: Any, phase: int, epoch: int) -> float:
    weights = None if trainer.weights is None else trainer.weights[indices]
    try:
        return float(trainer.train_step(x, train.examples.targets[indices], weights))
    except tf.errors.InvalidArgumentError as error:
        if "not finite" not in str(error):
            raise
        names = ", ".join(train.examples.ids[i] for i in indices[:3])
        batch = int(trainer.model.optimizer.iterations) + 1
        raise TrainingError(
            f"The loss became NaN or infinite in phase {phase + 1}, epoch {epoch}, at step {batch} "
            f"(examples {names}, ...); the weights are those before it. Lower the phase's lr, or look at these examples."
        ) from None


def _validate(trainer: Trainer, val: Source, settings: Settings) -> dict[str, float]:
    trainer.model.reset_metrics()
    total, count = 0.0, 0
    for indices, x in _batches(val, np.arange(len(val.examples)), settings, 0, 0, training=False):
        weights = None if val.examples.weights is None else val.examples.weights[indices]
        loss = float(trainer.test_step(x, val.examples.targets[indices], weights))
        total, count = total + loss * len(indices), count + len(indices)
    return {"loss": total / count, **_metrics(trainer.model)}


def _metrics(model: keras.Model) -> dict[str, float]:
    """The task's metrics; the loss is averaged by ourselves, as it is not tracked outside keras.Model.fit."""
    return {k: float(v) for k, v in model.get_metrics_result().items() if k != "loss"}


def _epoch_line(number: int, phase: Phase, epoch: int, figures: Mapping[str, float]) -> str:
    shown = [f"{k} {v:.4g}" for k, v in figures.items() if k not in ("seconds", "lr")]
    kind = f"top {phase.unfrozen:.0%} unfrozen" if phase.unfrozen else "frozen"
    return f"phase {number + 1} ({kind}) epoch {epoch}/{phase.epochs}  {'  '.join(shown)}  {figures['seconds']:.2f} s"


# -- proof


def _frozen(model: keras.Model, arrangement: Arrangement, phase: Phase) -> list[Any]:
    """Variables of the module that must not move in a phase."""
    layer = backbone_of(model)
    if layer is None:
        return []
    moving = {id(v) for v in arrangement.trained.trainable_variables}
    if phase.batch_stats == "adapt":
        cut = layer.cut_for(phase.unfrozen)
        behind = set(layer.module_variables) if cut is None else set(cut.variables_behind)
        moving |= {id(v) for i, v in layer.module_variables.items() if i in behind}
    return [v for v in layer.module_variables.values() if id(v) not in moving]


def _proof(model: keras.Model, arrangement: Arrangement, frozen: list[Any], before: str, number: int) -> dict[str, Any]:
    after = weights_hash(frozen)
    if after != before:
        raise TrainingError(
            f"Frozen weights moved in phase {number + 1}: their sha256 was {before[:12]} and is {after[:12]}. "
            "Something outside tlkit wrote to the module's variables."
        )
    return {
        "frozen_variables": len(frozen),
        "trained_variables": len(arrangement.trained.trainable_variables),
        "sha256_before": before,
        "sha256_after": after,
    }


def with_seconds(run: Run, **stages: float) -> Run:
    """The run with more stages in its `seconds`."""
    return replace(run, seconds={**run.seconds, **stages})
