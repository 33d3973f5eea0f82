"""Scores of labels: shares of one whole, of which the largest is the answer, or yes and no to each label."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.task import Agreement, Answer, Decoded, Lines
from tlkit.formats import tflite_metadata


def scores(labels: Sequence[str], *, several: bool = False, name: str = "probabilities") -> Answer:
    """One score in [0, 1] a label; the last axis of the raw outputs, logits (b, ..., k), is the labels.

    Args:
        labels: Name of each label.
        several: Whether each label is answered with yes (above 0.5) or no by itself (sigmoid); else scores are shares
            of one whole (softmax), and the largest is the answer.
        name: Of the decoded tensor.
    """
    names = tuple(str(label) for label in labels)
    return Answer(
        name=name,
        decode=functools.partial(_decoded, name, len(names), several),
        agree=functools.partial(_agreement, name, several),
        say=functools.partial(_said, name, names, several),
        labels=names,
        merit=functools.partial(_merit, name, several),
        ranked=True,
        signatures={"classify": functools.partial(_classes, name, names)},
        describe=lambda file: {name: tflite_metadata.score_output(name, file)},
    )


def probabilities(raw: Any, several: bool = False) -> Any:
    """Logits (..., k) -> scores by Keras' operations, the sigmoid of each or the softmax of all."""
    import keras

    return keras.ops.sigmoid(raw) if several else keras.ops.softmax(raw, axis=-1)


def check_columns(raw: Any, count: int) -> None:
    """Refuse raw outputs that are not one column a name.

    Raises:
        InputError: If so.
    """
    columns = raw.shape[-1] if len(raw.shape) else None
    if columns not in (None, count):
        raise InputError(f"The model gives {columns} outputs, and the task has {count} names for them.")


def agreement(expected: np.ndarray, actual: np.ndarray, *, several: bool = False) -> Agreement:
    """How far two arrays of scores (b, ..., k) lie apart, and whether they name the same labels.

    The model is as sure as its best score is above its second best; of yes and no, as their scores lie apart.
    """
    difference = np.abs(actual - expected.astype(np.float64)).reshape(len(expected), -1).max(axis=1, initial=0.0)
    if several:
        return Agreement(difference, (expected > 0.5) == (actual > 0.5), np.abs(2 * expected - 1))
    best = np.sort(expected, axis=-1)
    second = best[..., -2] if best.shape[-1] > 1 else 0.0
    return Agreement(difference, expected.argmax(-1) == actual.argmax(-1), best[..., -1] - second)


def _decoded(name: str, count: int, several: bool, raw: Any) -> Mapping[str, Any]:
    check_columns(raw, count)
    return {name: probabilities(raw, several)}


def _agreement(name: str, several: bool, expected: Decoded, actual: Decoded) -> Agreement:
    return agreement(expected[name], actual[name], several=several)


def _merit(name: str, several: bool, targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Share of right labels of each example; targets below 0 are positions to leave out (padding of a sequence)."""
    outputs = decoded[name]
    if several:
        return masked_mean((outputs > 0.5) == (targets > 0.5), targets >= 0)
    right = targets if targets.ndim < outputs.ndim else targets.argmax(-1)
    return masked_mean(outputs.argmax(-1) == right, right >= 0)


def masked_mean(right: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Share of what is right among what is counted, of each example: float64 (b,)."""
    right, counted = (part.reshape(len(part), -1) for part in (right & counted, counted))
    return np.asarray(right.sum(axis=1) / np.maximum(counted.sum(axis=1), 1), dtype=np.float64)


def _said(name: str, labels: tuple[str, ...], several: bool, decoded: Decoded, _example: Mapping[str, Any]) -> Lines:
    """Labels, best first; of many positions (pixels, steps) the share of those at which each label is the best."""
    rows = decoded[name].reshape(-1, len(labels))
    if len(rows) == 1:
        shares, suffix = rows[0], ""
    elif several or len(labels) == 1:
        shares, suffix = rows.mean(axis=0), f", mean over {_positions(decoded[name])} positions"
    else:
        shares = np.bincount(rows.argmax(axis=1), minlength=len(labels)) / len(rows)
        suffix = f", share of {_positions(decoded[name])} positions"
    lines = [(f"{label}{suffix}", float(share)) for label, share in zip(labels, shares, strict=True)]
    return sorted(lines, key=lambda line: -line[1])


def _positions(rows: np.ndarray) -> str:
    return "x".join(map(str, rows.shape[:-1]))


def _classes(
    name: str, labels: tuple[str, ...], decoded: Mapping[str, Any], _sent: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Labels as strings and their scores, both (batch, k), best first; None where there are many positions."""
    import tensorflow as tf

    outputs = decoded[name]
    if outputs.shape.rank != 2:
        return None
    best = tf.math.top_k(outputs, k=len(labels))
    return {"classes": tf.gather(tf.constant(labels), best.indices), "scores": best.values}
