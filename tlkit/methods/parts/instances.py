"""What methods that weight examples share: vectors of both domains, and weights put on training examples."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits

if TYPE_CHECKING:
    from tlkit.layer.hub_layer import HubLayer

MEASURED = 1000  # rows at most by which a kernel's width is chosen
NARROWEST = 1 / 3  # of the median distance


def opened(backbone: Any, spec: Any = None) -> HubLayer | None:
    """The module, ready for examples of this the spec of inputs; None where they are vectors themselves."""
    if backbone is None:
        return None
    from tlkit.features.vectors import opened as opened_module

    return opened_module(backbone, spec=spec)


def as_taken(splits: Splits, layer: HubLayer | None) -> Splits:
    """The data as the module takes them."""
    if layer is None:
        return splits
    from tlkit.modalities.prepare import prepare

    return prepare(splits, layer)


def vectors(layer: HubLayer | None, examples: Examples, batch_size: int = 32) -> np.ndarray:
    """One vector an example, float32 (n, d): the module's cached features, or the examples' own arrays, flat."""
    if layer is None:
        return _flat(examples)
    from tlkit.features.vectors import vectors as vectors_of_module

    return vectors_of_module(layer, examples, batch_size)


def both_domains(source: Splits, target: Splits, backbone: Any, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised vectors of the training examples of both, float64; no target of either is read."""
    layer = opened(backbone, target.train.inputs.spec)
    parts = (as_taken(splits, layer).train for splits in (source, target))
    return standardized(*(vectors(layer, part, batch_size) for part in parts), one_unit=layer is not None)


def standardized(source: np.ndarray, target: np.ndarray, *, one_unit: bool) -> tuple[np.ndarray, np.ndarray]:
    """Both with columns of mean 0 and deviation 1, of each column or, where all have one unit, of all in the mean."""
    joined = np.concatenate([source, target]).astype(np.float64)
    mean, spread = scale_of(joined, one_unit=one_unit)
    scaled = (joined - mean) / spread
    return scaled[: len(source)], scaled[len(source) :]


def scale_of(rows: np.ndarray, *, one_unit: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each column, and by what to divide it; 1 for one that does not vary.

    Args:
        rows: float (n, d).
        one_unit: Whether all columns have one unit, as the features of a module do. Then one number divides them all,
            and a column that hardly ever moves is not blown up to the size of the others; else each is divided by its
            own deviation, so that no unit of measurement decides a distance.
    """
    spread = rows.std(axis=0)
    if one_unit:
        spread = np.full_like(spread, np.sqrt(np.mean(spread**2)))
    return rows.mean(axis=0), np.where(spread > 0, spread, 1.0)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between the rows of (n, d) and (m, d): (n, m), never below 0."""
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T, 0.0))


def median_distance(x: np.ndarray) -> float:
    """Median distance of two rows, the usual width of a Gaussian kernel; of MEASURED rows where there are more."""
    return _median(_squares(x))


def kernel_width(x: np.ndarray) -> float:
    """The median distance, or down to a third of it where distances vary little, as they do in many dimensions.

    A kernel as wide as distances that are all alike takes all rows for alike, and what is left to tell them apart is
    noise. The share is twice the deviation of the squared distances over their mean: 1 up to 8 independent columns.
    """
    squares = _squares(x)
    if not squares.any():
        return 1.0
    share = 2 * float(squares.std() / squares.mean())
    return _median(squares) * float(np.clip(share, NARROWEST, 1.0))


def _median(squares: np.ndarray) -> float:
    """The median distance; 1 where there is none, or most rows are equal."""
    return (float(np.sqrt(np.median(squares))) or 1.0) if squares.size else 1.0


def _squares(x: np.ndarray) -> np.ndarray:
    """Squared distances of all pairs of rows, each pair once."""
    rows = x if len(x) <= MEASURED else x[np.random.default_rng(0).choice(len(x), MEASURED, replace=False)]
    return np.asarray(squared_distances(rows, rows)[np.triu_indices(len(rows), 1)])


def gaussian(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """exp(-|a - b|^2 / (2 width^2)) of all pairs of rows."""
    return np.asarray(np.exp(-squared_distances(a, b) / (2 * width**2)))


def effective_size(weights: np.ndarray) -> float:
    """Count of equal weights that would vary as little: (sum w)^2 / sum w^2.

    Example:
        >>> effective_size(np.array([1.0, 1.0, 0.0, 0.0]))
        2.0

    Source: Kish 1965, Survey Sampling, section 11.2.
    """
    return float(weights.sum() ** 2 / (weights**2).sum())


def weighted(splits: Splits, weights: np.ndarray, method: str) -> Splits:
    """The splits with these weights of the training examples, times those they had; mean 1, and a note about them.

    Raises:
        InputError: If all weights are 0, or one is not finite.
    """
    earlier = splits.train.weights
    product = np.asarray(weights, np.float64) * (1.0 if earlier is None else earlier)
    if not np.isfinite(product).all() or not product.sum() > 0:
        raise InputError(f"`{method}` finds no finite weights above 0: source and target have nothing in common.")
    final = (product / product.mean()).astype(np.float32)
    note = (
        f"{method}: the weights of the {len(final)} training examples vary as much as {effective_size(final):.1f} "
        f"equal ones would tell (effective sample size); the largest is {final.max():.1f} times the mean."
    )
    train = dataclasses.replace(splits.train, weights=final)
    return dataclasses.replace(splits, train=train, notes=(*splits.notes, note))


def for_target(source: Splits, target: Splits) -> Splits:
    """Training and validation of the source, the test of the target."""
    return dataclasses.replace(
        source,
        test=target.test,
        quarantine=(*source.quarantine, *target.quarantine),
        duplicates=(*source.duplicates, *target.duplicates),
        notes=(*source.notes, *target.notes),
        seconds=source.seconds + target.seconds,
    )


def _flat(examples: Examples) -> np.ndarray:
    rows = [np.asarray(examples.inputs[i]) for i in range(len(examples))]
    if len({row.shape for row in rows}) > 1 or any(not np.issubdtype(row.dtype, np.number) for row in rows):
        raise InputError("Without a `backbone` examples must be arrays of numbers of one shape; give a module.")
    return np.stack([row.ravel() for row in rows]).astype(np.float32)
