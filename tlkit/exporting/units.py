"""A task whose values have no unit yet, for formats that quantise, and what brings them to their unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tlkit.core.task import Task
from tlkit.formats.tflite import DEFAULT
from tlkit.tasks.affine import Affine


def standardised(task: Task) -> Task:
    """The task with outputs, and those of its heads, before they get their unit."""
    heads = {name: standardised(head) for name, head in task.heads.items()}
    if heads:
        decode = {name: head.decode for name, head in heads.items()}
        return dataclasses.replace(
            task, heads=heads, decode=lambda raw: {name: own(raw[name]) for name, own in decode.items()}
        )
    return dataclasses.replace(task, decode=task.decode.standard) if isinstance(task.decode, Affine) else task


def scales(task: Task) -> dict[tuple[str, str], tuple[Sequence[float], Sequence[float]]]:
    """Factor and offset of each column, behind the outputs that need them, by signature and output."""
    if not task.heads:
        return {(DEFAULT, task.output): _numbers(task.decode)} if isinstance(task.decode, Affine) else {}
    own = {name: _numbers(head.decode) for name, head in task.heads.items() if isinstance(head.decode, Affine)}
    in_all = {(DEFAULT, name): scale for name, scale in own.items()}
    return in_all | {(name, task.heads[name].output): scale for name, scale in own.items()}


def _numbers(decode: Affine) -> tuple[Sequence[float], Sequence[float]]:
    return decode.factor, decode.offset
