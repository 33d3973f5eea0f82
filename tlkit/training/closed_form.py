"""Tasks that are solved and not trained: one pass over the frozen module, and the rest is computed."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tlkit.core.examples import Splits
from tlkit.core.progress import Progress
from tlkit.core.run import Phase, Run
from tlkit.core.task import HeadOutputs, Task
from tlkit.core.workers import ALONE
from tlkit.model.partition import arrange
from tlkit.training.inputs import Settings, Source, batches, sources

FROZEN = Phase(epochs=0, lr=1.0)  # the module is arranged as for a phase in which the head alone would train


def solved(model: keras.Model, task: Task, data: Splits, settings: Settings, progress: Progress) -> Run:
    """The model with what `task.solve` leaves to be done to its outputs, as the task's `inference`.

    Features of the frozen module are cached as in any phase, so what was killed begins where they end.

    Args:
        model: That `build` made of the task.
        task: With `solve`.
        data: Training examples are read as they are, without `augment`.
        settings: Batch size and cache.
        progress: Where progress goes.
    """
    started = time.perf_counter()
    assert task.solve is not None
    plain = replace(data, train=replace(data.train, augment=None))
    arrangement = arrange(model, FROZEN)
    train, val = sources(arrangement, plain, settings, progress)
    head, settings = arrangement.trained, replace(settings, workers=ALONE)  # each worker reads all, and solves it
    inference = task.solve(_outputs(head, train, settings), _outputs(head, val, settings), progress.line)
    seconds = {"phases": time.perf_counter() - started}
    return Run(model=model, task=replace(task, inference=(inference,)), data=data, seconds=seconds)


def _outputs(head: keras.Model, source: Source, settings: Settings) -> HeadOutputs:
    return HeadOutputs(source.examples, functools.partial(_batches, head, source, settings))


def _batches(head: keras.Model, source: Source, settings: Settings) -> Iterator[tuple[np.ndarray, Any]]:
    for piece, x, _ in batches(source, np.arange(len(source.examples)), settings):
        yield piece, keras.tree.map_structure(np.asarray, head(x, training=False))
