"""aligned: classic CORAL and subspace alignment, closed forms on features that are computed once."""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.checks import check_positive
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.run import Run
from tlkit.core.task import Task
from tlkit.methods import mixing
from tlkit.methods.parts import closed_form, instances, linear
from tlkit.tasks import recording

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer

CORAL, SUBSPACE = "coral", "subspace"


def aligned(
    source: Splits,
    target: Splits,
    task: Task,
    backbone: Any = None,
    *,
    by: str = CORAL,
    ridge: float = 1.0,
    dimensions: int = 50,
    batch_size: int = 32,
) -> Run:
    """A linear head fitted on the source's features after they were brought to where the target's lie, in seconds.

    Both ways move all examples of a domain alike: they help where the domains differ by a shift, a scale or a turn of
    the features, and hurt where classes are not as frequent in both. The target's labels are read for the scores
    alone. The map and the head are one Dense layer of the model, which exports.

    Args:
        source: Labelled splits, of which the training examples are used.
        target: Splits of the other domain; of training only the inputs are used, the test judges.
        task: `classify` of one label an example, without hidden layers.
        backbone: A HubLayer or what that takes as handle; None learns from the examples' own arrays, flattened.
        by: "coral" (means and covariances are made equal) or "subspace" (principal axes are laid on each other).
        ridge: Weight of the squared coefficients against the sum of the losses, > 0; 1 / C of scikit-learn.
        dimensions: Of the subspace, >= 1; at most what the features have.
        batch_size: Examples at a time through the module.

    Returns:
        A Run with the target's data, no phases, and scores where the target has a test.

    Raises:
        InputError: If an argument is out of its range, the task is of another kind, or the domains do not fit.

    Source: Sun, Feng and Saenko 2016, arXiv:1511.05547; Fernando et al. 2013, doi:10.1109/ICCV.2013.368.
    """
    _check_aligned(source, target, task, by, ridge)
    started = time.perf_counter()
    layer = instances.opened(backbone, target.train.inputs.spec)
    source, target = (instances.as_taken(splits, layer) for splits in (source, target))
    task.objective.check(dataclasses.replace(target, train=source.train, val=source.val))
    kernel, intercept = _fitted(source, target, task, layer, by, ridge, dimensions, batch_size)
    head = functools.partial(closed_form.dense, kernel=kernel, intercept=intercept, name="head_outputs")
    arguments = {"task": task, "by": by, "ridge": ridge, "dimensions": dimensions}
    run = Run(
        model=closed_form.model(head, task, layer, target.train.inputs.spec),
        task=task,
        data=target,
        record={"method": recording.record("tlkit.methods.aligned", arguments)},
    )
    return closed_form.judged(run, started)


def _fitted(
    source: Splits,
    target: Splits,
    task: Task,
    layer: HubLayer | None,
    by: str,
    ridge: float,
    dimensions: int,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (d, k) and intercept (k,) for features of the target as they come."""
    rows = [instances.vectors(layer, part.train, batch_size).astype(np.float64) for part in (source, target)]
    mean, spread = instances.scale_of(np.concatenate(rows), one_unit=layer is not None)
    source_rows, target_rows = ((x - mean) / spread for x in rows)
    moved, to_head, centre = source_rows, np.eye(len(mean)), np.zeros(len(mean))
    if by == CORAL:
        moved = coral_aligned(source_rows, target_rows)
    else:
        most = min(len(source_rows), len(target_rows), source_rows.shape[1])
        of_source, to_head = subspace_map(source_rows, target_rows, min(dimensions, most))
        moved, centre = (source_rows - source_rows.mean(axis=0)) @ of_source, target_rows.mean(axis=0)
    weights = np.ones(len(source_rows)) if source.train.weights is None else source.train.weights
    strength = ridge / len(source_rows)
    coefficients = linear.softmax_regression(moved, source.train.target_array, weights, strength, len(task.labels))
    kernel = (to_head @ coefficients[:-1]) / spread[:, None]
    return kernel, coefficients[-1] - mean @ kernel - centre @ to_head @ coefficients[:-1]


def _check_aligned(source: Splits, target: Splits, task: Task, by: str, ridge: float) -> None:
    mixing.check_domains(source, target)
    if by not in (CORAL, SUBSPACE):
        raise InputError(f'`by` must be "{CORAL}" or "{SUBSPACE}". Received: by={by!r}.')
    check_positive(ridge=ridge)
    closed_form.check_linear(task, "aligned")


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
    check_positive(ridge=ridge)
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
    axes = [np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:dimensions].T for x in (source, target)]
    return axes[0] @ (axes[0].T @ axes[1]), axes[1]


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
