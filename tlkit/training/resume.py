"""What a fit keeps while it runs, and how it goes on from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.files import sha256_bytes
from tlkit.core.identity import identity
from tlkit.core.progress import Progress
from tlkit.core.run import Phase, PhaseResult
from tlkit.core.task import Task
from tlkit.layer.lookup import hub_layers
from tlkit.model.partition import weights_hash
from tlkit.tasks.recording import told_apart
from tlkit.training import checkpoint
from tlkit.training.inputs import Settings
from tlkit.training.step import Trainer

if TYPE_CHECKING:
    from tlkit.training.fit import Stage

Arrays = dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class State:
    """How far a fit has come; with the trained variables and the optimizer it is all that a checkpoint holds.

    Attributes:
        results: Of the phases that are done.
        epoch: Epochs done of the phase that is under way.
        history: Figures of that phase, one list each.
        seconds: Of each of its epochs.
        own_best: Its best validation figure and the epoch that gave it.
        best: Best validation figure of all phases.
        weights: The weights that gave it, by position in `model.variables`: those that phases have trained.
        number: Counts checkpoints.
    """

    results: tuple[PhaseResult, ...] = ()
    epoch: int = 0
    history: Mapping[str, list[float]] = field(default_factory=dict)
    seconds: tuple[float, ...] = ()
    own_best: tuple[float, int] | None = None
    best: float | None = None
    weights: Mapping[int, np.ndarray] = field(default_factory=dict)
    number: int = 0


def is_seed(variable: Any) -> bool:
    """States of random generators run on; they are no weights and the best epoch does not bring them back."""
    return "seed_generator" in variable.path


def assign(model: keras.Model, weights: Mapping[int, np.ndarray]) -> None:
    """Give variables of a model their values, by position."""
    variables = model.variables
    for index, value in weights.items():
        variables[index].assign(value)


def keeper(
    model: keras.Model,
    task: Task,
    data: Splits,
    phases: Sequence[Phase],
    settings: Settings,
    folder: str | Path | None,
    progress: Progress,
) -> tuple[Callable[[State, Trainer | None], None], checkpoint.Checkpoint | None]:
    """A function that writes a checkpoint, on the chief alone, and the newest that is there already.

    Raises:
        InputError: If the checkpoints there are of another fit, or the workers were given or see different things.
    """
    workers = settings.workers
    if folder is None and workers.count == 1:
        return lambda state, trainer: None, None
    modules = [f"{layer.input_range} {layer.output_key} {layer.form}" for layer in hub_layers(model)]
    signature = sha256_bytes(
        str(tuple(phases)), str(task.made_by), data.fingerprint, weights_hash(model.variables), str(tf.__version__),
        *modules,
        f"{settings.seed} {settings.batch_size} {settings.views} {settings.cache_dtype} "
        f"{identity(data.train.augment)} {settings.micro_batch}",
        *([] if workers.replicas == 1 else [f"{workers.replicas} replicas"]),
    )  # fmt: skip
    if others := workers.unlike_chief(signature):
        raise InputError(f"Worker {others[0]} was given other data, another module or other settings than the chief.")
    if folder is None:
        return lambda state, trainer: None, None
    path = Path(folder)
    stored = checkpoint.newest(path, signature, progress.line)
    if stored is not None and not told_apart(task.made_by):
        raise InputError(
            f"{path.parent} holds a fit that was begun before, and whether its head was this one cannot be seen: make "
            "the head a function of a module, or start over with fresh=True (--fresh on the command line)."
        )
    if others := workers.unlike_chief(sha256_bytes("none" if stored is None else str(stored.number))):
        raise InputError(f"Worker {others[0]} does not see the chief's checkpoints: give all the same folder, {path}.")
    if stored is not None:
        progress.line(f"resumed behind phase {stored.plain['phase']}, epoch {stored.plain['epoch']}")

    def keep(state: State, trainer: Trainer | None) -> None:
        if workers.chief:
            checkpoint.write(path, _stored(model, state, trainer, signature))

    return keep, stored


def _stored(model: keras.Model, state: State, trainer: Trainer | None, signature: str) -> checkpoint.Checkpoint:
    arrays = {f"best.{i}": value for i, value in state.weights.items()}
    arrays |= {f"seed.{i}": np.asarray(v) for i, v in enumerate(model.variables) if is_seed(v)}
    if trainer is not None:
        arrays |= {f"trained.{i}": np.asarray(v) for i, v in enumerate(trainer.model.variables)}
        arrays |= {f"optimizer.{i}": np.asarray(v) for i, v in enumerate(trainer.optimizer.variables)}
    plain = {
        "phase": len(state.results) + (trainer is not None),
        "results": [dataclasses.asdict(result) for result in state.results],
        **{name: getattr(state, name) for name in ("epoch", "history", "seconds", "own_best", "best")},
    }
    return checkpoint.Checkpoint(state.number * 2 + (trainer is None), signature, arrays, plain)


def opened_state(stored: checkpoint.Checkpoint) -> State:
    """How far the fit was that wrote a checkpoint."""
    plain = stored.plain
    results = tuple(PhaseResult(**{**r, "phase": Phase(**r["phase"])}) for r in plain["results"])
    return State(
        results=results,
        epoch=plain["epoch"],
        history=plain["history"],
        seconds=tuple(plain["seconds"]),
        own_best=tuple(plain["own_best"]) if plain["own_best"] else None,
        best=plain["best"],
        weights=numbered(stored, "best"),
        number=stored.number // 2,
    )


def numbered(stored: checkpoint.Checkpoint, kind: str) -> Arrays:
    """Arrays of one kind that a checkpoint holds, by position in `model.variables`."""
    return {int(k.split(".")[1]): v for k, v in stored.arrays.items() if k.startswith(f"{kind}.")}


def resume(stage: Stage, stored: checkpoint.Checkpoint) -> None:
    """Give the trained variables and the optimizer the values of the checkpoint."""
    trainer = stage.trainer
    for kind, variables in (("trained", trainer.model.variables), ("optimizer", trainer.optimizer.variables)):
        for i, variable in enumerate(variables):
            variable.assign(stored.arrays[f"{kind}.{i}"])
