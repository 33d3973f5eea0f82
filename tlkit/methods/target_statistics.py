"""AdaBN: a trained model whose BatchNorm statistics are those of another domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tlkit.errors import InputError
from tlkit.types import Examples, Run


def adabn(run: Run, target: Examples, *, batch_size: int = 64) -> Run:
    """Replace the moving statistics of a module's BatchNorm by those of the target's examples.

    No labels, no gradients, one pass over the data. It helps where domains differ in what brightness, contrast or
    loudness do to a net, and hurts where classes are not as frequent in both, or where there are few examples. Modules
    without BatchNorm have nothing to adapt.

    Args:
        run: A trained run; it stays as it is.
        target: Examples of the other domain, at least 2; their targets are not read.
        batch_size: Examples a step, >= 2; statistics within a step are what later layers see.

    Returns:
        A run with a model of its own, not evaluated yet; its phases are those of `run`.

    Raises:
        InputError: If the module has no BatchNorm, cannot run in training mode, or there are fewer than 2 examples.

    Source: Li et al. 2016, arXiv:1603.04779, algorithm 1.
    """
    import keras

    from tlkit.batches import read_batches
    from tlkit.model import backbone_of

    if batch_size < 2 or len(target) < 2:
        raise InputError(
            f"Statistics need 2 examples or more a step. Received: {len(target)} examples, batch_size={batch_size!r}."
        )
    model = keras.models.clone_model(run.model)
    model.set_weights(run.model.get_weights())
    layer = backbone_of(model)
    if layer is None:
        raise InputError("The model has no HubLayer, or several, so its BatchNorm cannot be found.")
    norms = _norms(layer)
    moments = _Moments.of(norms)
    pieces = [
        piece for piece in np.array_split(np.arange(len(target)), -(-len(target) // batch_size)) if len(piece) > 1
    ]
    before, layer.batch_stats, layer.trainable = (layer.batch_stats, layer.trainable), "adapt", True
    for x, piece in zip(read_batches(target, pieces), pieces, strict=True):
        moments = moments.with_batch(_batch_moments(model, norms, x), len(piece))
    (layer.batch_stats, layer.trainable) = before
    moments.assign(norms)
    method = ["tlkit.methods.adabn", {"examples": len(target), "batch_size": batch_size}]
    record = {**run.record, "scores": {}, "method": method}
    return replace(run, model=model, evaluation=None, exports=(), folder=None, record=record)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Sums over examples, one pair of arrays a norm."""

    count: int
    means: Sequence[np.ndarray]
    squares: Sequence[np.ndarray]

    @classmethod
    def of(cls, norms: Sequence[tuple[Any, Any]]) -> _Moments:
        """Nothing yet."""
        zeros = [np.zeros(mean.shape, np.float64) for mean, _ in norms]
        return cls(0, zeros, zeros)

    def with_batch(self, found: Sequence[tuple[np.ndarray, np.ndarray]], count: int) -> _Moments:
        """With the mean and variance of a batch of `count` examples (law of total variance)."""
        means = [old + count * mean for old, (mean, _) in zip(self.means, found, strict=True)]
        squares = [old + count * (var + mean**2) for old, (mean, var) in zip(self.squares, found, strict=True)]
        return _Moments(self.count + count, means, squares)

    def assign(self, norms: Sequence[tuple[Any, Any]]) -> None:
        """Write mean and variance into the variables."""
        for (mean, variance), total, squares in zip(norms, self.means, self.squares, strict=True):
            average = total / self.count
            mean.assign(average.astype(np.float32))
            variance.assign(np.maximum(squares / self.count - average**2, 0).astype(np.float32))


def _norms(layer: Any) -> list[tuple[Any, Any]]:
    """(mean, variance) variables of the module's BatchNorm, input side first."""
    from tlkit import graph as graphs

    found = graphs.batch_norms(layer.graph)
    if not found:
        raise InputError(f"{layer.handle} has no BatchNorm, so there is nothing to adapt; use another method.")
    own = layer.module_variables
    return [(own[norm.mean], own[norm.variance]) for norm in found]


def _batch_moments(model: Any, norms: Sequence[tuple[Any, Any]], x: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Moments of a batch at each norm.

    A step in training mode leaves m * old + (1 - m) * new in the variables: from old = 0 and old = 1 both m and `new`
    follow, whatever the module's own m is.
    """
    after = [_stepped(model, norms, x, start) for start in (0.0, 1.0)]
    return [(_new(low[0], high[0]), _new(low[1], high[1])) for low, high in zip(*after, strict=True)]


def _stepped(model: Any, norms: Sequence[tuple[Any, Any]], x: Any, start: float) -> list[tuple[np.ndarray, np.ndarray]]:
    import keras

    for variable in (v for pair in norms for v in pair):
        variable.assign(np.full(variable.shape, start, np.float32))
    keras.utils.set_random_seed(0)  # a module's own dropout is the same in both steps
    model(x, training=True)
    return [(np.asarray(mean, np.float64), np.asarray(variance, np.float64)) for mean, variance in norms]


def _new(from_zero: np.ndarray, from_one: np.ndarray) -> np.ndarray:
    momentum = float(np.median(from_one - from_zero))
    if not momentum < 1 - 1e-6:
        raise InputError("The module does not move its statistics in training mode, so they cannot be adapted.")
    return from_zero / (1 - momentum)
