"""Classic CORAL and subspace alignment: closed forms on features that are computed once."""

from __future__ import annotations

import numpy as np

from tlkit.errors import InputError


def coral_aligned(source: np.ndarray, target: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """The source's features with the mean and covariance of the target's: whitened, then coloured anew.

    Args:
        source: float (n, d).
        target: float (m, d).
        ridge: Added to the diagonal of both covariances, > 0; 1 in the paper, for features of about unit variance.

    Returns:
        float64 (n, d).

    Source: Sun, Feng and Saenko 2016, arXiv:1511.05547, algorithm 1; means are aligned too, which the paper leaves to
    a normalisation before it.
    """
    _check(source, target)
    if not ridge > 0:
        raise InputError(f"`ridge` must be positive. Received: ridge={ridge!r}.")
    whitened = (source - source.mean(axis=0)) @ _power(_covariance(source, ridge), -0.5)
    coloured: np.ndarray = whitened @ _power(_covariance(target, ridge), 0.5) + target.mean(axis=0)
    return coloured


def subspace_map(source: np.ndarray, target: np.ndarray, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps of both domains into one space of a few dimensions, where their principal axes lie on each other.

    Args:
        source: float (n, d).
        target: float (m, d).
        dimensions: Of the space, in [1, min(n, m, d)].

    Returns:
        (d, dimensions) for the source's centred features and for the target's.

    Source: Fernando et al. 2013, doi:10.1109/ICCV.2013.368, eq. 3: M = Xs' Xt.
    """
    _check(source, target)
    most = min(len(source), len(target), source.shape[1])
    if not 1 <= dimensions <= most:
        raise InputError(f"`dimensions` must lie in [1, {most}]. Received: dimensions={dimensions!r}.")
    axes = [_principal(x, dimensions) for x in (source, target)]
    return axes[0] @ (axes[0].T @ axes[1]), axes[1]


def _principal(x: np.ndarray, dimensions: int) -> np.ndarray:
    """The first principal axes as columns (d, dimensions)."""
    axes: np.ndarray = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:dimensions].T
    return axes


def _covariance(x: np.ndarray, ridge: float) -> np.ndarray:
    covariance: np.ndarray = np.atleast_2d(np.cov(x, rowvar=False)) + ridge * np.eye(x.shape[1])
    return covariance


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    power: np.ndarray = (vectors * values**exponent) @ vectors.T
    return power


def _check(source: np.ndarray, target: np.ndarray) -> None:
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1] or min(len(source), len(target)) < 2:
        raise InputError(
            f"Features must be (n, d) and (m, d), at least two each. Received: {source.shape} and {target.shape}."
        )
