"""How well frozen features tell classes apart, in closed form: scores that rank modules without training. NumPy."""

from __future__ import annotations

import numpy as np

from tlkit.core.errors import InputError

_ROUNDS, _CLOSE = 100, 1e-4  # of the fixed point of LogME's evidence
_TINY = 1e-12


def logme(features: np.ndarray, targets: np.ndarray) -> float:
    """Logarithm of maximum evidence of a linear model on the features, a mean over examples and outputs.

    Higher is better. It weighs fit against how much the weights must be tuned for it, so wide features do not win by
    width.

    Args:
        features: float (n, d), n >= 2.
        targets: int (n,) class numbers, which become one output a class; or float (n, k) values.

    Source: You et al. 2021, arXiv:2102.11005, algorithm 1.
    """
    x, y = _checked(features, targets)
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    return float(np.mean([_evidence(left, singular**2, column, x.shape) for column in _outputs(y).T]))


def h_score(features: np.ndarray, targets: np.ndarray) -> float:
    """tr(cov(f)^-1 cov(E[f | class])): how much of the features' variance, whitened, lies between classes.

    Higher is better, at most one less than the count of classes. Both covariances are shrunk by as much as there are
    too few examples, without which wide features always score highest.

    Args:
        features: float (n, d), n >= 2.
        targets: int (n,) class numbers.

    Source: Bao et al. 2019, doi:10.1109/ICIP.2019.8803726, eq. 2; shrunk as by Ibrahim et al. 2021, arXiv:2110.06893.
    """
    x, y = _checked(features, targets)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise InputError("The H-score is for class numbers (n,); rank by LogME instead.")
    centred = x - x.mean(axis=0)
    between = np.zeros_like(centred)
    for label in np.unique(y):
        between[y == label] = centred[y == label].mean(axis=0)
    covariance, share = shrunk_covariance(centred)
    return float((1 - share) * np.trace(np.linalg.solve(covariance, between.T @ between / len(x))))


def shrunk_covariance(centred: np.ndarray) -> tuple[np.ndarray, float]:
    """Covariance (d, d) of rows with mean 0, positive definite whatever their count, and the share of identity in it.

    Source: Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4, lemma 3.2.
    """
    n, d = centred.shape
    covariance = centred.T @ centred / n
    scale = np.trace(covariance) / d
    spread = ((covariance - scale * np.eye(d)) ** 2).sum()
    noise = (((centred**2).sum(axis=1) ** 2).sum() / n - (covariance**2).sum()) / n
    share = 1.0 if spread <= _TINY else float(np.clip(noise / spread, 0, 1))
    shrunk: np.ndarray = (1 - share) * covariance + (share * scale + _TINY) * np.eye(d)
    return shrunk, share


def _evidence(left: np.ndarray, squares: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> float:
    """Evidence of one output over n: alpha and beta are iterated to their fixed point."""
    n, d = shape
    along = (left.T @ y) ** 2
    outside = max(float(y @ y - along.sum()), 0.0)
    alpha, beta, ratio = 1.0, 1.0, np.inf
    for _ in range(_ROUNDS):
        t = alpha / beta
        if abs(t - ratio) <= _CLOSE * t:
            break
        ratio = t
        effective = (squares / (squares + t)).sum()
        size = float((squares * along / (squares + t) ** 2).sum())
        misfit = float((along * (t / (squares + t)) ** 2).sum()) + outside
        alpha, beta = effective / (size + _TINY), (n - effective) / (misfit + _TINY)
    t = alpha / beta
    size = float((squares * along / (squares + t) ** 2).sum())
    misfit = float((along * (t / (squares + t)) ** 2).sum()) + outside
    determinant = np.log(alpha + beta * squares).sum() + (d - len(squares)) * np.log(alpha)
    evidence = d * np.log(alpha) + n * np.log(beta) - n * np.log(2 * np.pi) - beta * misfit - alpha * size - determinant
    return float(evidence / (2 * n))


def _outputs(y: np.ndarray) -> np.ndarray:
    """One column an output: 0 and 1 for each class that occurs."""
    columns: np.ndarray = y[:, None] == np.unique(y)[None, :] if y.ndim == 1 else y
    return np.asarray(columns, np.float64)


def _checked(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(features, np.float64), np.asarray(targets)
    if x.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise InputError(f"Features must be (n, d) with n targets, n >= 2. Received: {x.shape} and {y.shape}.")
    if not np.isfinite(x).all():
        raise InputError("Features must be finite.")
    return x, y
