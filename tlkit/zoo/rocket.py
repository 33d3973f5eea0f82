"""rocket: how often fixed convolutions of a series lie above thresholds; nothing in it was trained.

84 kernels of nine weights, six of -1 and three of 2, at eight dilations, over a series brought to 128 steps. Each gives
the shares of its values above three thresholds, 2,016 features in all. Thresholds, and how channels are mixed, are
taken from the training series once (`fitted_to`, which the modality calls); without that they fit random walks of one
channel. A module that was published keeps them, and takes series of as many channels alone.

Sources: Dempster, Schmidt and Webb 2021, arXiv:2012.08791 (MiniRocket: kernels, dilations, thresholds from quantiles,
channels); Dempster, Petitjean and Webb 2020, arXiv:1910.13051 (ROCKET).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.zoo.card import Card

STEPS, CHANNELS = 128, 64
TAPS, KERNELS = 9, 84
DILATIONS = (1, 2, 3, 4, 6, 8, 11, 15)
THRESHOLDS = 3
FEATURES = len(DILATIONS) * KERNELS * THRESHOLDS
LOOKED_AT = 128  # training series of which thresholds are taken
CENTRE, MIXING, LIMITS, FITTED = "centre", "mixing", "thresholds", "fitted"
CARD = Card(
    name="rocket",
    summary="rocket, fixed convolutions of series and how often they lie above thresholds",
    modality="series",
    licence="Apache-2.0",
    credits="Made by tlkit after MiniRocket; it has no trained weights.",
    package=None,
    inputs=(
        f"float32 (batch, steps, channels): any number of steps, brought to {STEPS} along lines; at most {CHANNELS} "
        "channels"
    ),
    outputs=f"float32 (batch, {FEATURES}): shares in [0, 1]",
    input_range=None,
    parameters=CHANNELS + len(DILATIONS) * CHANNELS * KERNELS + FEATURES + 1,
)


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the convolutions as a hub-format SavedModel, with thresholds of random walks."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    walks = np.cumsum(np.random.default_rng(0).normal(size=(LOOKED_AT, STEPS, 1)), axis=1)
    walks = (walks - walks.mean(axis=1, keepdims=True)) / walks.std(axis=1, keepdims=True)
    values = fitted_to(walks) | {FITTED: np.zeros((), np.float32)}
    variables = {name: tf.Variable(value, trainable=False, name=name) for name, value in values.items()}
    hub_module.write_module(
        lambda series, training: features(series, variables),
        list(variables.values()),
        [],
        tf.TensorSpec((None, None, None), tf.float32, name="series"),
        folder,
        card=CARD.to_json(),
    )


def kernels() -> np.ndarray:
    """float32 (9, 84): each of the ways to set three of nine weights to 2, the others to -1.

    Example:
        >>> kernels().sum()
        np.float32(0.0)
    """
    table = np.full((TAPS, KERNELS), -1, np.float32)
    for number, places in enumerate(itertools.combinations(range(TAPS), 3)):
        table[list(places), number] = 2
    return table


def features(series: Any, variables: Mapping[str, Any]) -> Any:
    """Shares above the thresholds, in TensorFlow: (batch, steps, channels) -> (batch, 2016)."""
    import tensorflow as tf

    images = tf.expand_dims(tf.convert_to_tensor(series), 2)
    resized = tf.compat.v1.image.resize_bilinear(images, (STEPS, 1), align_corners=True)[:, :, 0]
    count = tf.shape(resized)[-1]
    centred = resized - variables[CENTRE][:count]
    weights, parts = kernels(), []
    for number, dilation in enumerate(DILATIONS):
        mixed = tf.einsum("btc,ck->btk", centred, variables[MIXING][number, :count])
        reach = dilation * (TAPS // 2)
        padded = tf.pad(mixed, [[0, 0], [reach, reach], [0, 0]])
        response = sum(padded[:, tap * dilation : tap * dilation + STEPS] * weights[tap] for tap in range(TAPS))
        for limit in range(THRESHOLDS):
            above = tf.cast(response > variables[LIMITS][number, limit], tf.float32)
            parts.append(tf.reduce_mean(above, axis=1))
    return tf.concat(parts, axis=1)


def fitted_to(series: np.ndarray) -> dict[str, np.ndarray]:
    """Values of the module's variables for these training series.

    Each kernel at each dilation looks at a drawn set of channels, each in its deviations; its thresholds are quantiles
    of what it gives.

    Args:
        series: float (n, steps, channels), at most 64 channels; of more than 128 series 128 are drawn.
    """
    rng = np.random.default_rng(0)
    channels = series.shape[-1]
    chosen = np.sort(rng.permutation(len(series))[:LOOKED_AT])
    at = np.linspace(0, series.shape[1] - 1, STEPS)
    rows = np.asarray(series, np.float64)
    centre, spread = rows.mean(axis=(0, 1)), rows.std(axis=(0, 1))
    spread = np.where(spread > 0, spread, 1.0)
    low, share = np.floor(at).astype(int), (at % 1)[None, :, None]
    high = np.minimum(low + 1, series.shape[1] - 1)
    some = rows[chosen][:, low] * (1 - share) + rows[chosen][:, high] * share - centre
    mixing = np.zeros((len(DILATIONS), CHANNELS, KERNELS), np.float32)
    limits = np.zeros((len(DILATIONS), THRESHOLDS, KERNELS), np.float32)
    golden = (np.arange(1, len(DILATIONS) * KERNELS * THRESHOLDS + 1) * (math.sqrt(5) - 1) / 2) % 1
    shares = golden.reshape(limits.shape)
    for number, dilation in enumerate(DILATIONS):
        for kernel in range(KERNELS):
            used = _channels(channels, rng)
            mixing[number, used, kernel] = 1 / spread[used]
        response = _responses(some @ mixing[number, :channels].astype(np.float64), dilation).reshape(-1, KERNELS)
        for kernel in range(KERNELS):
            limits[number, :, kernel] = np.quantile(response[:, kernel], shares[number, :, kernel])
    whole = np.zeros(CHANNELS, np.float32)
    whole[:channels] = centre
    return {CENTRE: whole, MIXING: mixing, LIMITS: limits, FITTED: np.ones((), np.float32)}


def variables_of(variables: Iterable[Any]) -> dict[str, Any]:
    """The variables of rocket by their names, also where it was published under another name; {} of other modules."""
    by_name = {variable.name: variable for variable in variables}
    return by_name if set(by_name) == {CENTRE, MIXING, LIMITS, FITTED} else {}


def channels_of(mixing: np.ndarray) -> int:
    """How many channels the kernels look at: those of the series that they were fitted to.

    Example:
        >>> channels_of(fitted_to(np.random.default_rng(0).normal(size=(4, 20, 3)))[MIXING])
        3
    """
    return int(np.count_nonzero(mixing.any(axis=(0, 2))))


def _channels(count: int, rng: np.random.Generator) -> np.ndarray:
    """Which channels a kernel sums: few more often than many."""
    most = math.log2(min(count, TAPS) + 1)
    return rng.choice(count, max(1, int(2 ** rng.uniform(0, most))), replace=False)


def _responses(mixed: np.ndarray, dilation: int) -> np.ndarray:
    reach, weights = dilation * (TAPS // 2), kernels()
    padded = np.pad(mixed, [(0, 0), (reach, reach), (0, 0)])
    taps = [padded[:, tap * dilation : tap * dilation + STEPS] * weights[tap] for tap in range(TAPS)]
    return np.asarray(np.sum(taps, axis=0))
