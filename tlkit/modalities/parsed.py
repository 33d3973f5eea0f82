"""What `parse` of a modality gives: examples of one thing, and what was done to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tlkit.core.columns import ArrayColumn, TextColumn
from tlkit.core.examples import Column, Examples, Pipeline
from tlkit.core.modality import NOTE


def one_example(
    name: str, modality: str, inputs: Column, note: str, pipeline: Pipeline, columns: Mapping[str, Column] | None = None
) -> Examples:
    """A thing as examples without targets.

    Args:
        name: Of the thing, for messages.
        modality: Of the examples.
        inputs: One example, or several that together are the thing.
        note: What was done to it.
        pipeline: What made the examples of training.
        columns: What travels with it.
    """
    count = len(inputs)
    return Examples(
        ids=(name, *(f"{name}@{number}" for number in range(1, count))),
        inputs=inputs,
        targets=ArrayColumn(np.zeros((count, 0), np.float32)),
        modality=modality,
        pipeline=pipeline,
        columns={NOTE: TextColumn([note] * count), **(columns or {})},
    )


def also_noted(examples: Examples, note: str) -> Examples:
    """The same thing with a further note in front of those that it has; "" adds none."""
    notes = [str(examples.columns[NOTE][i]) for i in range(len(examples))]
    joined = TextColumn(["; ".join(filter(None, (note, earlier))) for earlier in notes])
    return dataclasses.replace(examples, columns={**examples.columns, NOTE: joined})
