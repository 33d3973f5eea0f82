"""A run as strict JSON data: what run.json holds, and what the report is drawn from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core import excerpts
from tlkit.core.examples import Splits
from tlkit.core.run import Exported, Run

SCHEMA = 1  # raised when a key changes its meaning or goes; new keys do not raise it
SPLITS = ("train", "val", "test")
NOT_KEPT = ("example_scores",)  # details as long as the data


def run_json(run: Run) -> dict[str, Any]:
    """The whole record of a run as plain data that any JSON parser reads: no NaN, no NumPy.

    `run.record` may itself be a record that was read from run.json: what the run does not know any more (its phases,
    its scores, the counts of the whole data) then comes from there. A format exported again replaces its old row.

    Args:
        run: At any stage.

    Returns:
        `schema`, what `run.record` holds (command, seed, module, versions, ...), `task`, `data` (counts, balance,
        quarantine, duplicates, notes, fingerprint), `phases`, flat `scores`, `details`, flat `seconds`, `exports`.
        Numbers that are not finite are null.
    """
    earlier = run.record
    phases = [dataclasses.asdict(result) for result in run.phases]
    record = {
        **earlier,
        "schema": SCHEMA,
        "task": _task(run),
        "data": {**_data(run.data), **earlier.get("data", {})},
        "phases": phases or earlier.get("phases", []),
        "scores": dict(run.scores) or earlier.get("scores", {}),
        "details": _details(run) or earlier.get("details", {}),
        "seconds": {**earlier.get("seconds", {}), **run.seconds},
        "exports": _exports(run.exports, earlier.get("exports", [])),
    }
    plain: dict[str, Any] = plain_json(record)
    return plain


def plain_json(value: Any) -> Any:
    """`value` as strict JSON data: tuples and arrays as lists, paths as text, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain_json(value.tolist())
    if isinstance(value, np.generic):
        return plain_json(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else _text(value)


def _text(value: Any) -> str:
    return value.as_posix() if isinstance(value, Path) else str(value)


def _task(run: Run) -> dict[str, Any]:
    path, arguments = run.task.made_by
    return {"name": run.task.name, "labels": run.task.labels, "recipe": path, "arguments": arguments}


def _data(splits: Splits) -> dict[str, Any]:
    return {
        "fingerprint": splits.fingerprint,
        **{name: len(excerpts.whole(getattr(splits, name))) for name in SPLITS},
        "labels": splits.labels,
        "balance": _balance(splits),
        "quarantine": [dataclasses.asdict(item) for item in splits.quarantine],
        "duplicates": splits.duplicates,
        "notes": splits.notes,
    }


def _balance(splits: Splits) -> list[dict[str, Any]]:
    """Examples of each label in each split, texts where they are windows of texts; empty where there are no labels."""
    train, val, test = (excerpts.whole(getattr(splits, name)) for name in SPLITS)
    counts = dataclasses.replace(splits, train=train, val=val, test=test).counts
    return [{"label": label, **dict(zip(SPLITS, row, strict=True))} for label, row in counts.items()]


def _details(run: Run) -> dict[str, Any]:
    details = {} if run.evaluation is None else run.evaluation.details
    return {key: value for key, value in details.items() if key not in NOT_KEPT}


def _exports(new: tuple[Exported, ...], old: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    new_formats = {row.format for row in new}
    return [row for row in old if row["format"] not in new_formats] + [dataclasses.asdict(row) for row in new]
