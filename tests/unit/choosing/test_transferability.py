"""LogME against the evidence of its definition, the H-score against its formula, shrinkage against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf

from tlkit.choosing.transferability import h_score, logme, shrunk_covariance
from tlkit.core.errors import InputError

RNG = np.random.default_rng(0)


def log_evidence(x: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> float:
    """log N(y | 0, I / beta + x x' / alpha), the definition, over n."""
    n = len(x)
    covariance = np.eye(n) / beta + x @ x.T / alpha
    _, determinant = np.linalg.slogdet(covariance)
    return -0.5 * (n * np.log(2 * np.pi) + determinant + y @ np.linalg.solve(covariance, y)) / n


@pytest.mark.parametrize("shape", [(40, 6), (15, 30)])
def test_logme_is_the_highest_evidence(shape):
    x = RNG.normal(size=shape)
    y = x[:, :2] @ np.array([1.0, -2.0]) + RNG.normal(0, 0.5, shape[0])
    best = minimize(
        lambda p: -log_evidence(x, y, *np.exp(p)), np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8}
    )
    assert logme(x, y[:, None]) == pytest.approx(-best.fun, abs=1e-3)


def test_better_features_rank_higher_and_width_alone_does_not():
    y = np.arange(120) % 3
    means = RNG.normal(size=(3, 8))
    good, noise = means[y] + RNG.normal(0, 0.3, (120, 8)), RNG.normal(size=(120, 8))
    wide = RNG.normal(size=(120, 400))
    for score in (logme, h_score):
        assert score(good, y) > score(noise, y)
        assert score(good, y) > score(wide, y)
    assert 0 <= h_score(noise, y) <= 2 and 1.5 < h_score(good, y) <= 2


def test_the_h_score_is_its_formula_where_examples_are_many():
    y = np.arange(4000) % 2
    x = RNG.normal(size=(4000, 3)) + np.array([[1.0, 0, 0], [-1, 0, 0]])[y]
    means = np.stack([x[y == k].mean(0) for k in (0, 1)])[y] - x.mean(0)
    expected = np.trace(np.linalg.pinv(np.cov(x, rowvar=False, bias=True)) @ (means.T @ means / 4000))
    assert h_score(x, y) == pytest.approx(expected, rel=0.01)


def test_shrinkage_is_ledoit_and_wolfs():
    for n, d in ((20, 50), (200, 5)):
        x = RNG.normal(size=(n, d)) @ RNG.normal(size=(d, d))
        x -= x.mean(axis=0)
        np.testing.assert_allclose(
            shrunk_covariance(x)[0], ledoit_wolf(x, assume_centered=True)[0], rtol=1e-6, atol=1e-8
        )


def test_what_cannot_be_scored():
    with pytest.raises(InputError, match=r"Features must be \(n, d\) with n targets"):
        logme(np.zeros((3, 2)), np.zeros(4))
    with pytest.raises(InputError, match="Features must be finite"):
        logme(np.full((3, 2), np.nan), np.arange(3))
    with pytest.raises(InputError, match="for class numbers"):
        h_score(np.ones((3, 2)), np.ones((3, 1)))
