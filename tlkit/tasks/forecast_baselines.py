"""What forecasts are compared with: the seasonal naive one, and AutoETS and AutoTheta of statsforecast (an extra)."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

NAIVE = "naive"
MOST_FORECASTS = 40  # that the classical methods are fitted for: one by one, they take up to seconds each
LONGEST_SEASON = 24  # that statsforecast's AutoETS knows
MISSING = 'AutoETS and AutoTheta do not stand beside the model: pip install "tlkit[series]" for statsforecast.'


@dataclass(frozen=True, eq=False)
class Forecasts:
    """What one method says.

    Attributes:
        method: As people call it.
        quantiles: float (k, horizon, levels).
        places: int (k,) which of all forecasts these are.
    """

    method: str
    quantiles: np.ndarray
    places: np.ndarray


def naive_quantiles(levels: Sequence[float], middle: np.ndarray, sigma: np.ndarray, season_length: int) -> np.ndarray:
    """Normal quantiles (n, horizon, levels) around the values of the last season.

    Args:
        levels: Of the quantiles.
        middle: float (n, horizon), the last season repeated.
        sigma: float (n,), deviation of the differences of a season in each history.
        season_length: Steps of a season; each season ahead adds as much variance again.

    Source: Hyndman and Athanasopoulos 2021, Forecasting: Principles and Practice, table 5.2.
    """
    seasons = 1 + np.arange(middle.shape[1]) // season_length
    wide = np.array([NormalDist().inv_cdf(level) for level in levels])
    return np.asarray(middle[..., None] + sigma[:, None, None] * np.sqrt(seasons)[None, :, None] * wide)


def classical(
    histories: Sequence[np.ndarray], horizon: int, season_length: int, levels: Sequence[float]
) -> tuple[dict[str, Forecasts], list[str]]:
    """AutoETS and AutoTheta, refitted at each cutoff, by name; and a sentence on each that is not there.

    Of more than 40 forecasts, 40 that are spread evenly are compared.

    Args:
        histories: The values before each cutoff.
        horizon: Steps ahead.
        season_length: Steps of a season; AutoETS leaves out one of more than 24.
        levels: Of the quantiles.
    """
    if importlib.util.find_spec("statsforecast") is None:
        return {}, [MISSING]
    from statsforecast.models import AutoETS, AutoTheta

    places = np.unique(np.linspace(0, len(histories) - 1, min(len(histories), MOST_FORECASTS)).round().astype(int))
    ets_season = season_length if season_length <= LONGEST_SEASON else 1
    methods = {
        "ets": ("AutoETS" if ets_season == season_length else "AutoETS without season", AutoETS, ets_season),
        "theta": ("AutoTheta", AutoTheta, season_length),
    }
    forecasts, notes = {}, []
    for name, (method, make, season) in methods.items():
        rows = [_forecast(make, histories[i], horizon, season, levels) for i in places]
        if failed := sum(row is None for row in rows):
            notes.append(f"{method} failed on {failed} of {len(rows)} histories, and does not stand beside the model.")
        else:
            forecasts[name] = Forecasts(method, np.stack([row for row in rows if row is not None]), places)
    return forecasts, notes


def _forecast(make: Any, history: np.ndarray, horizon: int, season: int, levels: Sequence[float]) -> Any:
    """Quantiles (horizon, levels) of one method for one history; None where it fails, as some do on short ones."""
    widths = sorted({_width(level) for level in levels} - {0})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            forecast = make(season_length=season).forecast(
                y=history[np.isfinite(history)], h=horizon, level=widths or None
            )
    except Exception as error:
        log.info("%s failed on a history of %d values: %s", make.__name__, len(history), error)
        return None
    rows = []
    for level in levels:
        key = "mean" if level == 0.5 else f"{'lo' if level < 0.5 else 'hi'}-{_width(level)}"
        rows.append(np.asarray(forecast[key], np.float64))
    return np.stack(rows, axis=-1)


def _width(level: float) -> int | float:
    """Percent of the interval that a quantile ends, as statsforecast names it: 80 of .1 and of .9."""
    width = round(abs(200 * level - 100), 6)
    return int(width) if width == int(width) else width
