"""How a window of the past is laid out for forecasts: its level and spread, and the values of the seasons before."""

from __future__ import annotations

import numpy as np

CONTEXT = 72  # values whose mean and deviation are the window's level and spread
SEASONS = 3  # whose values of the same place in the season are looked up


def window_length(season_length: int) -> int:
    """Values of the past that a forecast reads: the context, or the last seasons where these are longer.

    Example:
        >>> window_length(12), window_length(48)
        (72, 144)
    """
    return max(CONTEXT, SEASONS * season_length)


def lag_positions(horizon: int, season_length: int) -> np.ndarray:
    """Where in a window the values 1, 2, 3 seasons before each step ahead lie.

    Steps beyond one season look at the last seasons that are known, so no position lies in the future.

    Args:
        horizon: Steps ahead, >= 1.
        season_length: Steps of a season, >= 1.

    Returns:
        int64 (horizon, 3), each in [0, window_length).

    Example:
        >>> lag_positions(3, season_length=2).tolist()
        [[70, 68, 66], [71, 69, 67], [70, 68, 66]]
    """
    place = np.arange(horizon)[:, None] % season_length
    return window_length(season_length) + place - season_length * (1 + np.arange(SEASONS)[None])


def windows_of(values: np.ndarray, cutoffs: np.ndarray, season_length: int) -> np.ndarray:
    """The past of each cutoff, NaN in front of where the series begins; no value at or behind a cutoff is read.

    Args:
        values: float (n,) of one series.
        cutoffs: int (k,) in [0, n]: how many values are known.
        season_length: Steps of a season.

    Returns:
        float32 (k, window_length).

    Example:
        >>> windows_of(np.arange(5.0), np.array([2]), season_length=1)[0, -3:].tolist()
        [nan, 0.0, 1.0]
    """
    length = window_length(season_length)
    padded = np.concatenate([np.full(length, np.nan, np.float32), np.asarray(values, np.float32)])
    return np.lib.stride_tricks.sliding_window_view(padded, length)[np.asarray(cutoffs, np.int64)]


def futures_of(values: np.ndarray, cutoffs: np.ndarray, horizon: int, end: int | None = None) -> np.ndarray:
    """The values behind each cutoff, NaN from `end` on, or where the series ends.

    Args:
        values: float (n,) of one series.
        cutoffs: int (k,): how many values are known.
        horizon: How many follow.
        end: First value that may not be seen; None is the series' end.

    Returns:
        float32 (k, horizon).

    Example:
        >>> futures_of(np.arange(5.0), np.array([2]), horizon=3, end=4)[0].tolist()
        [2.0, 3.0, nan]
    """
    past = np.asarray(values[:end], np.float32)
    padded = np.concatenate([past, np.full(horizon + len(values) - len(past), np.nan, np.float32)])
    return np.lib.stride_tricks.sliding_window_view(padded, horizon)[np.asarray(cutoffs, np.int64)]
