"""Which number of a model's outputs is explained: of a label, the pixels of a class, a point, or an object."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tlkit.answers.boxes import corners, joined
from tlkit.answers.points import POINTS
from tlkit.core.errors import InputError
from tlkit.core.run import Run

Scored = Callable[[Any], Any]  # raw outputs of a batch -> (batch,)


@dataclass(frozen=True, eq=False)
class Explained:
    """One number that a model gives.

    Attributes:
        label: What it stands for.
        of: Raw outputs of a batch -> that number of each example, differentiable.
        box: Left, top, right, bottom of the object, in shares of the sides; None where it is no object.
        local: Whether the number is of a part of the places: of an object, a point, or the pixels of a class.
    """

    label: str
    of: Scored
    box: tuple[float, float, float, float] | None = None
    local: bool = False


def explained(run: Run, raw: Any, label: str | None, most: int) -> list[Explained]:
    """What is to be explained of one example.

    Args:
        run: Whose task it is.
        raw: Its raw outputs, batch of 1.
        label: The label that is asked for; None takes what the model says.
        most: Objects, at most, the surest first.

    Returns:
        In the order of the labels, or the surest first; none where the model finds no such object in the example.

    Raises:
        InputError: If the task has no such label, or outputs that are no labels, values, masks, points or boxes.
    """
    labels = run.task.labels
    if label is not None and label not in labels:
        raise InputError(f"The task has no label {label!r}; it has {', '.join(labels)}.")
    label_number = None if label is None else labels.index(label)
    if isinstance(raw, Mapping) and any(name.startswith("labels_") for name in raw):
        return _objects(run, raw, label_number, most)
    shape: tuple[Any, ...] = tuple(getattr(raw, "shape", ()))
    kinds = run.task.decode(raw) if len(shape) in (2, 4) else {}
    if len(shape) == 4 and POINTS in kinds:
        return _peaks(labels, np.asarray(raw)[0], label_number, most)
    if len(shape) == 4:
        return _regions(labels, np.asarray(raw)[0], label_number, most)
    if len(shape) == 2 and (labels or "embedding" not in kinds):
        return _columns(labels, np.asarray(raw)[0], label_number, every="values" in kinds)
    raise InputError(
        f"The outputs of {run.task.name!r} are neither labels, values, masks, points nor boxes: give `of=`, a function "
        "from the raw outputs of a batch to a number of each example."
    )


def _columns(labels: Sequence[str], raw: np.ndarray, label_number: int | None, *, every: bool) -> list[Explained]:
    """The label that is asked for, or that the model says; of values `every` one."""
    chosen = list(range(len(raw))) if every else [int(np.argmax(raw))]
    chosen = chosen if label_number is None else [min(label_number, len(raw) - 1)]  # of two labels, one output
    return [Explained(labels[n] if labels else f"output {n}", functools.partial(_column, n)) for n in chosen]


def _column(number: int, raw: Any) -> Any:
    return raw[:, number]


def _regions(labels: Sequence[str], raw: np.ndarray, label_number: int | None, most: int) -> list[Explained]:
    """A class of a mask: the mean output over the pixels that are said to be it (Vinogradova et al. 2020, eq. 2)."""
    predicted = raw.argmax(-1)
    sizes = np.bincount(predicted.ravel(), minlength=raw.shape[-1])
    chosen = [n for n in np.argsort(-sizes) if sizes[n]][:most] if label_number is None else [label_number]
    return [
        Explained(labels[n], functools.partial(_mean_over, int(n), predicted == n), local=True)
        for n in chosen
        if sizes[n]
    ]


def _mean_over(number: int, pixels: np.ndarray, raw: Any) -> Any:
    chosen = tf.constant(pixels[None], raw.dtype)
    return tf.reduce_sum(raw[..., number] * chosen, (1, 2)) / float(pixels.sum())


def _peaks(labels: Sequence[str], raw: np.ndarray, label_number: int | None, most: int) -> list[Explained]:
    """Points: of each its heat map's value at the highest place."""
    heats = raw.reshape(-1, raw.shape[-1])
    places, values = heats.argmax(0), heats.max(0)
    chosen = np.argsort(-values)[:most] if label_number is None else [label_number]
    return [Explained(labels[n], functools.partial(_in_heat_map, int(places[n]), int(n)), local=True) for n in chosen]


def _in_heat_map(place: int, number: int, raw: Any) -> Any:
    return tf.reshape(raw[..., number], (tf.shape(raw)[0], -1))[:, place]


def _objects(run: Run, raw: Mapping[str, Any], label: int | None, most: int) -> list[Explained]:
    """Objects: of each the output of its label at the place that reaches as far as its box."""
    decoded = {name: np.asarray(value)[0] for name, value in run.task.decode(raw).items()}
    classes, scores = decoded["classes"].astype(int), decoded["scores"]
    order = [i for i in np.argsort(-scores) if scores[i] > 0 and (label is None or classes[i] == label)][:most]
    reached, objects = np.clip(np.asarray(corners(raw))[0], 0, 1), []
    sure = 1 / (1 + np.exp(-np.asarray(joined(raw, "labels"))[0]))
    for i in order:
        top, left, bottom, right = (float(side) for side in decoded["boxes"][i])
        number = int(classes[i])
        away = np.abs(reached - np.clip([left, top, right, bottom], 0, 1)).max(axis=1)
        place = int((away + np.abs(sure[:, number] - scores[i])).argmin())  # boxes over the edge are alike
        of = functools.partial(_at, place, number)
        objects.append(Explained(run.task.labels[number], of, (left, top, right, bottom), local=True))
    return objects


def _at(place: int, number: int, raw: Mapping[str, Any]) -> Any:
    return joined(raw, "labels")[:, place, number]
