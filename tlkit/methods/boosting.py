"""TrAdaBoost: few labelled examples of the target decide which of the source's many are worth learning from."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.checks import check_positive
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.run import Run
from tlkit.core.task import Task
from tlkit.methods import mixing
from tlkit.methods.parts import closed_form, instances, linear
from tlkit.tasks import recording

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

ROUNDS = {"classify": 20, "regress": 10}
WORST = 0.49  # an error of 1/2 or more has no weight in the paper
BEST = 1e-6


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors of both domains, the source's first, and what is to be learned of them.

    Attributes:
        x: float64 (n + m, d), scaled by `instances.scale_of`.
        mean: What was subtracted, float (d,).
        spread: By what was divided, float (d,).
        targets: As the task has them.
        weights: float (n + m,) that they had, sum 1.
        count: n.
    """

    x: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    count: int


@dataclass(frozen=True, eq=False)
class Round:
    """One fit: coefficients (d + 1, k), its error on the target, and the effective size of its weights."""

    coefficients: np.ndarray
    error: float
    effective_size: float

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
    rounds: int | None = None,
    ridge: float = 1.0,
    batch_size: int = 32,
) -> Run:
    """TrAdaBoost with `classify`, TrAdaBoost.R2 with `regress`: re-weighted fits of a linear head, and their vote.

    Each round fits a head on the cached vectors of both domains. Where it errs, an example of the source loses weight
    and one of the target gains it. The vote of the last half of the rounds is one keras.Model over the frozen module,
    which exports: the mean of their probabilities, or the median of their values, weighted by log(1 / beta_t). It
    assumes that some of the source's examples are as good as the target's; where all mislead, a head on the target
    alone does better.

    Heads are fitted to their optimum (log loss, or squared error), not by `fit`: all rounds then take about a
    second on vectors, and there is no randomness. So a task with hidden layers, class weights or another loss is
    refused.

    Args:
        source: Labelled splits, of which the training examples are used.
        target: Labelled splits of the other domain, of which a few training examples are enough; the test judges.
        task: `classify` of one label an example, or `regress`; errors of several values are averaged.
        backbone: A HubLayer or what that takes as handle; None learns from the examples' own arrays, flattened.
        rounds: Fits, >= 2; None is 20 for `classify`, 10 for `regress`.
        ridge: Weight of the squared coefficients against the sum of the losses, > 0; 1 / C of scikit-learn.
        batch_size: Examples at a time through the module.

    Returns:
        A Run with the target's data, no phases, scores where the target has a test, and in `record["rounds"]` error,
        vote and effective sample size of each round.

    Raises:
        InputError: If an argument is out of its range, the task is of another kind, or the domains do not fit.

    Source: Dai et al. 2007, "Boosting for Transfer Learning" (ICML), algorithm 1, with errors and votes by
    probabilities; Pardoe and Stone 2010, "Boosting for Regression Transfer" (ICML), TrAdaBoost.R2.
    """
    rounds = ROUNDS.get(task.name, 0) if rounds is None else rounds
    _check(source, target, task, rounds, ridge)
    started = time.perf_counter()
    layer = instances.opened(backbone, target.train.inputs.spec)
    source, target = (instances.as_taken(splits, layer) for splits in (source, target))
    task.objective.check(dataclasses.replace(target, train=source.train))
    task = task.begun(target, lambda line: None)
    rows = _rows(source.train, target.train, layer, batch_size)
    all_rounds = boosted(rows, task, rounds, ridge)
    run = Run(
        model=_voting(all_rounds[rounds // 2 :], rows, task, layer, target.train.inputs.spec),
        task=task,
        data=target,
        record={
            "method": recording.record("tlkit.methods.tradaboost", {"task": task, "rounds": rounds, "ridge": ridge}),
            "rounds": [{"error": r.error, "vote": r.vote, "effective_size": r.effective_size} for r in all_rounds],
        },
    )
    return closed_form.judged(run, started)


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
    clipped = float(np.clip(error, BEST, WORST))
    return clipped / (1 - clipped)


def reweighted(weights: np.ndarray, errors: np.ndarray, count: int, rounds: int) -> tuple[np.ndarray, float]:
    """(The weights of the next round, sum 1; the error of this one on the target).

    Args:
        weights: float (n + m,), > 0, of the source's examples and behind them the target's.
        errors: float (n + m,) in [0, 1].
        count: n.
        rounds: N.
    """
    source_errors, target_errors = errors[:count], errors[count:]
    error = float(weights[count:] @ target_errors / weights[count:].sum())
    factors = np.concatenate([source_rate(count, rounds) ** source_errors, target_rate(error) ** -target_errors])
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

    mean = sum(ops.softmax(head, axis=-1) * share for head, share in zip(logits, shares, strict=True))
    return ops.log(mean + 1e-7)


def median_vote(values: Any, shares: Sequence[float]) -> Any:
    """The weighted median of the heads' values: the least at or below which half of the shares lie; (batch, k)."""
    from keras import ops

    median = None
    for value in values:
        below = sum(ops.cast(vote <= value, "float32") * s for vote, s in zip(values, shares, strict=True))
        candidate = ops.where(below >= 0.5 - 1e-6, value, 3e38)
        median = candidate if median is None else ops.minimum(median, candidate)
    return median


# -- the fits


def boosted(rows: Rows, task: Task, rounds: int, ridge: float) -> list[Round]:
    """All rounds; where there are more columns than rows, all are fitted in the rows' span, which is found once."""
    if rows.x.shape[1] > len(rows.x):
        narrow, axes = linear.in_span(rows.x)
        so_far = boosted(dataclasses.replace(rows, x=narrow), task, rounds, ridge)
        return [
            dataclasses.replace(fitted, coefficients=linear.widened(fitted.coefficients, axes)) for fitted in so_far
        ]
    weights, so_far = rows.weights, []
    coefficients = None
    for _ in range(rounds):
        coefficients = _fitted(rows, weights, task, ridge / len(rows.x), coefficients)
        following, error = reweighted(weights, _errors(rows, coefficients, task), rows.count, rounds)
        so_far.append(Round(coefficients, error, instances.effective_size(weights)))
        weights = following
    return so_far


def _fitted(rows: Rows, weights: np.ndarray, task: Task, ridge: float, start: np.ndarray | None) -> np.ndarray:
    """Coefficients of one round, sought from those of the round before."""
    if _classifies(task):
        return linear.softmax_regression(rows.x, rows.targets, weights, ridge, len(task.labels), start)
    zero, unit = (_decoded(task, np.full((1, len(task.labels)), raw, np.float32)) for raw in (0, 1))
    raw = (rows.targets.reshape(len(rows.x), -1) - zero) / (unit - zero)  # in the head's own unit
    return linear.ridge_regression(rows.x, raw, weights, ridge)


def _errors(rows: Rows, coefficients: np.ndarray, task: Task) -> np.ndarray:
    decoded = _decoded(task, linear.outputs(rows.x, coefficients).astype(np.float32))
    return (label_errors if _classifies(task) else value_errors)(rows.targets, decoded)


def _decoded(task: Task, raw: np.ndarray) -> np.ndarray:
    (decoded,) = task.decode(raw).values()
    return np.asarray(decoded)


def _rows(source: Examples, target: Examples, layer: HubLayer | None, batch_size: int) -> Rows:
    x = np.concatenate([instances.vectors(layer, part, batch_size) for part in (source, target)]).astype(np.float64)
    earlier = [np.ones(len(part)) if part.weights is None else part.weights for part in (source, target)]
    weights = np.concatenate(earlier).astype(np.float64)
    mean, spread = instances.scale_of(x, one_unit=layer is not None)
    targets = np.concatenate([source.target_array, target.target_array])
    return Rows((x - mean) / spread, mean, spread, targets, weights / weights.sum(), len(source))


# -- the vote


def _voting(rounds: Sequence[Round], rows: Rows, task: Task, layer: HubLayer | None, spec: Any) -> keras.Model:
    """Module, heads and their vote as one model of stock Keras layers and operations."""
    votes = np.array([fitted.vote for fitted in rounds])
    shares = (votes / votes.sum()).tolist()
    joining = mean_vote if _classifies(task) else median_vote

    def vote(features: Any) -> Any:
        return joining([_head(features, fitted, rows, number) for number, fitted in enumerate(rounds)], shares)

    return closed_form.model(vote, task, layer, spec)


def _head(features: Any, fitted: Round, rows: Rows, number: int) -> Any:
    """A Dense layer with the round's coefficients, the scaling of the columns folded in."""
    kernel = fitted.coefficients[:-1] / rows.spread[:, None]
    return closed_form.dense(features, kernel, fitted.coefficients[-1] - rows.mean @ kernel, f"vote_{number}")


# -- checks


def _classifies(task: Task) -> bool:
    return task.name == "classify"  # or else "regress": `_check` lets no other pass, and both have labels


def _check(source: Splits, target: Splits, task: Task, rounds: int, ridge: float) -> None:
    mixing.check_domains(source, target)
    closed_form.check_linear(task, "tradaboost", values=True)
    if rounds < 2:
        raise InputError(f"`rounds` must be 2 or more. Received: rounds={rounds!r}.")
    check_positive(ridge=ridge)
