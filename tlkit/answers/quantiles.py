"""Quantiles of the next values of a series, sorted, in the series' own unit."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.answers.forecast_sections import FORECASTS, HORIZON, METHODS
from tlkit.core.task import Agreement, Answer, Decoded, Lines

QUANTILES = "quantiles"
STEPS_AHEAD = "ahead"  # the column with the names of the steps ahead, one a line
SAME = 0.05  # of the width between the outer quantiles: nearer is the same to people


def quantiles(levels: Sequence[float]) -> Answer:
    """Quantiles (b, horizon, levels) in ascending order.

    Raw outputs are a dict: "deviations" (b, horizon, levels), and "level" and "spread" (b, 1), by which they come back
    to the series' own unit. A file's quantiles are compared with the model's in shares of the mean width between the
    outer ones; of a single one, of how far it moves over the horizon.

    Args:
        levels: Of the quantiles, ascending, in (0, 1).

    Example:
        >>> quantiles((0.1, 0.5, 0.9)).labels
        ('0.1', '0.5', '0.9')
    """
    float_levels = tuple(float(level) for level in levels)
    return Answer(
        name=QUANTILES,
        decode=_decoded,
        agree=_agreement,
        say=functools.partial(_said, float_levels),
        labels=tuple(f"{level:g}" for level in float_levels),
        merit=functools.partial(_merit, float_levels),
        in_float32=True,
        sections=(METHODS, FORECASTS, HORIZON),
    )


def quantile_losses(levels: Sequence[float], targets: np.ndarray, quantiles_: np.ndarray) -> np.ndarray:
    """Twice the quantile loss, float64 (b, horizon, levels); 0 where a target is NaN.

    Example:
        >>> quantile_losses([0.5], np.array([[3.0]]), np.array([[[1.0]]])).tolist()
        [[[2.0]]]

    Source: Koenker and Bassett 1978, doi:10.2307/1913643.
    """
    finite, at = np.isfinite(targets), np.asarray(levels, np.float64)
    short = np.where(finite, targets, 0).astype(np.float64)[..., None] - quantiles_
    return np.asarray(2 * finite[..., None] * np.maximum(at * short, (at - 1) * short))


def median_of(levels: Sequence[float], quantiles_: np.ndarray) -> np.ndarray:
    """The quantile nearest to .5, (b, horizon): what is forecast where one number is asked for."""
    return np.asarray(quantiles_[..., int(np.argmin(np.abs(np.asarray(levels) - 0.5)))])


def _decoded(raw: Mapping[str, Any]) -> dict[str, Any]:
    from keras import ops

    spread, level = (ops.expand_dims(raw[name], -1) for name in ("spread", "level"))
    return {QUANTILES: ops.sort(raw["deviations"], axis=-1) * spread + level}


def _agreement(expected: Decoded, actual: Decoded) -> Agreement:
    wide = expected[QUANTILES].astype(np.float64)
    steps = 4 * np.spacing(np.abs(expected[QUANTILES].astype(np.float32))).astype(np.float64)
    apart = np.maximum(np.abs(actual[QUANTILES] - wide) - steps, 0.0)
    width = (wide[..., -1] - wide[..., 0]).mean(axis=1) if wide.shape[-1] > 1 else wide[..., 0].std(axis=1)
    unit = np.maximum(width, 1e-3 * np.abs(wide).mean(axis=(1, 2)) + 1e-30)[:, None, None]
    return Agreement((apart / unit).max(axis=(1, 2)), apart <= SAME * unit, np.full(wide.shape, np.inf))


def _merit(levels: tuple[float, ...], targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Minus the quantile loss as a share of the mean size of the targets."""
    losses = quantile_losses(levels, targets, decoded[QUANTILES]).mean(axis=2).sum(axis=1)
    size = np.nansum(np.abs(targets), axis=1)
    return np.asarray(-losses / np.where(size > 0, size, 1.0))


def _said(levels: tuple[float, ...], decoded: Decoded, example: Mapping[str, Any]) -> Lines:
    """The median of each step ahead, with the outer quantiles beside its name."""
    rows = decoded[QUANTILES]
    middle = median_of(levels, rows[None])[0]
    names = str(example.get(STEPS_AHEAD, "")).split("\n")
    names = names if len(names) == len(rows) and all(names) else [f"{step} ahead" for step in range(1, len(rows) + 1)]
    ends = f"{levels[0]:g} to {levels[-1]:g}"
    return [
        (name if len(levels) == 1 else f"{name} ({ends}: {row[0]:.6g} to {row[-1]:.6g})", float(value))
        for name, row, value in zip(names, rows, middle, strict=True)
    ]
