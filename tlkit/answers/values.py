"""Values in their own unit, and vectors that are compared with each other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.answers.affine import Affine
from tlkit.answers.scores import check_columns
from tlkit.core.task import Agreement, Answer, Decoded, Lines

TOLERANCE = 0.1  # two values "agree" when they differ by less than this share of their spread
LEAST_SPREAD = 0.05  # of the training targets' own, or of the size: what hardly varies is not judged by how little
SAME = 0.01  # of a value that never varies: nearer is right


def values(names: Sequence[str], decode: Callable[[Any], Mapping[str, Any]], *, name: str = "values") -> Answer:
    """Numbers, (b, k) or (b, ..., k), the last axis by name.

    A file's values are compared with the model's in units of their spread, each column by itself; where `decode` is an
    `Affine`, in units of at least its factor, which is the spread of the training targets.

    Args:
        names: Of the columns.
        decode: Raw outputs -> {name: values}.
        name: Of the decoded tensor.
    """
    unit = np.asarray(decode.factor, np.float64) if isinstance(decode, Affine) else None
    return Answer(
        name=name,
        decode=_checked(decode, len(names)),
        agree=functools.partial(_agreement, name, unit),
        say=functools.partial(_said, name, tuple(names)),
        labels=tuple(names),
        merit=functools.partial(_merit, name),
    )


def vectors(decode: Callable[[Any], Mapping[str, Any]], *, name: str = "embedding") -> Answer:
    """Vectors (b, d) that say nothing alone, and are no guess at the targets."""
    return Answer(
        name=name,
        decode=decode,
        agree=functools.partial(_agreement, name, None),
        say=lambda decoded, _example: [(str(i), float(v)) for i, v in enumerate(decoded[name].reshape(-1))],
    )


def _checked(decode: Callable[[Any], Mapping[str, Any]], count: int) -> Callable[[Any], Mapping[str, Any]]:
    """An `Affine` stays one: exports look for it. Its columns are checked by what is multiplied."""
    if isinstance(decode, Affine):
        return decode

    def checked(raw: Any) -> Mapping[str, Any]:
        decoded = decode(raw)
        for column in decoded.values():
            check_columns(column, count)
        return decoded

    return checked


def _agreement(name: str, unit: np.ndarray | None, expected: Decoded, actual: Decoded) -> Agreement:
    wide = expected[name].astype(np.float64)
    apart = np.abs(actual[name] - wide)
    steps = 4 * np.spacing(np.abs(expected[name].astype(np.float32))).astype(np.float64)  # the last bits of float32
    if unit is None:
        size = float(np.sqrt(np.mean(np.square(wide)))) if wide.size else 0.0
        difference, spread = apart / (size or 1.0), np.maximum(wide.std(axis=0), LEAST_SPREAD * size)
    else:
        difference = np.maximum(apart - steps, 0.0) / np.maximum(unit, _spread(wide))
        spread = np.maximum(_spread(wide), LEAST_SPREAD * unit)
    return Agreement(
        difference.reshape(len(wide), -1).max(axis=1, initial=0.0),
        apart <= TOLERANCE * spread + steps,
        np.full(wide.shape, np.inf),
    )


def _spread(wide: np.ndarray) -> np.ndarray:
    """Deviation of each column over all rows."""
    return np.asarray(wide.reshape(-1, wide.shape[-1]).std(axis=0)) if wide.size else np.zeros(wide.shape[-1])


def _merit(name: str, targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Float64 (b,) whose mean is the R2 of the values."""
    outputs = decoded[name]
    truth = np.asarray(targets, np.float64).reshape(outputs.shape)
    errors, varies = outputs.astype(np.float64) - truth, np.ptp(truth, axis=0) > 0
    variance = np.where(varies, truth.var(axis=0), 1.0)
    missed = np.abs(errors) > SAME * np.abs(truth)  # there is no R2 where nothing varies: right or wrong
    lost = np.where(varies, errors**2 / variance, missed)
    return np.asarray(1.0 - lost.reshape(len(lost), -1).mean(axis=1))


def _said(name: str, names: tuple[str, ...], decoded: Decoded, _example: Mapping[str, Any]) -> Lines:
    """Name and value, in their own order; of many positions (pixels, steps) their mean."""
    rows = decoded[name].reshape(-1, len(names))
    suffix = "" if len(rows) == 1 else f", mean over {'x'.join(map(str, decoded[name].shape[:-1]))} positions"
    return [(f"{label}{suffix}", float(value)) for label, value in zip(names, rows.mean(axis=0), strict=True)]
