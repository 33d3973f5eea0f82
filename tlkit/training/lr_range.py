"""The learning-rate range test: which rate a phase should have, by trying all of them for some steps."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit.core.batches import order_of_epoch, targets_of
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits, check_splits
from tlkit.core.files import atomic_file
from tlkit.core.multi_targets import unpacked
from tlkit.core.progress import Progress, quiet
from tlkit.core.run import Phase
from tlkit.core.task import Task
from tlkit.layer.lookup import backbone_of
from tlkit.model.functional import functional
from tlkit.model.partition import arrange
from tlkit.training.inputs import Drawn, Moment, Settings, Source, batches, sources
from tlkit.training.step import NOT_FINITE, Trainer, compiled

SMOOTHING = 0.9  # of the running mean of the loss
DIVERGED = 4.0  # times the lowest smoothed loss


@dataclass(frozen=True)
class LrRange:
    """What a range test found.

    Attributes:
        rates: Learning rate of each step, rising.
        losses: Training loss of each step's batch, before the step.
        smoothed: Running mean of the losses.
        suggestion: The rate at which the loss was half-way down to its lowest: a peak rate for the phase.
        diverged: Whether the test ended because the loss rose to several times its lowest, or was not finite.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float
    diverged: bool

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw losses over rates.

        Args:
            path: Where the plot goes, by its ending: .png, .svg or .pdf; None writes none.

        Returns:
            A matplotlib Figure, which notebooks show.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="training loss")
        axes.plot(self.rates, self.losses, color="0.8", label="one batch")
        axes.plot(self.rates, self.smoothed, color="C0", label="smoothed")
        axes.axvline(self.suggestion, color="C1", linestyle="--", label=f"suggestion: {self.suggestion:.2g}")
        axes.set_ylim(bottom=0.0, top=2.0 * self.smoothed[0])
        axes.legend()
        if path is not None:
            with atomic_file(path) as partial:
                figure.savefig(partial, dpi=150)
        return figure


def find_lr(
    model: keras.Model,
    task: Task,
    data: Splits,
    phase: Phase | None = None,
    *,
    lr: tuple[float, float] = (1e-6, 1.0),
    steps: int = 100,
    batch_size: int = 32,
    seed: int = 0,
    progress: Progress = quiet,
) -> LrRange:
    """Raise the rate exponentially, step by step, until the loss diverges; then put everything back.

    The model trains as `phase` arranges it: the same weights unfrozen, the same `lr_decay` and weight decay, the same
    augmentation. Weights, statistics and the states of random generators are afterwards what they were, byte for byte.

    Args:
        model: What `fit` would be given.
        task: Its task.
        data: Training examples are used, as many as the steps need.
        phase: Says what trains; its own rate, warm-up and epochs are not used. None trains the head alone.
        lr: Lowest and highest rate tried, both > 0.
        steps: Steps from the one to the other, >= 10.
        batch_size: Examples a step, >= 1.
        seed: Of the order of examples and their augmentation.
        progress: Where progress goes.

    Returns:
        Rates, losses and a suggestion; `plot("lr.png")` draws them.

    Raises:
        InputError: If an argument lies outside its range, or the loss did not fall at any rate.

    Source: Smith 2017, arXiv:1506.01186 (section 3.3).
    """
    check_splits(data)
    model = functional(model, data.train.inputs.spec)
    _check(data, lr, steps, batch_size)
    task.objective.check(data)
    task = task.begun(data, lambda line: None)
    sample = _needed(data, steps * batch_size, seed)
    rates = np.geomspace(*lr, steps).tolist()
    with _put_back(model):
        trainer, source, settings = _ready(model, task, sample, phase or Phase(epochs=1, lr=lr[1]), batch_size, seed)
        with progress.bar("learning rates", steps) as advance:
            losses = []
            for loss in _losses(trainer, source, settings, rates):
                losses.append(loss)
                advance(len(losses))
    return found(rates, losses)


