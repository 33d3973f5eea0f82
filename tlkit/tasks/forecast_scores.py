"""How good forecasts are, by rolling origins: MASE, WQL and coverage, beside methods that need no training. NumPy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.answers.quantiles import QUANTILES, median_of, quantile_losses
from tlkit.core.columns import joined
from tlkit.core.examples import Examples
from tlkit.core.task import Decoded, Evaluation
from tlkit.tasks import metrics
from tlkit.tasks.forecast_baselines import NAIVE, Forecasts, classical, naive_quantiles

PLOTTED, SHOWN_PAST = 8, 72
HISTORY_OF, NAIVE_OF, SCALE, SIGMA = "history", "naive", "scale", "sigma"  # columns that `data.series.history` makes


class ForecastScorer:
    """MASE, WQL, coverage of the outer quantiles, each with a bootstrap interval over the forecasts.

    Beside them are those of the seasonal naive forecast, and of AutoETS and AutoTheta where statsforecast is installed.

    Sources: Hyndman and Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001 (MASE); Tashman 2000,
    doi:10.1016/S0169-2070(00)00065-0 (rolling origins); Salinas et al. 2020, arXiv:1704.04110 (weighted quantile loss).
    """

    def __init__(self, levels: tuple[float, ...], season_length: int) -> None:
        self.levels, self.season_length = levels, season_length
        self.parts: list[tuple[Examples, np.ndarray]] = []

    def update(self, examples: Examples, decoded: Decoded) -> None:
        """Take in some forecasts."""
        self.parts.append((examples, np.asarray(decoded[QUANTILES], np.float64)))

    def result(self) -> Evaluation:
        """Scores, and rows for the report."""
        parts = [examples for examples, _ in self.parts]
        ids = [name for part in parts for name in part.ids]
        targets = joined([part.targets for part in parts])
        truth = np.asarray(targets.take(np.arange(len(ids))), np.float64)
        columns = {name: joined([part.columns[name] for part in parts]) for name in parts[0].columns}
        forecasts = np.concatenate([rows for _, rows in self.parts])
        scale = _column(columns, SCALE, len(ids))
        baselines, absent = self._others(columns, truth)
        errors = mase(truth, median_of(self.levels, forecasts), scale)
        scores: dict[str, float] = {}
        rows: list[dict[str, Any]] = []
        for name, forecast in {"": Forecasts("tlkit", forecasts, np.arange(len(ids))), **baselines}.items():
            method_scores = figures(self.levels, truth[forecast.places], forecast.quantiles, scale[forecast.places])
            scores |= {_named(score, name): value for score, value in method_scores.items()}
            rows.append(
                {"method": forecast.method, "mase": method_scores["mase"], "low": method_scores["mase_low"],
                 "high": method_scores["mase_high"], "wql": method_scores.get("wql"), "count": len(forecast.places),
                 "model": float(errors[forecast.places].mean())}
            )  # fmt: skip
        scores |= coverage(self.levels, truth, forecasts)
        naive = baselines[NAIVE].quantiles if NAIVE in baselines else None
        details = {
            "headline": metrics.headline("mase", "MASE", "bootstrap", unit="value", lower_is_better=True),
            "methods": rows,
            "verdict": verdict(rows),
            "notes": [verdict(rows), *absent] if len(rows) > 1 else [],
            "absent": absent,
            "steps_ahead": by_step(self.levels, truth, forecasts, naive),
            "forecasts": self._plots(ids, truth, forecasts, naive, columns, errors),
            "example_scores": (-errors).tolist(),
        }
        return Evaluation(metrics.finite(scores), details, forecasts.astype(np.float32))

    def _others(self, columns: Mapping[str, Any], truth: np.ndarray) -> tuple[dict[str, Forecasts], list[str]]:
        """What the model is compared with, and sentences on what is not there."""
        if NAIVE_OF not in columns:
            return {}, []
        count = len(truth)
        middle, sigma = (np.asarray(columns[name].take(np.arange(count))) for name in (NAIVE_OF, SIGMA))
        rows = naive_quantiles(self.levels, middle, sigma, self.season_length)
        baselines = {NAIVE: Forecasts("seasonal naive", rows, np.arange(count))}
        if HISTORY_OF not in columns:
            return baselines, []
        histories = [np.asarray(columns[HISTORY_OF][i], np.float64) for i in range(count)]
        forecasts, absent = classical(histories, truth.shape[1], self.season_length, self.levels)
        return baselines | forecasts, absent

    def _plots(
        self,
        ids: Sequence[str],
        truth: np.ndarray,
        forecasts: np.ndarray,
        naive: np.ndarray | None,
        columns: Mapping[str, Any],
        errors: np.ndarray,
    ) -> dict[str, Any]:
        """The forecasts with the largest MASE, with what was known before them."""
        middle = median_of(self.levels, forecasts)
        rows = []
        for i in np.argsort(-errors, kind="stable")[:PLOTTED].tolist():
            past = np.asarray(columns[HISTORY_OF][i])[-SHOWN_PAST:] if HISTORY_OF in columns else np.zeros(0)
            curves = {
                "past": past, "truth": truth[i], "median": middle[i], "low": forecasts[i, :, 0],
                "high": forecasts[i, :, -1], "naive": () if naive is None else median_of(self.levels, naive[i]),
            }  # fmt: skip
            plain = {name: [_plain(value) for value in values] for name, values in curves.items()}
            rows.append({"id": ids[i], "mase": float(errors[i]), **plain})
        return {"band": f"{self.levels[0]:g} to {self.levels[-1]:g}", "rows": rows}


def figures(levels: Sequence[float], truth: np.ndarray, forecasts: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """MASE and WQL of some forecasts, each with a bootstrap 95 % interval over them.

    Args:
        levels: Of the quantiles.
        truth: float (n, horizon), NaN where nothing is known.
        forecasts: float (n, horizon, levels).
        scale: float (n,), mean absolute difference of a season in each history.
    """
    errors = mase(truth, median_of(levels, forecasts), scale)
    losses = quantile_losses(levels, truth, forecasts).mean(axis=2).sum(axis=1)
    size = np.nansum(np.abs(truth), axis=1)
    statistics: dict[str, Callable[[np.ndarray], float]] = {"mase": lambda rows: float(errors[rows].mean())}
    if len(levels) > 1 and size.any():
        statistics["wql"] = functools.partial(_wql, losses, size)
    scores: dict[str, float] = {}
    for name, statistic in statistics.items():
        interval = metrics.bootstrap(statistic, len(truth))
        scores |= metrics.with_interval(name, statistic(np.arange(len(truth))), interval)
    return scores


def _wql(losses: np.ndarray, size: np.ndarray, rows: np.ndarray) -> float:
    return float(losses[rows].sum() / max(size[rows].sum(), size[size > 0].min()))  # draws of zeros alone have a size


def mase(truth: np.ndarray, forecast: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Mean absolute scaled error of each forecast, (n,).

    Example:
        >>> mase(np.array([[2.0, 4.0]]), np.array([[1.0, 1.0]]), np.array([2.0])).tolist()
        [1.0]
    """
    finite = np.isfinite(truth)
    apart = np.where(finite, np.abs(np.where(finite, truth, 0) - forecast), 0).sum(axis=1)
    return np.asarray(apart / np.maximum(finite.sum(axis=1), 1) / scale)


