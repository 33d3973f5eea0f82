"""Weighted linear fits to their optimum, in NumPy: what procedures of many small fits use as learner."""

from __future__ import annotations

import math

import numpy as np

STEPS = 1000
TOLERANCE = 1e-6  # of the gradient's largest entry


def softmax_regression(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, ridge: float, classes: int, start: np.ndarray | None = None
) -> np.ndarray:
    """Coefficients (d + 1, classes), the last row the intercepts, of the least weighted mean log loss with a ridge.

    The loss is sum_i w_i (-log p(y_i | x_i)) / sum_i w_i + ridge / 2 |coefficients|^2; intercepts are not held back.
    Accelerated gradient steps, preconditioned by the fixed bound of the curvature, which needs one inverse.

    Args:
        x: float (n, d).
        y: int (n,) in [0, classes).
        weights: float (n,), >= 0.
        ridge: > 0.
        classes: Count of classes.
        start: Coefficients (d + 1, classes) to begin with, such as those of a fit with other weights; None is 0.

    Source: Boehning 1992, "Multinomial logistic regression algorithm" (the bound); Beck and Teboulle 2009 (FISTA).
    """
    if x.shape[1] > len(x):
        narrow, axes = in_span(x)
        begun = None if start is None else np.concatenate([axes @ start[:-1], start[-1:]])
        return widened(softmax_regression(narrow, y, weights, ridge, classes, begun), axes)
    design, shares = with_ones(x), weights / weights.sum()
    penalty = np.append(np.full(x.shape[1], ridge), 1e-9)[:, None]
    inverse = np.linalg.inv((design * shares[:, None]).T @ design / 2 + np.diag(penalty[:, 0]))
    truth = np.eye(classes)[y]
    coefficients = ahead = np.zeros((len(penalty), classes)) if start is None else start
    momentum = 1.0
    for _ in range(STEPS):
        gradient = design.T @ ((softmax(design @ ahead) - truth) * shares[:, None]) + penalty * ahead
        new = ahead - inverse @ gradient
        if np.sum(gradient * (new - coefficients)) > 0:  # it runs uphill
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - coefficients)
        coefficients, momentum = new, following
        if np.abs(gradient).max() < TOLERANCE:
            break
    return np.asarray(coefficients)


def in_span(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in coordinates of their own span, float (n, r), and its axes, float (r, d); r = min(n, d).

    No coefficient of a fit with a ridge leaves that span, so the fit in it is the same fit in fewer columns.
    """
    left, sizes, right = np.linalg.svd(x, full_matrices=False)
    return left * sizes, right


def widened(coefficients: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Coefficients (r + 1, k) of a fit `in_span` for the rows as they were: (d + 1, k)."""
    return np.concatenate([axes.T @ coefficients[:-1], coefficients[-1:]])


def ridge_regression(x: np.ndarray, y: np.ndarray, weights: np.ndarray, ridge: float) -> np.ndarray:
    """Coefficients (d + 1, k) of the least weighted mean squared error + ridge |coefficients|^2, as above.

    Args:
        x: float (n, d).
        y: float (n, k).
        weights: float (n,), >= 0.
        ridge: > 0.
    """
    design, shares = with_ones(x), weights / weights.sum()
    penalty = np.diag(np.append(np.full(x.shape[1], ridge), 1e-9))
    against = (design * shares[:, None]).T
    return np.asarray(np.linalg.solve(against @ design + penalty, against @ y))


def outputs(x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """What coefficients with intercepts give for rows: (n, k)."""
    return np.asarray(x @ coefficients[:-1] + coefficients[-1])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def with_ones(x: np.ndarray) -> np.ndarray:
    """The rows with a 1 behind each, which a constant is the factor of."""
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)
