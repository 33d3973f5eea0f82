"""Forecasts: quantiles of the next values of a regular series."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.quantiles import quantiles as quantile_answer
from tlkit.core.checks import check_rules
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.run import Phase
from tlkit.core.task import Objective, Task
from tlkit.layer import reads
from tlkit.tasks import recording
from tlkit.tasks.forecast_scores import ForecastScorer
from tlkit.tasks.split_checks import check_training

if TYPE_CHECKING:
    import keras

LEVELS = tuple(round(0.1 * i, 1) for i in range(1, 10))
FEW = 90  # values of a history below which nothing is tuned
STEP_WIDTH, STEP_HIDDEN = 16, 64
TUNED_WINDOWS = 4_000  # that tuning looks at: 125 steps of 32
HISTORY = "history_length"  # the column with how many values lie before each cutoff


def forecast(
    horizon: int,
    quantiles: Sequence[float] = LEVELS,
    season_length: int = 1,
    *,
    hidden: int = STEP_HIDDEN,
    zero_shot: bool = False,
) -> Task:
    """Forecast the next values of a series: quantiles of each step ahead, as corrections of the seasonal naive one.

    Targets are float32 (n, horizon), NaN where a value is not known; `tlkit.data.series.history` makes them. With
    `zoo:forecaster` the head has no weights of its own, so that a run may be zero-shot; any other module of sequences
    (batch, 72, 1) gets a head that is learned, from the seasonal naive forecast on. Without `phases`, `finetune`
    decides by the length of the history whether to tune the module, and says so.

    Args:
        horizon: Steps ahead, >= 1.
        quantiles: Levels, ascending, each in (0, 1), with 0.5: MASE is of the median.
        season_length: Steps of a season: 12 of months in a year, 24 of hours in a day; 1 is none.
        hidden: Width of the head's hidden layer, where the module gives features.
        zero_shot: Tune nothing, however long the history is; without `phases`, a module that makes no forecasts of its
            own is then refused.

    Returns:
        A task that gives "quantiles" (batch, horizon, levels), sorted, in the series' own unit.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> forecast(12, season_length=12).reads.name
        'history(12, 12)'

    Source: Koenker and Bassett 1978, doi:10.2307/1913643; Kim et al. 2022, OpenReview cGDAkQo1C0p (RevIN).
    """
    _check_arguments(horizon, quantiles, season_length, hidden)
    levels = tuple(float(level) for level in quantiles)
    arguments = {"horizon": horizon, "quantiles": levels, "season_length": season_length, "hidden": hidden}
    arguments["zero_shot"] = zero_shot
    return Task(
        name="forecast",
        made_by=recording.record("tlkit.tasks.forecast", arguments),
        reads=reads.history(horizon, season_length),
        head=functools.partial(_head, levels, hidden),
        objective=Objective(
            loss=functools.partial(_loss, levels), check=functools.partial(_check, horizon, season_length)
        ),
        answers=(quantile_answer(levels),),
        scorer=functools.partial(ForecastScorer, levels, season_length),
        plan=functools.partial(_plan, zero_shot),
    )


def phases_for(history_length: int, windows: int) -> tuple[Phase, ...]:
    """Phases by how much history there is: none that tunes where it is short.

    The first phase trains nothing of zoo:forecaster and takes its zero-shot forecasts on the validation horizon into
    the choice of the best weights, so that what is tuned is never worse there. What is kept lies half way between the
    zero-shot weights and the tuned ones, whose intervals alone would be far too narrow.

    Args:
        history_length: Values before the first cutoff that is tested, of the longest series.
        windows: Training windows, >= 1.

    Example:
        >>> [phase.unfrozen for phase in phases_for(36, 12)], [phase.unfrozen for phase in phases_for(400, 300)]
        ([0.0], [0.0, 1.0])
    """
    first = Phase(epochs=1, lr=1e-3)
    if history_length < FEW:
        return (first,)
    epochs = int(min(30, max(2, round(TUNED_WINDOWS / windows))))
    return first, Phase(epochs, 3e-4, unfrozen=1.0, clip_norm=1.0, weight_decay=1e-4, start_share=0.5)


def head_phases_for(history_length: int, windows: int, trainable: bool) -> tuple[Phase, ...]:
    """Phases of a module that makes no forecasts of its own: the head is learned first, whatever the history.

    Args:
        history_length: Values before the first cutoff that is tested, of the longest series.
        windows: Training windows, >= 1.
        trainable: Whether gradients reach the module.

    Example:
        >>> [phase.unfrozen for phase in head_phases_for(36, 12, trainable=True)]
        [0.0]
    """
    epochs = int(min(30, max(5, round(TUNED_WINDOWS / windows))))
    head = Phase(epochs, 1e-3, patience=5)
    if history_length < FEW or not trainable:
        return (head,)
    return head, Phase(epochs, 3e-4, unfrozen=1.0, clip_norm=1.0, weight_decay=1e-4, patience=5)


def _plan(zero_shot: bool, data: Splits, say: Callable[[str], None], model: keras.Model) -> tuple[Phase, ...]:
    """What `finetune` does where it is given no phases; `say` is told why.

    Raises:
        InputError: If forecasts are to be zero-shot, and the module makes none of its own.
    """
    from tlkit.layer.lookup import backbone_of

    column = data.train.columns.get(HISTORY)
    longest = int(np.max(column.take(np.arange(len(column))))) if column is not None else len(data.train)
    layer = backbone_of(model)
    if layer is not None and any(part.trainable_weights for part in model.layers if part is not layer):
        if zero_shot:
            raise InputError(
                f"{layer.handle} makes no forecasts of its own, so that its head must be learned: leave out "
                "`zero_shot`, or take zoo:forecaster."
            )
        say(
            f"note: {layer.handle} makes no forecasts of its own: its head is learned, from {len(data.train):,} "
            "windows, and nothing is zero-shot"
        )
        return head_phases_for(longest, len(data.train), layer.untrainable is None)
    if zero_shot:
        return phases_for(0, len(data.train))
    if longest < FEW:
        say(f"note: the history has {longest} values, fewer than {FEW}: tuning would do harm, so it stays zero-shot")
    else:
        say(f"note: the history has {longest} values: tuned, unless zero-shot is better on the validation horizon")
    return phases_for(longest, len(data.train))


# -- head


def _head(levels: tuple[float, ...], hidden: int, past: Mapping[str, Any]) -> dict[str, Any]:
    """Raw outputs, as `answers.quantiles` reads them."""
    deviations = (
        _at_levels(past["quantiles"], past["levels"], levels) if "quantiles" in past else _learned(past, levels, hidden)
    )
    return {"deviations": deviations, "level": past["level"], "spread": past["spread"]}


def _at_levels(quantiles: Any, offered: Sequence[float], levels: Sequence[float]) -> Any:
    """Quantiles at other levels: between two of them along a line. Sorted first, as a net's quantiles may cross."""
    from keras import ops

    if levels[0] < offered[0] - 1e-9 or levels[-1] > offered[-1] + 1e-9:
        raise InputError(
            f"The module gives quantiles from {offered[0]:g} to {offered[-1]:g}: ask for levels in between. "
            f"Received: quantiles={list(levels)}."
        )
    mixing = np.stack([np.interp(levels, offered, row) for row in np.eye(len(offered))]).astype(np.float32)
    return ops.matmul(ops.sort(quantiles, axis=-1), ops.convert_to_tensor(mixing))


