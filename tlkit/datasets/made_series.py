"""Made-up series: monthly sales to forecast, and gestures of three kinds to classify. For trying, not for judging."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.numeric import is_number
from tlkit.data import series

__all__ = ["gestures", "sales"]


def __dir__() -> list[str]:
    return sorted(__all__)


MONTHS = 12
KINDS = ("circle", "shake", "swipe")


def sales(
    horizon: int = MONTHS, season_length: int = MONTHS, *, shops: int = 3, months: int = 120, seed: int = 0
) -> Splits:
    """Monthly sales of some shops: a trend, a season of twelve months, and noise, all drawn from the seed.

    Args:
        horizon: Steps ahead.
        season_length: Steps of a season, as the task is told.
        shops: Series, >= 1.
        months: Of each, >= 40.
        seed: Of all that is drawn.

    Raises:
        InputError: If `shops` or `months` is too small, or the horizon too long for them.

    Example:
        >>> len(sales(shops=2).test)
        10
    """
    if not (is_number(shops) and is_number(months) and shops >= 1 and months >= 40):
        received = f"shops={shops!r}, months={months!r}"
        raise InputError(f"`shops` must be 1 or more, and `months` 40 or more. Received: {received}.")
    rng, time = np.random.default_rng(seed), np.arange(months)
    histories = {}
    for shop in range(shops):
        season = rng.normal(0, 0.15, MONTHS)[time % MONTHS]
        trend = rng.uniform(0.001, 0.01) * time
        histories[f"shop {shop}"] = 100 * np.exp(trend + season + rng.normal(0, 0.05, months))
    return series.history(histories, horizon, season_length)


def gestures(count: int = 90, steps: int = 60, *, split: Sequence[float] = (0.5, 0.2, 0.3), seed: int = 0) -> Splits:
    """Accelerations along three axes of circles, shakes and swipes, float32 (steps, 3), all drawn from the seed.

    Args:
        count: Series, as many of each kind, >= 12.
        steps: Of each, >= 10.
        split: Shares of training, validation and test.
        seed: Of all that is drawn, and of the division.

    Raises:
        InputError: If `count` or `steps` is too small.

    Example:
        >>> gestures(12).labels
        ('circle', 'shake', 'swipe')
    """
    if not (is_number(count) and is_number(steps) and count >= 12 and steps >= 10):
        raise InputError(f"`count` must be 12 or more, `steps` 10 or more. Received: count={count!r}, steps={steps!r}.")
    rng = np.random.default_rng(seed)
    kinds = [KINDS[i % len(KINDS)] for i in range(count)]
    values = np.stack([_gesture(kind, steps, rng) for kind in kinds])
    return series.from_arrays(values, kinds, split=split, seed=seed)


def _gesture(kind: str, steps: int, rng: np.random.Generator) -> np.ndarray:
    time, start = np.linspace(0, 1, steps), rng.uniform(0, 2 * np.pi)
    speed = rng.uniform(0.8, 1.2)
    if kind == "circle":
        axes = [np.cos(2 * np.pi * speed * time + start), np.sin(2 * np.pi * speed * time + start), 0 * time]
    elif kind == "shake":
        axes = [np.sin(2 * np.pi * 6 * speed * time + start), 0.3 * np.sin(2 * np.pi * 12 * speed * time), 0 * time]
    else:
        push = np.exp(-(((time - rng.uniform(0.3, 0.6)) / 0.08) ** 2))
        axes = [push - np.roll(push, steps // 6), 0.2 * push, 0 * time]
    gravity = np.array([0.0, 0.0, 1.0])[None]
    return np.asarray(np.stack(axes, axis=1) + gravity + rng.normal(0, 0.25, (steps, 3)))
