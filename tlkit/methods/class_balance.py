"""balance: every class gets its say, however few examples it has."""

from __future__ import annotations

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.methods.parts import instances


def balance(splits: Splits, *, beta: float = 1.0) -> Splits:
    """Weight training examples by the inverse of how many their class has.

    It buys recall of rare classes with errors on frequent ones, so it helps scores that count classes alike (macro F1)
    and hurts accuracy where the test is as uneven as the training. The same as `classify(class_weights="balanced")`
    at `beta` 1, but part of the data, so that it composes with other weights: `balance(kmm(source, target))`.

    Args:
        splits: With class numbers int (n,) as targets.
        beta: In [0, 1]: 1 weighs by n / (k * count), 0 weighs all alike, and between them an example counts by the
            effective number of its class, (1 - beta) / (1 - beta^count); the paper uses 0.9 to 0.9999.

    Returns:
        The splits with `weights` of mean 1 on the training examples (times those they had).

    Raises:
        InputError: If `beta` is outside [0, 1], or targets are no class numbers.

    Source: Cui et al. 2019, arXiv:1901.05555, eq. 2.
    """
    if not 0 <= beta <= 1:
        raise InputError(f"`beta` must lie in [0, 1]. Received: beta={beta!r}.")
    targets = splits.train.target_array
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer) or not len(targets):
        raise InputError(
            f"`balance` needs training examples with one class number each. Received: shape={targets.shape}, "
            f"dtype={targets.dtype}."
        )
    return instances.weighted(splits, class_weights(np.bincount(targets), beta)[targets], "balance")


def class_weights(counts: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """Weight of an example of each class, up to a factor that all share; 0 of a class without examples.

    Args:
        counts: int (k,) examples of each class.
        beta: In [0, 1], as in `balance`.

    Example:
        >>> class_weights(np.array([3, 1]), beta=0.5).round(3).tolist()
        [0.571, 1.0]
    """
    number = counts if beta == 1 else (1 - np.power(float(beta), counts)) / (1 - beta)
    return np.asarray(np.divide(1.0, number, out=np.zeros(len(counts)), where=counts > 0))
