"""AdaBN: a trained model whose BatchNorm statistics are those of another domain."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.run import Run
from tlkit.methods.parts.derived import derived

FAR = 1e4  # a value that no statistic comes near to

Norms = Sequence[tuple[Any, Any]]  # (mean, variance) variables of each BatchNorm
Pairs = Sequence[tuple[np.ndarray, np.ndarray]]  # their values


def adabn(run: Run, target: Examples, *, batch_size: int = 64) -> Run:
    """Replace the moving statistics of a module's BatchNorm by those of the target's examples.

    No labels, no gradients, one pass over the data. It helps where domains differ in what brightness, contrast or
    loudness do to a net, and hurts where classes are not as frequent in both, or where there are few examples. Modules
    without BatchNorm have nothing to adapt.

    Args:
        run: A trained run; it stays as it is.
        target: Examples of the other domain, at least 2, such as the data's own, read as the model takes them; their
            targets are not read.
        batch_size: Examples a step, >= 2; statistics within a step are what later layers see.

    Returns:
        A run with a model of its own, not evaluated yet; its phases, its head and all other weights are those of `run`.

    Raises:
        InputError: If the module has no BatchNorm, cannot run in training mode, or there are fewer than 2 examples.

    Source: Li et al. 2016, arXiv:1603.04779, algorithm 1.
    """
    from tlkit.modalities.prepare import prepare_like

    if batch_size < 2 or len(target) < 2:
        raise InputError(
            f"Statistics need 2 examples or more a step. Received: {len(target)} examples, batch_size={batch_size!r}."
        )
    nothing = target.subset([])
    model, weights = _copied(run.model), run.model.get_weights()
    moments, norms = _measured(model, prepare_like(Splits(target, nothing, nothing), run).train, batch_size)
    model.set_weights(weights)
    moments.assign(norms)
    method = ["tlkit.methods.adabn", {"examples": len(target), "batch_size": batch_size}]
    return derived(run, model, method=method)


def _copied(model: Any) -> Any:
    """A model of its own with the same weights; fresh layers draw seeds, which others shall not notice."""
    import keras

    state = random.getstate()
    copy = keras.models.clone_model(model)
    random.setstate(state)
    copy.set_weights(model.get_weights())
    return copy


def _measured(model: Any, target: Examples, batch_size: int) -> tuple[_Moments, Norms]:
    """Moments at each BatchNorm of the module, whose weights this uses up, and the variables that hold them."""
    from tlkit.core.batches import read_batches
    from tlkit.layer.lookup import backbone_of

    layer = backbone_of(model)
    if layer is None:
        raise InputError("The model has no HubLayer, or several, so its BatchNorm cannot be found.")
    norms, step = _norms(layer), _step(model, layer)
    flags, layer.batch_stats, layer.trainable = (layer.batch_stats, layer.trainable), "adapt", True
    count = -(-len(target) // batch_size)
    pieces = [piece for piece in np.array_split(np.arange(len(target)), count) if len(piece) > 1]
    moments, momenta = _Moments.of(norms), None
    for x, piece in zip(read_batches(target, pieces), pieces, strict=True):
        after = _stepped(step, norms, x, 0.0)
        momenta = momenta or _momenta(after, _stepped(step, norms, x, FAR))
        moments = moments.with_batch(_new(after, momenta), len(piece))
    layer.batch_stats, layer.trainable = flags
    return moments, norms


def _step(model: Any, layer: Any) -> Callable[[Any], None]:
    """The module alone in training mode on what it gets from a batch; the head and what lies before are not run so."""
    import keras

    inputs = [(*node.arguments.args, *node.arguments.kwargs.values())[0] for node in layer._inbound_nodes]
    before = [keras.Model(model.input, tensor) for tensor in inputs]

    def step(x: Any) -> None:
        for enter in before:
            layer(enter(x, training=False), training=True)

    return step


@dataclass(frozen=True, eq=False)
class _Moments:
    """Sums over examples, one pair of arrays a norm."""

    count: int
    means: Sequence[np.ndarray]
    squares: Sequence[np.ndarray]

    @classmethod
    def of(cls, norms: Norms) -> _Moments:
        """Nothing yet."""
        zeros = [np.zeros(mean.shape, np.float64) for mean, _ in norms]
        return cls(0, zeros, zeros)

    def with_batch(self, pairs: Pairs, count: int) -> _Moments:
        """With the mean and variance of a batch of `count` examples (law of total variance)."""
        means = [old + count * mean for old, (mean, _) in zip(self.means, pairs, strict=True)]
        squares = [old + count * (var + mean**2) for old, (mean, var) in zip(self.squares, pairs, strict=True)]
        return _Moments(self.count + count, means, squares)

    def assign(self, norms: Norms) -> None:
        """Write mean and variance into the variables."""
        for (mean, variance), total, squares in zip(norms, self.means, self.squares, strict=True):
            average = total / self.count
            mean.assign(average.astype(np.float32))
            variance.assign(np.maximum(squares / self.count - average**2, 0).astype(np.float32))


def _norms(layer: Any) -> list[tuple[Any, Any]]:
    """(mean, variance) variables of the module's BatchNorm, input side first."""
    from tlkit import graph as graphs

    norms = graphs.batch_norms(layer.graph)
    if not norms:
        raise InputError(f"{layer.handle} has no BatchNorm, so there is nothing to adapt; use another method.")
    variables = layer.module_variables
    return [(variables[norm.mean], variables[norm.variance]) for norm in norms]


def _stepped(step: Callable[[Any], None], norms: Norms, x: Any, start: float) -> Pairs:
    """What is in the variables, all of which held `start`, behind a step."""
    for variable in (v for pair in norms for v in pair):
        variable.assign(np.full(variable.shape, start, np.float32))
    step(x)
    return [(np.asarray(mean, np.float64), np.asarray(variance, np.float64)) for mean, variance in norms]


def _momenta(from_zero: Pairs, from_far: Pairs) -> list[tuple[float, float]]:
    """Of each variable the m by which a step leaves m * old + (1 - m) * new in it.

    From FAR, what a module's own dropout makes different in two steps does not count.
    """

    def of_one(low: np.ndarray, high: np.ndarray) -> float:
        return float(np.median(high - low)) / FAR

    momenta = [(of_one(a[0], b[0]), of_one(a[1], b[1])) for a, b in zip(from_zero, from_far, strict=True)]
    if not max(m for pair in momenta for m in pair) < 1 - 1e-6:
        raise InputError("The module does not move its statistics in training mode, so they cannot be adapted.")
    return momenta


def _new(after: Pairs, momenta: Sequence[tuple[float, float]]) -> Pairs:
    """Moments of the batch behind a step that began with 0."""
    return [(mean / (1 - m), variance / (1 - v)) for (mean, variance), (m, v) in zip(after, momenta, strict=True)]
