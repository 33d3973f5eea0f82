"""TrAdaBoost: few labelled examples of the target decide which of the source's many are worth learning from."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import InputError
from tlkit.files import sha256_bytes
from tlkit.methods import instances, mixing
from tlkit.types import ArraySpec, Examples, Phase, PhaseResult, Run, Splits, Task

if TYPE_CHECKING:
    import keras

    from tlkit.layer import HubLayer

PHASE = Phase(epochs=40, lr=1e-2, cosine=True)
BATCH = 64
WORST = 0.49  # an error of 1/2 or more has no weight in the paper
BEST = 1e-6


@dataclass(frozen=True, eq=False)
class Round:
    """One fit: its head, its error on the target, the vote that follows, and what the fit did."""

    head: keras.Model
    error: float
    effective_size: float
    result: PhaseResult

    @property
    def vote(self) -> float:
        """log(1 / beta_t)."""
        return float(-np.log(target_rate(self.error)))


def tradaboost(
    source: Splits,
    target: Splits,
    task: Task,
    backbone: Any = None,
    *,
    rounds: int = 10,
    phase: Phase = PHASE,
    seed: int = 0,
) -> Run:
    """TrAdaBoost with `classify`, TrAdaBoost.R2 with `regress`: re-weighted fits of the head, and their vote.

    Each round fits a fresh head on the vectors of both domains. Where it errs, an example of the source loses weight
    and one of the target gains it. The vote of the last half of the rounds is one keras.Model, which exports: the mean
    of their probabilities, or the median of their values, weighted by log(1 / beta_t). It assumes that some of the
    source's examples are as good as the target's; of a source that is misleading throughout little is left but noise,
    and a head on the target alone does better. The module stays frozen.

    Args:
        source: Labelled splits; of training.
        target: Labelled splits of the other domain, of which a few training examples are enough; the test judges.
        task: `classify` of one label an example, or `regress`; errors of several values are averaged.
        backbone: A HubLayer or what that takes as handle; None learns from the examples' own arrays, flattened.
        rounds: Fits, >= 2.
        phase: What each fit does; heads alone train, so `unfrozen` must be 0.
        seed: Of the heads' first weights and the order of examples.

    Returns:
        A Run with the target's data, one `PhaseResult` a round, scores where the target has a test, and in
        `record["rounds"]` error, vote and effective sample size of each round.

    Raises:
        InputError: If an argument is out of its range, the task is of another kind, or the domains do not fit.

    Source: Dai et al. 2007, "Boosting for Transfer Learning" (ICML), algorithm 1, with errors and votes by
    probabilities, and in its place for `regress` Pardoe and Stone 2010, "Boosting for Regression Transfer" (ICML),
    TrAdaBoost.R2.
    """
    _check(source, target, task, rounds, phase)
    started = time.perf_counter()
    layer = instances.opened(backbone)
    source, target = (instances.as_taken(splits, layer) for splits in (source, target))
    task.check(dataclasses.replace(target, train=source.train))
    joined = _joined(source.train, target.train, layer)
    done = _boosted(joined, len(source.train), task, rounds, phase, seed)
    run = Run(
        model=_voting(done[rounds // 2 :], task, layer, target.train.spec),
        task=task,
        data=target,
        phases=tuple(one.result for one in done),
        record={
            "method": ("tlkit.methods.tradaboost", {"task": task.recipe, "rounds": rounds, "seed": seed}),
            "rounds": [{"error": r.error, "vote": r.vote, "effective_size": r.effective_size} for r in done],
        },
    )
    return _judged(run, started)


# -- the formulas


def source_rate(count: int, rounds: int) -> float:
    """beta = 1 / (1 + sqrt(2 ln n / N)): by which an example of the source that is wrong loses weight.

    Args:
        count: n, of the source's examples.
        rounds: N.

    Example:
        >>> round(source_rate(100, 10), 4)
        0.5103
    """
    return float(1 / (1 + np.sqrt(2 * np.log(count) / rounds)))


def target_rate(error: float) -> float:
    """beta_t = e / (1 - e), with the error held within [BEST, WORST].

    Example:
        >>> round(target_rate(0.2), 4)
        0.25
    """
    held = float(np.clip(error, BEST, WORST))
    return held / (1 - held)


def reweighted(weights: np.ndarray, errors: np.ndarray, count: int, rounds: int) -> tuple[np.ndarray, float]:
    """(The weights of the next round, sum 1; the error of this one on the target).

    Args:
        weights: float (n + m,), > 0, of the source's examples and behind them the target's.
        errors: float (n + m,) in [0, 1].
        count: n.
        rounds: N.
    """
    own, other = errors[:count], errors[count:]
    error = float(weights[count:] @ other / weights[count:].sum())
    factors = np.concatenate([source_rate(count, rounds) ** own, target_rate(error) ** -other])
    return weights * factors / (weights @ factors), error


def label_errors(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """|h(x) - c(x)|: the probability that all other classes have together, float (n,)."""
    return np.asarray(1.0 - probabilities[np.arange(len(targets)), targets], np.float64)


def value_errors(targets: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Absolute errors over the largest of them, float (n,) in [0, 1]; the mean over several values."""
    apart = np.abs(np.reshape(targets, values.shape).astype(np.float64) - values)
    return np.asarray((apart / np.maximum(apart.max(axis=0), 1e-30)).mean(axis=1))


