"""Frozen weights are hashed before and after a phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from tlkit.core.errors import TrainingError
from tlkit.layer.lookup import backbone_of
from tlkit.model.partition import weights_hash

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
    return [v for v in layer.module_variables.values() if id(v) not in moving]


def proof_of(stage: Stage, frozen: list[Any], before: str) -> dict[str, Any]:
    """Counts and hashes of a phase that is done; TrainingError where frozen weights moved since `before`."""
    after = weights_hash(frozen)
    if after != before:
        raise TrainingError(
            f"Frozen weights moved in phase {stage.number + 1}: their sha256 was {before[:12]} and is {after[:12]}. "
            "Something outside tlkit wrote to the module's variables."
        )
    return {
        "frozen_variables": len(frozen),
        "trained_variables": len(stage.trainer.model.trainable_variables),
        "sha256_before": before,
        "sha256_after": after,
    }
