"""forecaster: quantiles of the next 24 values of any regular series, trained by tlkit on made-up series alone.

It corrects the seasonal naive forecast: what it is given are the last 72 values in their own deviations, and the values
one, two and three seasons before each step ahead, so that one net serves every season. No data set goes into it: `made`
draws trends that break, seasons, and noise that remembers, from a fixed seed.

Sources: Kim et al. 2022, OpenReview cGDAkQo1C0p (reversible instance normalisation); Dooley et al. 2023,
arXiv:2311.01933 (pre-training on synthetic series); Koenker and Bassett 1978, doi:10.2307/1913643 (quantile loss).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.seasons import CONTEXT, SEASONS, futures_of, lag_positions, windows_of
from tlkit.zoo.card import Card

if TYPE_CHECKING:
    import keras

STEPS = 24
LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
PERIODS = (1, 4, 7, 10, 11, 12, 24, 48, 52)
WIDTH, BLOCKS, STEP_WIDTH = 128, 3, 16
CARD = Card(
    name="forecaster",
    summary="forecaster, a small net that forecasts quantiles of any regular series",
    modality="series",
    licence="Apache-2.0",
    credits="Trained by tlkit on synthetic series alone; no data set is in it.",
    package=None,
    inputs=(
        f'dict of float32: "context" (batch, {CONTEXT}), the last values less their mean, in their deviations, 0 where '
        f'there is none; "known" (batch, {CONTEXT}), 1 where there is one; "lags" (batch, {STEPS}, {SEASONS}), in the '
        "same unit the values 1, 2 and 3 seasons before each step ahead"
    ),
    outputs=(
        f"float32 (batch, {STEPS}, {len(LEVELS)}), in the context's deviations: the quantiles "
        f"{', '.join(f'{level:g}' for level in LEVELS)} of each step ahead"
    ),
    input_range=None,
    parameters=273_165,
)


@dataclass(frozen=True)
class Training:
    """How the module is trained.

    Attributes:
        series: Made-up series.
        windows: Of them that are drawn.
        steps: Of the optimizer.
        batch_size: Windows a step.
        lr: Peak rate, which falls along a cosine.
        seed: Of all that is random.
    """

    series: int = 3000
    windows: int = 30_000
    steps: int = 2000
    batch_size: int = 128
    lr: float = 2e-3
    seed: int = 0


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Train the net, in about half a minute of one core, and write it as a hub-format SavedModel."""
    from tlkit.formats import hub_module

    hub_module.write_keras_model(trained(Training()), folder, card={**CARD.to_json(), "levels": list(LEVELS)})


def made(count: int, seed: int) -> Iterator[tuple[np.ndarray, int]]:
    """Series and the length of their season: trend, season and noise of drawn sizes, half of them exponentials."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        period = int(rng.choice(PERIODS))
        length = max(period + 16, int(rng.integers(40, 60 + 7 * max(period, 12))))
        level = _trend(length, rng) * rng.choice([0, 1, 3])
        values = level + _season(length, period, rng) * rng.uniform(0, 2) + _noise(length, rng)
        yield (np.exp(0.3 * values) if rng.random() < 0.5 else values).astype(np.float32), period


def _trend(length: int, rng: np.random.Generator) -> np.ndarray:
    breaks = np.where(rng.random(length) < 0.02, rng.normal(0, 0.1, length), 0)
    return np.asarray(np.cumsum(breaks + rng.normal(0, 0.03)))


def _season(length: int, period: int, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(length)
    if period == 1:
        return np.zeros(length)
    waves = [rng.normal(0, 1 / k) * np.sin(2 * np.pi * k * time / period + rng.uniform(0, 7)) for k in range(1, 5)]
    jagged = rng.normal(0, 1, period)[time % period] if rng.random() < 0.3 else np.zeros(length)
    return np.asarray(np.sum(waves, axis=0) + jagged)


def _noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of which a share stays to the next step."""
    memory, shocks = rng.uniform(0, 1), rng.normal(0, rng.uniform(0.05, 0.8), length)
    values, last = np.empty(length), 0.0
    for i, shock in enumerate(shocks.tolist()):
        last = memory * last + shock
        values[i] = last
    return values


