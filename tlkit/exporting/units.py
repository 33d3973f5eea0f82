"""A task whose values have no unit yet, for formats that quantise, and what brings them to their unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.answers.affine import Affine
from tlkit.core.task import Answer, Task
from tlkit.formats.tflite import DEFAULT

Scales = dict[tuple[str, str], tuple[Sequence[float], Sequence[float]]]


def standardised(task: Task, raw: Any) -> Task:
    """The task with answers before they get their unit, or are decoded in float32.

    Args:
        task: Of the run.
        raw: Raw outputs of the model, for their names.
    """
    return dataclasses.replace(task, answers=tuple(_bare(answer, task, raw) for answer in task.answers))


def _bare(answer: Answer, task: Task, raw: Any) -> Answer:
    if has_tail(task):
        return dataclasses.replace(answer, decode=raw_by_name, tensors=tuple(raw_by_name(raw)))
    return dataclasses.replace(answer, decode=answer.decode.bare) if isinstance(answer.decode, Affine) else answer


def has_tail(task: Task) -> bool:
    """Whether the task's only answer is decoded in float32 behind what a format quantised."""
    return len(task.answers) == 1 and task.answers[0].in_float32


def raw_by_name(raw: Any) -> dict[str, Any]:
    """Raw outputs by name, one that is alone as "raw"."""
    return {str(name): tensor for name, tensor in raw.items()} if isinstance(raw, Mapping) else {"raw": raw}


def scales(task: Task) -> Scales:
    """Factor and offset of each column, behind the outputs that need them, by signature and output."""
    by_output: Scales = {}
    for answer in task.answers:
        if isinstance(answer.decode, Affine):
            numbers = (answer.decode.factor, answer.decode.offset)
            by_output[DEFAULT, task.outputs[answer.name][answer.decode.name]] = numbers
            if len(task.answers) > 1:
                by_output[answer.name, answer.decode.name] = numbers
    return by_output


def raw_sizes(task: Task, expected: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Largest of the model's values before they get their unit, and how many times the least column's largest it is.

    0 and 1 where nothing gets one.
    """
    size, ratio = 0.0, 1.0
    for answer in task.answers:
        if not isinstance(answer.decode, Affine):
            continue
        values = expected[task.outputs[answer.name][answer.decode.name]]
        raw = np.abs((values - answer.decode.offset) / answer.decode.factor)
        columns = raw.reshape(-1, raw.shape[-1]).max(axis=0, initial=0.0)
        largest, least = float(columns.max(initial=0.0)), float(columns.min(initial=np.inf))
        size = max(size, largest)
        if largest:
            ratio = max(ratio, largest / least if least else np.inf)
    return size, ratio
