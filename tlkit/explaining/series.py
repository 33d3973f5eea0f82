"""Series: which stretch of time counts how much."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.explaining import methods
from tlkit.explaining.outputs import Scored

STRETCHES = 12  # of the time of a series


def stretches(steps: int) -> tuple[slice, ...]:
    """Parts of so many steps, in order and nearly equal.

    Example:
        >>> [(part.start, part.stop) for part in stretches(26)][:3]
        [(0, 2), (2, 4), (4, 6)]
    """
    edges = np.linspace(0, steps, min(steps, STRETCHES) + 1).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(edges))


def names(parts: tuple[slice, ...]) -> tuple[str, ...]:
    """What each part is called, from its first step to its last."""
    return tuple(f"steps {part.start} to {part.stop - 1}" for part in parts)


def looked_at(
    run: Callable[[Any], Any], inputs: np.ndarray, of: Scored, method: str, steps: int | None
) -> tuple[np.ndarray, float | None]:
    """Float32 heat of each stretch of one series, and what integrated gradients miss.

    Hidden is a stretch that holds each channel's mean, and so is the series where integrated gradients begin.

    Args:
        run: A batch of series -> raw outputs.
        inputs: One series, (1, steps, channels); steps that are not known (NaN) stay so.
        of: Raw outputs of a batch -> the number that is explained.
        method: "integrated_gradients" or "occlusion".
        steps: Of integrated gradients; None takes as many as are exact.

    Raises:
        InputError: If it is asked for another method.
    """
    if method == "grad_cam":
        raise InputError('Series have no map of features to look at: take method="occlusion".')
    parts = stretches(inputs.shape[1])
    flat = np.where(np.isnan(inputs), np.nan, np.nanmean(inputs, axis=1, keepdims=True)).astype(inputs.dtype)
    if method == "integrated_gradients":
        heat, missing = methods.integrated_gradients(run, inputs[0], flat[0], of, steps)
        by_step = heat.sum(axis=-1)
        return np.asarray([by_step[part].sum() for part in parts], np.float32), missing

    def hidden() -> Iterator[np.ndarray]:
        for part in parts:
            copy = inputs.copy()
            copy[:, part] = flat[:, part]
            yield copy

    return methods.occlusion(run, inputs, hidden(), of), None
