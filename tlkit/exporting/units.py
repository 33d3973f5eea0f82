"""A task whose values have no unit yet, for formats that quantise, and what brings them to their unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tlkit.answers.affine import Affine
from tlkit.core.task import Task
from tlkit.formats.tflite import DEFAULT

Scales = dict[tuple[str, str], tuple[Sequence[float], Sequence[float]]]


def standardised(task: Task) -> Task:
    """The task with answers before they get their unit."""
    answers = tuple(
        dataclasses.replace(answer, decode=answer.decode.bare) if isinstance(answer.decode, Affine) else answer
        for answer in task.answers
    )
    return dataclasses.replace(task, answers=answers)


def scales(task: Task) -> Scales:
    """Factor and offset of each column, behind the outputs that need them, by signature and output."""
    found: Scales = {}
    for answer in task.answers:
        if isinstance(answer.decode, Affine):
            numbers = (answer.decode.factor, answer.decode.offset)
            found[DEFAULT, task.outputs[answer.name][answer.decode.name]] = numbers
            if len(task.answers) > 1:
                found[answer.name, answer.decode.name] = numbers
    return found


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