def _learned(past: Mapping[str, Any], levels: tuple[float, ...], hidden: int) -> Any:
    """A correction of the seasonal naive forecast that begins at 0."""
    from keras import layers, ops

    lags = past["lags"]
    steps = lags.shape[1]
    x = layers.Dense(steps * STEP_WIDTH, name="head_steps")(past["features"])
    by_step = layers.Reshape((steps, STEP_WIDTH), name="head_by_step")(x)
    x = layers.Concatenate(name="head_joined")([by_step, lags])
    x = layers.Dense(hidden, activation="gelu", name="head_hidden")(x)
    correction = layers.Dense(len(levels), kernel_initializer="zeros", dtype="float32", name="head_outputs")(x)
    # at its full width: of one example Keras adds (1, steps, 1) as a bias of channels, which TFLite does not convert
    return correction + ops.repeat(lags[:, :, :1], len(levels), axis=2)


def _loss(levels: tuple[float, ...]) -> keras.losses.Loss:
    from tlkit.tasks.forecast_losses import QuantileLoss

    return QuantileLoss(levels)


# -- checks


def _check_arguments(horizon: Any, quantiles: Any, season_length: Any, hidden: Any) -> None:
    levels = list(quantiles) if isinstance(quantiles, Sequence) and not isinstance(quantiles, str) else []
    numbers = all(isinstance(level, float | int) for level in levels)
    fine = bool(levels) and numbers and all(0 < level < 1 for level in levels) and levels == sorted(set(levels))
    check_rules(
        {
            "horizon": (_is_count(horizon), "be a whole number, 1 or more", horizon),
            "quantiles": (
                fine and any(math.isclose(level, 0.5) for level in levels),
                "hold 0.5, as the median is what one number is scored by"
                if fine
                else "hold levels in (0, 1), each once and ascending",
                quantiles,
            ),
            "season_length": (_is_count(season_length), "be a whole number, 1 (no season) or more", season_length),
            "hidden": (_is_count(hidden), "be a whole number, 1 or more", hidden),
        },
        of="forecast",
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check(horizon: int, season_length: int, splits: Splits) -> None:
    check_training(splits, "give a longer history, or fewer `origins`")
    shape = splits.train.targets.spec.shape
    if tuple(shape) != (horizon,):
        raise InputError(
            f"Targets must be float32 (n, {horizon}), the values that follow each cutoff: read the data with the "
            f"task's horizon. Received: shape={tuple(shape)}."
        )
    settings = splits.train.pipeline.get("history")
    if settings is not None and settings["season_length"] != season_length:
        raise InputError(
            f"The data were read with season_length={settings['season_length']}, and the task has {season_length}: "
            "give both the same, as `tlkit.data.series.season_length_of(data)` says it."
        )
    if isinstance(splits.train.targets, ArrayColumn) and not np.isfinite(splits.train.targets.values).any():
        raise InputError("No training window has a value that follows it: give a longer history.")