def inputs_of(past: np.ndarray, season_length: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """What the module takes, and the level and spread (n, 1) to which its outputs belong.

    Args:
        past: float32 (n, window_length) as `core.seasons.windows_of` gives it: NaN in front of where a series begins.
        season_length: Steps of a season.
    """
    recent = past[:, -CONTEXT:]
    known = np.isfinite(recent).astype(np.float32)
    count, filled = known.sum(axis=1, keepdims=True), np.where(known > 0, recent, 0)
    level = filled.sum(axis=1, keepdims=True) / count
    deviation = np.sqrt((known * (filled - level) ** 2).sum(axis=1, keepdims=True) / count)
    spread = deviation + 1e-4 * (np.abs(level) + 1e-6)
    lags = past[:, lag_positions(STEPS, season_length)]
    lags = np.where(np.isfinite(lags), lags, lags[..., :1])
    lags = np.where(np.isfinite(lags), lags, level[..., None])
    inputs = {
        "context": known * (filled - level) / spread,
        "known": known,
        "lags": (lags - level[..., None]) / spread[..., None],
    }
    return {name: array.astype(np.float32) for name, array in inputs.items()}, level, spread


def drawn(series: Sequence[tuple[np.ndarray, int]], count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs of `count` windows at drawn cutoffs, and the values behind them in the same unit, NaN beyond the end."""
    rng = np.random.default_rng(seed)
    parts: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
    for number, times in zip(*np.unique(rng.integers(len(series), size=count), return_counts=True), strict=True):
        values, period = series[number]
        cutoffs = rng.integers(max(8, period), len(values) - 1, size=times)
        past = windows_of(values, cutoffs, period)
        lengths = np.minimum(cutoffs, rng.integers(max(8, period), 4 * max(CONTEXT, period), size=times))
        past = np.where(np.arange(past.shape[1])[None] >= past.shape[1] - lengths[:, None], past, np.nan)
        inputs, level, spread = inputs_of(past, period)
        parts.append((inputs, (futures_of(values, cutoffs, STEPS) - level) / spread))
    inputs = {name: np.concatenate([batch[name] for batch, _ in parts]) for name in parts[0][0]}
    return inputs, np.concatenate([future for _, future in parts]).astype(np.float32)


def network() -> keras.Model:
    """The net with fresh weights: a residual network of the context, and a small one of each step ahead."""
    import keras

    context, known = (keras.Input((CONTEXT,), name=name) for name in ("context", "known"))
    lags = keras.Input((STEPS, SEASONS), name="lags")
    x = keras.layers.Dense(WIDTH, name="context_in")(keras.layers.Concatenate()([context, known]))
    for number in range(BLOCKS):
        inside = keras.layers.LayerNormalization(name=f"block_{number}_norm")(x)
        inside = keras.layers.Dense(2 * WIDTH, activation="gelu", name=f"block_{number}_wide")(inside)
        x = x + keras.layers.Dense(WIDTH, kernel_initializer="zeros", name=f"block_{number}_out")(inside)
    x = keras.layers.Dense(STEPS * STEP_WIDTH, name="steps")(keras.layers.LayerNormalization(name="steps_norm")(x))
    x = keras.layers.Concatenate()([keras.layers.Reshape((STEPS, STEP_WIDTH))(x), lags])
    for number in range(2):
        x = keras.layers.Dense(64, activation="gelu", name=f"step_{number}")(x)
    correction = keras.layers.Dense(len(LEVELS), name="quantiles")(x)
    inputs = {"context": context, "known": known, "lags": lags}
    return keras.Model(inputs, correction + lags[:, :, :1], name="forecaster")


def pinball(target: Any, quantiles: Any) -> Any:
    """Mean quantile loss, where each counts at most 5, of targets (batch, steps) that are NaN where unknown."""
    import tensorflow as tf

    present = tf.cast(tf.math.is_finite(target), tf.float32)
    short = tf.where(tf.math.is_finite(target), target, 0.0)[..., None] - quantiles
    levels = tf.constant(LEVELS, tf.float32)
    loss = tf.minimum(tf.maximum(levels * short, (levels - 1) * short), 5.0)
    return tf.reduce_sum(tf.reduce_mean(loss, axis=-1) * present) / tf.maximum(tf.reduce_sum(present), 1.0)


def trained(training: Training) -> keras.Model:
    """The net after pre-training; the same weights each time on one kind of machine."""
    import keras
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(training.seed)
    model = network()
    inputs, future = drawn(list(made(training.series, training.seed)), training.windows, training.seed)
    order = _order(len(future), training)
    rates = training.lr * 0.5 * (1 + np.cos(np.pi * np.arange(training.steps) / training.steps))
    _descend(model, {name: tf.constant(array) for name, array in inputs.items()}, tf.constant(future), order, rates)
    return model


def _order(count: int, training: Training) -> np.ndarray:
    """int64 (steps, batch): the windows of each step, all of them once before any comes again."""
    rng, needed = np.random.default_rng(training.seed), training.steps * training.batch_size
    rounds = [rng.permutation(count) for _ in range(math.ceil(needed / count))]
    return np.concatenate(rounds)[:needed].reshape(training.steps, training.batch_size)


def _descend(model: keras.Model, inputs: Mapping[str, Any], future: Any, order: np.ndarray, rates: np.ndarray) -> None:
    """AdamW with gradients clipped to norm 1, as one traced loop: `fit` would take three times as long."""
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.AdamW(weight_decay=1e-4, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)

    def run(order: Any, rates: Any) -> None:
        for step in tf.range(tf.shape(order)[0]):
            optimizer.learning_rate.assign(rates[step])
            batch = {name: tf.gather(values, order[step]) for name, values in inputs.items()}
            with tf.GradientTape() as tape:
                loss = pinball(tf.gather(future, order[step]), model(batch, training=True))
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    tf.function(run)(tf.constant(order), tf.constant(rates, tf.float32))