def coverage(levels: Sequence[float], truth: np.ndarray, forecasts: np.ndarray) -> dict[str, float]:
    """Share of the values inside the outer quantiles, with a bootstrap interval over the forecasts.

    It is named by the share that should be inside: coverage_80 between .1 and .9.
    """
    if len(levels) < 2:
        return {}
    finite = np.isfinite(truth)
    inside = ((truth >= forecasts[..., 0]) & (truth <= forecasts[..., -1]) & finite).sum(axis=1)
    count, name = finite.sum(axis=1), f"coverage_{round(100 * (levels[-1] - levels[0]))}"

    def share(rows: np.ndarray) -> float:
        return float(inside[rows].sum() / max(1, count[rows].sum()))

    return metrics.with_interval(name, share(np.arange(len(truth))), metrics.bootstrap(share, len(truth)))


def by_step(
    levels: Sequence[float], truth: np.ndarray, forecasts: np.ndarray, naive: np.ndarray | None
) -> list[dict[str, Any]]:
    """Mean absolute error of each step ahead, of the seasonal naive forecast too, and how often the truth is inside."""
    middle, rows = median_of(levels, forecasts), []
    naive_middle = None if naive is None else median_of(levels, naive)
    for step in range(truth.shape[1]):
        finite = np.isfinite(truth[:, step])
        if not finite.any():
            continue
        actual = truth[finite, step]
        inside = (actual >= forecasts[finite, step, 0]) & (actual <= forecasts[finite, step, -1])
        rows.append(
            {"step": step + 1, "error": float(np.abs(actual - middle[finite, step]).mean()),
             "naive": "-" if naive_middle is None else f"{np.abs(actual - naive_middle[finite, step]).mean():.4g}",
             "inside": float(inside.mean())}
        )  # fmt: skip
    return rows


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the MASE of the methods says of the first of them.

    Args:
        rows: Of the methods, the model first; "model" is the model's MASE of the forecasts that a method made.
    """
    better = [row["method"] for row in rows[1:] if row["mase"] <= row["model"]]
    if not rows[1:]:
        return "There is nothing to compare with: the data have no seasonal naive forecast."
    if "seasonal naive" in better:
        return (
            f"The model does not beat the seasonal naive forecast (MASE {rows[0]['mase']:.3f}): take that one, which "
            "costs nothing."
        )
    if better:
        return f"The model beats the seasonal naive forecast, but {' and '.join(better)} had the lower MASE here."
    return f"The model has a lower MASE here than {', '.join(row['method'] for row in rows[1:])}."


def _named(score: str, method: str) -> str:
    """ "mase_low" of "naive" is "mase_naive_low", so that an interval follows its score."""
    if not method:
        return score
    base, _, end = score.partition("_")
    return "_".join(filter(None, (base, method, end)))


def _column(columns: Mapping[str, Any], name: str, count: int) -> np.ndarray:
    return np.asarray(columns[name].take(np.arange(count)), np.float64) if name in columns else np.ones(count)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
