"""A run that was made of another one without training: what stays true of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlkit.core.run import Run

if TYPE_CHECKING:
    import keras

MEASURED = ("scores", "details", "exports", "transfer")  # of a record: what was found of the old model, or made of it
STAGES = ("evaluate", "export", "report")  # of the seconds: those of the same


def derived(run: Run, model: keras.Model, **further: Any) -> Run:
    """The run with another model, as one that was neither evaluated nor exported nor saved.

    How it was trained stays known: task, data, phases, and of the record what says how to make it again.

    Args:
        run: A run, also one opened from its folder.
        model: The model that takes the place of its own.
        **further: Entries of the new run's record, such as `method`.
    """
    record = _without(run.record, MEASURED)
    if "seconds" in record:
        record["seconds"] = _without(record["seconds"], STAGES)
    return dataclasses.replace(
        run,
        model=model,
        evaluation=None,
        seconds=_without(run.seconds, STAGES),
        record=record | further,
        exports=(),
        folder=None,
    )


def _without(record: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in names}