def found(rates: Sequence[float], losses: Sequence[float]) -> LrRange:
    """What losses at rising rates say; fewer losses than rates mean that the last one was not finite or too high.

    Raises:
        InputError: If the loss never fell.

    Example:
        >>> rates = [10.0 ** (e / 3) for e in range(-18, 1)]
        >>> losses = [1.0] * 8 + [0.9, 0.7, 0.4, 0.2, 0.1, 0.1, 0.1, 0.2, 0.9, 20.0]
        >>> round(found(rates, losses).suggestion, 4)
        0.001
    """
    window = max(3, len(rates) // 10)
    levels = _levels(losses, window)
    before = float(np.median(losses[:window])) if losses else 0.0
    lowest = int(np.argmin(levels)) if losses else 0
    if lowest < window or levels[lowest] >= before:
        raise InputError(
            f"The loss did not fall at any rate from {rates[0]:.1e} to {rates[max(0, len(losses) - 1)]:.1e}; "
            "begin with a lower `lr`, take more `steps`, or look at the data."
        )
    half_way = np.flatnonzero(levels[:lowest] >= (before + levels[lowest]) / 2)[-1]
    means = smoothed(losses)
    return LrRange(
        rates=tuple(rates[: len(losses)]),
        losses=tuple(losses),
        smoothed=tuple(means),
        suggestion=float(rates[half_way]),
        diverged=len(losses) < len(rates) or _too_high(means),
    )


def _levels(losses: Sequence[float], window: int) -> np.ndarray:
    """Medians of the losses around each step: one odd batch decides nothing, and they do not lag as a mean would."""
    reach = window // 2
    return np.asarray([np.median(losses[max(0, i - reach) : i + reach + 1]) for i in range(len(losses))])


def smoothed(losses: Sequence[float]) -> list[float]:
    """Running mean in which older losses count ever less, without the pull of a first value.

    Example:
        >>> [round(mean, 3) for mean in smoothed([2.0, 2.0, 1.0])]
        [2.0, 2.0, 1.631]
    """
    means, mean = [], 0.0
    for count, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        means.append(mean / (1 - SMOOTHING**count))
    return means


def _too_high(means: Sequence[float]) -> bool:
    return means[-1] > DIVERGED * min(means)


def _check(data: Splits, lr: tuple[float, float], steps: int, batch_size: int) -> None:
    if len(lr) != 2 or not 0 < lr[0] < lr[1] < math.inf:
        raise InputError(f"`lr` holds the lowest and the highest rate to try, both positive. Received: lr={lr!r}.")
    if steps < 10:
        raise InputError(f"`steps` must be 10 or more. Received: steps={steps!r}.")
    if batch_size < 1:
        raise InputError(f"`batch_size` must be 1 or more. Received: batch_size={batch_size!r}.")
    if len(data.train) == 0:
        raise InputError("The train split is empty; give more data, or another `split`.")


def _needed(data: Splits, count: int, seed: int) -> Splits:
    """As many training examples as there are steps for, so that no features are computed in vain."""
    order = order_of_epoch(len(data.train), seed, 0, 0)[:count]
    return replace(data, train=data.train.subset(np.sort(order).tolist()), val=data.train.subset([int(order[0])]))


def _ready(
    model: keras.Model, task: Task, data: Splits, phase: Phase, batch_size: int, seed: int
) -> tuple[Trainer, Source, Settings]:
    arrangement = arrange(model, phase)
    trained = arrangement.trained
    if trained is model:  # compiling must not touch what the user compiled
        trained = keras.Model(model.input, model.output)
    settings = Settings(seed, batch_size, views=1 if data.train.augment is None else 0)
    source, _ = sources(arrangement, data, settings, quiet)
    return compiled(model, trained, task, phase, data.train, batch_size), source, settings


def _losses(trainer: Trainer, source: Source, settings: Settings, rates: Sequence[float]) -> Iterator[float]:
    """Loss of each step at its rate, up to where it is not finite or too high."""
    examples, losses = source.examples, list[float]()
    for (indices, x, drawn), rate in zip(_endless(source, settings), rates, strict=False):
        weights = None if trainer.weights is None else trainer.weights[indices]
        try:
            loss = float(trainer.train_step(x, unpacked(targets_of(examples, indices, drawn)), weights, rate))
        except tf.errors.InvalidArgumentError as error:
            if NOT_FINITE not in str(error):
                raise
            return
        losses.append(loss)
        yield loss
        if _too_high(smoothed(losses)):
            return


def _endless(source: Source, settings: Settings) -> Iterator[tuple[np.ndarray, Any, Drawn]]:
    for epoch in itertools.count(1):
        order = order_of_epoch(len(source.examples), settings.seed, 0, epoch)
        yield from batches(source, order, settings, Moment(0, epoch))


@contextlib.contextmanager
def _put_back(model: keras.Model) -> Iterator[None]:
    """Whatever happens inside, weights, states and flags are afterwards what they were."""
    layer = backbone_of(model)
    values = [np.array(v) for v in model.variables]
    flags = None if layer is None else (layer.unfrozen, layer.trainable, layer.batch_stats)
    try:
        yield
    finally:
        for variable, value in zip(model.variables, values, strict=True):
            variable.assign(value)
        if layer is not None and flags is not None:
            _set_flags(layer, *flags)


def _set_flags(layer: Any, unfrozen: float, trainable: bool, batch_stats: str) -> None:
    if unfrozen != layer.unfrozen and unfrozen > 0:
        layer.unfreeze(unfrozen)
    layer.trainable = trainable
    layer.batch_stats = batch_stats