def mean_vote(logits: Any, shares: Sequence[float]) -> Any:
    """Logits of the weighted mean of the heads' probabilities: a list of (batch, k) -> (batch, k)."""
    from keras import ops

    mean = sum(ops.softmax(one, axis=-1) * share for one, share in zip(logits, shares, strict=True))
    return ops.log(mean + 1e-7)


def median_vote(values: Any, shares: Sequence[float]) -> Any:
    """The weighted median of the heads' values: the least at or below which half of the shares lie; (batch, k)."""
    from keras import ops

    found = None
    for value in values:
        below = sum(ops.cast(other <= value, "float32") * s for other, s in zip(values, shares, strict=True))
        candidate = ops.where(below >= 0.5 - 1e-6, value, 3e38)
        found = candidate if found is None else ops.minimum(found, candidate)
    return found


# -- the fits


def _boosted(joined: Examples, count: int, task: Task, rounds: int, phase: Phase, seed: int) -> list[Round]:
    """All rounds over the joined vectors, of which the first `count` are the source's."""
    had = np.ones(len(joined)) if joined.weights is None else joined.weights.astype(np.float64)
    weights, done = had / had.sum(), []
    for number in range(rounds):
        given = (weights / weights.mean()).astype(np.float32)
        head, result = _fitted(dataclasses.replace(joined, weights=given), task, phase, seed + number)
        following, error = reweighted(weights, _errors(head, task, joined), count, rounds)
        done.append(Round(head, error, instances.effective_size(weights), result))
        weights = following
    return done


def _fitted(train: Examples, task: Task, phase: Phase, seed: int) -> tuple[keras.Model, PhaseResult]:
    import keras

    from tlkit.training import fit

    keras.utils.set_random_seed(seed % 2**32)
    vector = keras.Input(train.spec.shape, name="vector")
    head = keras.Model(vector, task.head(vector), name=f"round_{seed}")
    nothing = train.subset([])
    run = fit(head, task, Splits(train, nothing, nothing, task.labels), [phase], seed=seed, batch_size=BATCH)
    return head, run.phases[0]


def _errors(head: keras.Model, task: Task, joined: Examples) -> np.ndarray:
    x = np.stack([joined.read(i) for i in range(len(joined))])
    outputs = np.asarray(task.decode(head(x, training=False)))  # at once: a step for batches would be traced each round
    return (label_errors if _classifies(task) else value_errors)(joined.targets, outputs)


def _joined(source: Examples, target: Examples, layer: HubLayer | None) -> Examples:
    """Vectors of both, the source's first, with their targets and the weights that they had."""
    x = np.concatenate([instances.vectors(layer, part) for part in (source, target)])
    had = [np.ones(len(part)) if part.weights is None else part.weights for part in (source, target)]
    return Examples(
        ids=(*(f"source/{name}" for name in source.ids), *(f"target/{name}" for name in target.ids)),
        read=x.__getitem__,
        targets=np.concatenate([source.targets, target.targets]),
        spec=ArraySpec(x.shape[1:], "float32"),
        digests=tuple(sha256_bytes(row.tobytes()) for row in x),
        weights=np.concatenate(had).astype(np.float32),
        recipe="vectors of both domains",
    )


# -- the vote


def _voting(kept: Sequence[Round], task: Task, layer: HubLayer | None, spec: Any) -> keras.Model:
    """Module, heads and their vote as one model of stock Keras layers and operations."""
    votes = np.array([one.vote for one in kept])
    shares = (votes / votes.sum()).tolist()
    joining = mean_vote if _classifies(task) else median_vote

    def vote(features: Any) -> Any:
        return joining([one.head(features) for one in kept], shares)

    if layer is None:
        return _on_arrays(vote, spec, task.name)
    from tlkit.model import build

    return build(layer, dataclasses.replace(task, head=vote), image_size=_image_size(spec))


def _image_size(spec: Any) -> tuple[int, int] | None:
    if not isinstance(spec, ArraySpec) or len(spec.shape) != 3 or None in spec.shape:
        return None
    height, width = spec.shape[:2]
    return int(height or 0), int(width or 0)


def _on_arrays(vote: Any, spec: ArraySpec, name: str) -> keras.Model:
    import keras

    inputs = keras.Input(spec.shape, dtype=spec.dtype, name="inputs")
    flat = keras.layers.Flatten(dtype="float32", name="flat")(keras.ops.cast(inputs, "float32"))
    return keras.Model(inputs, vote(flat), name=name)


def _judged(run: Run, started: float) -> Run:
    from tlkit.evaluation import evaluate

    fitted = time.perf_counter()
    found = evaluate(run.model, run.task, run.data.test) if len(run.data.test) else None
    seconds = {"phases": fitted - started, "evaluate": time.perf_counter() - fitted}
    return dataclasses.replace(run, evaluation=found, seconds=seconds)


# -- checks


def _classifies(task: Task) -> bool:
    return task.name == "classify"


def _check(source: Splits, target: Splits, task: Task, rounds: int, phase: Phase) -> None:
    mixing.check_domains(source, target)
    if task.name not in ("classify", "regress") or (_classifies(task) and source.train.targets.ndim != 1):
        raise InputError(f"`tradaboost` needs `classify` of one label an example, or `regress`. Received: {task.name}.")
    if rounds < 2:
        raise InputError(f"`rounds` must be 2 or more. Received: rounds={rounds!r}.")
    if phase.unfrozen:
        raise InputError(f"`tradaboost` trains heads on a frozen module. Received: unfrozen={phase.unfrozen!r}.")
