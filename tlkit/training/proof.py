"""Frozen weights are hashed before and after a phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from tlkit.core.errors import TrainingError
from tlkit.core.workers import Workers
from tlkit.layer.lookup import backbone_of
from tlkit.model.partition import weights_hash
from tlkit.training.resume import is_seed

if TYPE_CHECKING:
    from tlkit.training.fit import Stage


def frozen_variables(model: keras.Model, stage: Stage) -> list[Any]:
    """Variables of the module that must not move in a phase."""
    layer = backbone_of(model)
    if layer is None:
        return []
    moving = {id(v) for v in stage.trainer.model.trainable_variables}
    if stage.phase.batch_stats == "adapt":
        cut = layer.cut_for(stage.phase.unfrozen)
        behind = set(layer.module_variables) if cut is None else set(cut.variables_behind)
        moving |= {id(v) for i, v in layer.module_variables.items() if i in behind}
    return [v for v in layer.module_variables.values() if id(v) not in moving and not is_seed(v)]


def proof_of(stage: Stage, frozen: list[Any], before: str, workers: Workers) -> dict[str, Any]:
    """Counts and hashes of a phase that is done; of several workers, whether all have the same weights.

    Raises:
        TrainingError: If frozen weights moved since `before`, or are others on another worker.
    """
    after = weights_hash(frozen)
    if after != before:
        raise TrainingError(
            f"Frozen weights moved in phase {stage.number + 1}: their sha256 was {before[:12]} and is {after[:12]}. "
            "Something outside tlkit wrote to the module's variables."
        )
    if others := workers.unlike_chief(after):
        raise TrainingError(
            f"The frozen weights of worker {others[0]} are not those of the chief after phase {stage.number + 1}: give "
            "all workers the same module."
        )
    trained = stage.trainer.model.trainable_variables
    return _of_workers(workers, weights_hash(trained)) | {
        "frozen_variables": len(frozen),
        "trained_variables": len(trained),
        "sha256_before": before,
        "sha256_after": after,
    }


def _of_workers(workers: Workers, trained: str) -> dict[str, Any]:
    """How many workers trained, and which have other trained weights than the chief: unlike processors do."""
    return {} if workers.count == 1 else {"workers": workers.count, "unlike_chief": workers.unlike_chief(trained)}
