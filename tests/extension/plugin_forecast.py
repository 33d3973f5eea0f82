"""Forecasts: quantiles of the next values of a series, on a modality of its own, from any series module."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tlkit
from tlkit import columns, reads

# -- data: a text file with one value a line. A window is `context` values and the `horizon` behind them, both less the
# context's mean and in its deviations, so that one module serves series of every size; say() puts the unit back.


def from_file(path: Path, context: int, horizon: int, shares: Sequence[float] = (0.6, 0.2, 0.2)) -> tlkit.Splits:
    """Windows of one series, divided by time: no value that is to be forecast lies in a context that was trained on."""
    series = values(path)
    ends = np.arange(context, len(series) - horizon + 1)
    first = round(shares[0] * len(ends))
    second = first + round(shares[1] * len(ends))
    parts = (ends[:first], ends[first + horizon : second], ends[second + horizon :])
    if not all(len(part) for part in parts):
        raise tlkit.InputError(f"{path} has {len(series)} values, too few for windows of {context} + {horizon}.")
    return tlkit.Splits(*(_windows(path.stem, series, part, context, horizon) for part in parts))


def values(path: Path) -> np.ndarray:
    """float32 (n,), finite."""
    try:
        series = np.array(path.read_text().split(), np.float32)
    except ValueError as error:
        raise tlkit.InputError(f"{path} must hold one number a line: {error}.") from error
    if not np.isfinite(series).all():
        raise tlkit.InputError(f"{path} has a value that is no finite number; fill it in, or leave it out.")
    return series


def _windows(name: str, series: np.ndarray, ends: np.ndarray, context: int, horizon: int) -> tlkit.Examples:
    past = np.stack([series[end - context : end] for end in ends])
    future = np.stack([series[end : end + horizon] for end in ends])
    level, spread = past.mean(axis=1), past.std(axis=1) + 1e-6
    return tlkit.Examples(
        ids=tuple(f"{name}@{end}" for end in ends),
        inputs=columns.ArrayColumn(((past - level[:, None]) / spread[:, None])[..., None]),
        targets=columns.ArrayColumn((future - level[:, None]) / spread[:, None]),
        modality=SERIES.name,
        pipeline=tlkit.Pipeline().then("series", context=context),
        columns={"level": columns.ArrayColumn(level), "spread": columns.ArrayColumn(spread)},
    )


# -- the modality


def _prepare(data: tlkit.Splits, layer: tlkit.HubLayer) -> tlkit.Splits:
    """Windows as they are, if the module takes contexts of their length."""
    taken, length = layer.endpoint.input_leaves[0].shape[1], data.train.inputs.spec.shape[0]
    if taken not in (None, length):
        raise tlkit.InputError(f"{layer.handle} takes contexts of {taken} values. Received: context={length}.")
    return data


def _parse(source: Any, info: tlkit.FileInfo) -> tlkit.Examples:
    """The window at the end of a file, or of an array of values."""
    series = values(source) if isinstance(source, Path) else np.asarray(source, np.float32)
    context = info.pipeline.get("series")["context"]
    if len(series) < context:
        raise tlkit.InputError(f"A forecast needs {context} values. Received: {len(series)}.")
    windows = _windows("series", series[-context:], np.array([context]), context, 0)
    note = f"the last {context} of {len(series)} values" if len(series) > context else ""
    return dataclasses.replace(windows, columns={**windows.columns, "note": columns.ArrayColumn(np.array([note]))})


def _show(examples: tlkit.Examples, index: int) -> str:
    """A line in a box; numbers alone, so that there is nothing to escape."""
    line = examples.inputs[index][:, 0]
    x = np.linspace(0, 120, len(line))
    y = 20 - 15 * line / max(1e-6, float(np.abs(line).max()))
    drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<svg width="120" height="40"><polyline points="{drawn}" fill="none" stroke="currentColor"/></svg>'


SERIES = tlkit.Modality(name=f"{__name__}.SERIES", prepare=_prepare, parse=_parse, show=_show)

# -- the task


def forecast(horizon: int, quantiles: Sequence[float] = (0.1, 0.5, 0.9)) -> tlkit.Task:
    """Quantiles of the next `horizon` values: targets are float32 (n, horizon)."""
    levels = tuple(float(level) for level in quantiles)
    return tlkit.Task(
        name="forecast",
        made_by=tlkit.made_by(forecast, horizon=horizon, quantiles=levels),
        reads=reads.pooled(),
        head=functools.partial(_head, horizon, len(levels)),
        objective=tlkit.Objective(loss=lambda: Pinball(levels), metrics=list, check=functools.partial(_check, horizon)),
        answers=(quantile_answer(levels),),
        scorer=lambda: ForecastScores(levels),
    )


def _check(horizon: int, data: tlkit.Splits) -> None:
    shape = data.train.targets.spec.shape
    if shape != (horizon,):
        raise tlkit.InputError(f"Targets must be (n, {horizon}), the values that follow. Received: {shape}.")


def _head(horizon: int, count: int, features: Any) -> Any:
    """Raw outputs (batch, horizon, quantiles), in deviations of the context."""
    hidden = keras.layers.Dense(32, activation="relu", name="head_hidden")(features)
    flat = keras.layers.Dense(horizon * count, dtype="float32", name="head_flat")(hidden)
    return keras.layers.Reshape((horizon, count), name="head_quantiles")(flat)


@keras.saving.register_keras_serializable(package="forecast")
class Pinball(keras.losses.Loss):
    """Mean quantile loss of Koenker and Bassett 1978."""

    def __init__(self, levels: Sequence[float], name: str = "pinball", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.levels = tuple(levels)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        short = keras.ops.expand_dims(y_true, -1) - y_pred
        levels = keras.ops.convert_to_tensor(np.float32(self.levels))
        return keras.ops.mean(keras.ops.maximum(levels * short, (levels - 1) * short), axis=(1, 2))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": list(self.levels)}


# -- the answer


def quantile_answer(levels: tuple[float, ...]) -> tlkit.Answer:
    """Quantiles in order, in deviations of the context."""
    return tlkit.Answer(
        name="quantiles",
        labels=tuple(f"{level:g}" for level in levels),
        decode=lambda raw: {"quantiles": keras.ops.sort(raw, axis=-1)},
        agree=_agree,
        merit=functools.partial(_merit, levels),
        say=functools.partial(_say, levels),
        sections=(tlkit.Section("horizon", "Error by step ahead", lambda facts: facts.detail("horizon"), TEMPLATE),),
    )


def _agree(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> tlkit.Agreement:
    """Values are in deviations already; a tenth of one is the same to people."""
    apart = np.abs(expected["quantiles"] - actual["quantiles"])
    return tlkit.Agreement(apart.max(axis=(1, 2)), apart < 0.1, np.full(apart.shape, np.inf))


def _merit(levels: tuple[float, ...], targets: np.ndarray, decoded: Mapping[str, np.ndarray]) -> np.ndarray:
    return -_pinball(levels, targets, decoded["quantiles"]).mean(axis=(1, 2))


def _pinball(levels: tuple[float, ...], targets: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    short = targets[..., None] - quantiles
    return np.maximum(np.float32(levels) * short, (np.float32(levels) - 1) * short)


def _say(
    levels: tuple[float, ...], decoded: Mapping[str, np.ndarray], example: Mapping[str, Any]
) -> list[tuple[str, float]]:
    """The middle quantile of each step ahead, in the series' own unit."""
    middle = decoded["quantiles"][:, len(levels) // 2] * example["spread"] + example["level"]
    return [(f"{step} ahead", float(value)) for step, value in enumerate(middle, start=1)]


# -- scores and report


class ForecastScores:
    """Quantile loss relative to repeating the last value, and how often the outer quantiles hold the truth."""

    def __init__(self, levels: tuple[float, ...]) -> None:
        self.levels = levels
        self.loss = self.naive = np.zeros(0)
        self.inside = self.count = 0

    def update(self, examples: tlkit.Examples, decoded: Mapping[str, np.ndarray]) -> None:
        indices = np.arange(len(examples))
        truth, quantiles = examples.targets.take(indices), decoded["quantiles"]
        last = examples.inputs.take(indices)[:, -1]
        loss = _pinball(self.levels, truth, quantiles).mean(axis=2).sum(axis=0)
        naive = _pinball(self.levels, truth, np.repeat(last[:, None], truth.shape[1], axis=1)).mean(axis=2).sum(axis=0)
        self.loss = loss + self.loss if self.count else loss
        self.naive = naive + self.naive if self.count else naive
        self.inside += int(((truth >= quantiles[..., 0]) & (truth <= quantiles[..., -1])).sum())
        self.count += len(truth)

    def result(self) -> tlkit.Evaluation:
        steps = len(self.loss)
        rows = [
            {"step": i + 1, "loss": float(self.loss[i] / self.count), "naive": float(self.naive[i] / self.count)}
            for i in range(steps)
        ]
        headline = {"label": "Loss relative to naive", "interval": "", "unit": "value", "lower_is_better": True}
        return tlkit.Evaluation(
            scores={
                "relative_loss": float(self.loss.sum() / max(1e-9, self.naive.sum())),
                "coverage": self.inside / (self.count * steps),
            },
            details={"headline": {"name": "relative_loss", **headline}, "horizon": rows},
            outputs=None,
        )


TEMPLATE = """
<table><thead><tr><th>step ahead</th><th>loss</th><th>of repeating the last value</th></tr></thead><tbody>
{% for row in view %}
<tr><td>{{ row.step }}</td><td>{{ "%.3f" | format(row.loss) }}</td><td>{{ "%.3f" | format(row.naive) }}</td></tr>
{% endfor %}
</tbody></table>
"""
