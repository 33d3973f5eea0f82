"""rocket: the graph and NumPy agree, and thresholds are quantiles of the training series."""

from __future__ import annotations

import numpy as np

from tlkit.data import labelled_series
from tlkit.zoo import rocket

X = np.random.default_rng(0).normal(size=(20, 40, 3)).cumsum(axis=1).astype(np.float32)


def by_hand(series, values, number, kernel):
    """The responses of one kernel at one dilation, as a loop over steps."""
    dilation, weights = rocket.DILATIONS[number], rocket.kernels()[:, kernel]
    rows = labelled_series.stretched(series.astype(np.float64), rocket.STEPS) - values[rocket.CENTRE][: series.shape[1]]
    mixed = rows @ values[rocket.MIXING][number, : series.shape[1], kernel].astype(np.float64)
    reach = dilation * (rocket.TAPS // 2)
    padded = np.concatenate([np.zeros(reach), mixed, np.zeros(reach)])
    taps = range(rocket.TAPS)
    return np.array([sum(weights[tap] * padded[t + tap * dilation] for tap in taps) for t in range(rocket.STEPS)])


def test_features_are_shares_above_thresholds():
    values = rocket.fitted_to(X)
    features = rocket.features(X[:2], values).numpy()
    assert features.shape == (2, rocket.FEATURES) and features.min() >= 0 and features.max() <= 1
    for number, limit, kernel in ((0, 0, 0), (3, 2, 41), (7, 1, 83)):
        place = (number * rocket.THRESHOLDS + limit) * rocket.KERNELS + kernel
        for row in (0, 1):
            share = np.mean(by_hand(X[row], values, number, kernel) > values[rocket.LIMITS][number, limit, kernel])
            assert abs(features[row, place] - share) <= 2 / rocket.STEPS


def test_thresholds_are_quantiles_of_the_training_series():
    values = rocket.fitted_to(X)
    shares = rocket.features(X, values).numpy().mean(axis=0)
    golden = (np.arange(1, rocket.FEATURES + 1) * (np.sqrt(5) - 1) / 2) % 1
    np.testing.assert_allclose(shares, 1 - golden, atol=0.01)


def test_kernels_sum_to_zero_and_are_all_there_are():
    table = rocket.kernels()
    assert table.shape == (9, 84) and (table.sum(axis=0) == 0).all() and len(set(map(tuple, table.T))) == 84


def test_the_scale_of_a_channel_changes_nothing():
    scaled = (X * np.array([1e-3, 1.0, 1e4]) + np.array([5.0, 0.0, -1e4])).astype(np.float32)
    first, other = (rocket.features(series, rocket.fitted_to(series)).numpy() for series in (X, scaled))
    assert np.mean(np.abs(first - other) > 2 / rocket.STEPS) < 0.01
