"""Regression: one or several numbers an example."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.affine import Affine
from tlkit.answers.values import values as answer_values
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.task import Evaluation, Objective, Task
from tlkit.layer import reads
from tlkit.tasks import heads, metrics, recording
from tlkit.tasks.gathering import gathered
from tlkit.tasks.split_checks import check_training, named_splits

if TYPE_CHECKING:
    import keras

LOSSES = ("mse", "mae", "huber")
WORST = 24
DRAWN = 1000  # points of the scatter plot
COARSE = 1e-5  # a spread below this share of the mean is some hundred steps of float32 at most


def regress(
    names: Sequence[str],
    hidden: Sequence[int] = (),
    dropout: float = 0.0,
    activation: str = "relu",
    l2: float = 0.0,
    *,
    loss: str = "mse",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    head: Callable[[Any], Any] | None = None,
) -> Task:
    """Predict numbers: float32 (n, k) targets, one column a name; (n,) will do for a single one.

    The head learns standardised values, and outputs come back in the targets' own unit. `fit` and `finetune` take mean
    and spread from the training targets where you give none; until then nothing can be decoded, so go on with the task
    of the run, `run.task`. `build` needs neither.

    Args:
        names: Name of each output, with its unit where it has one.
        hidden: Widths of dense layers between features and outputs.
        dropout: Share of features dropped before each dense layer, in [0, 1).
        activation: Activation of the hidden layers.
        l2: Factor of the squared weights of the head in the loss, >= 0.
        loss: "mse", "mae" or "huber", on the standardised values.
        mean: What is subtracted from each output's targets; None is the mean of the training targets.
        std: What they are divided by then, > 0; None is the deviation of the training targets. With 0 and 1 the
            model's raw outputs are the values.
        head: Your own head in place of the dense stack: features (batch, d) -> (batch, len(names)).

    Returns:
        A task for `build`, `fit`, `finetune`.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> regress(["age_years"], mean=[38.0], std=[12.5]).labels
        ('age_years',)
    """
    outputs = tuple(str(name) for name in names)
    arguments = {
        "names": outputs, "hidden": hidden, "dropout": dropout, "activation": activation, "l2": l2, "loss": loss,
        "mean": mean, "std": std, "head": head,
    }  # fmt: skip
    _check_scaling(outputs, mean, std)
    is_scaled = mean is not None and std is not None
    scale = Affine("values", _numbers(std), _numbers(mean))
    heads.check_stack(hidden, dropout, l2)
    if loss not in LOSSES:
        raise InputError(f"`loss` must be one of {', '.join(LOSSES)}. Received: loss={loss!r}.")
    stack = functools.partial(
        heads.dense_stack, outputs=len(outputs), hidden=tuple(hidden), dropout=dropout, activation=activation, l2=l2
    )
    return Task(
        name="regress",
        made_by=recording.record("tlkit.tasks.regress", arguments),
        reads=reads.pooled(),
        head=functools.partial(heads.own_head, head=head, outputs=len(outputs)) if head else stack,
        objective=Objective(
            loss=functools.partial(_loss, loss, scale) if is_scaled else functools.partial(_unknown, outputs),
            metrics=functools.partial(_metrics, scale) if is_scaled else functools.partial(_unknown, outputs),
            check=functools.partial(_check, outputs),
        ),
        answers=(answer_values(outputs, scale if is_scaled else functools.partial(_unknown, outputs)),),
        scorer=gathered(functools.partial(evaluate_values, outputs), "values"),
        begin=None if is_scaled else functools.partial(_prepared, arguments),
    )


def evaluate_values(names: tuple[str, ...], examples: Examples, outputs: np.ndarray) -> Evaluation:
    """Scores of predicted numbers: R2, MAE and RMSE, each with a bootstrap 95 % interval.

    Args:
        names: Names of the k values.
        examples: Their targets are float (n, k) or (n,).
        outputs: float (n, k) in the same unit; one that is not finite counts as the targets' mean.

    Returns:
        Scores and details; `example_scores` are minus the error in standard deviations of the targets.
    """
    truth = np.asarray(examples.target_array, np.float64).reshape(len(examples), -1)
    values = np.where(np.isfinite(outputs), outputs, truth.mean(axis=0)).astype(np.float64)
    errors = values - truth
    spread = truth.std(axis=0)
    scaled = np.abs(errors) / np.where(spread > 0, spread, 1.0)
    details = {
        "headline": metrics.headline("r2", "R²", "bootstrap", unit="value"),
        "residuals": _scatter(names, truth, values),
        "per_value": _per_value(names, truth, values),
        "mistakes": _worst(truth, values, scaled.mean(axis=1), examples.ids),
        "example_scores": (-scaled.mean(axis=1)).tolist(),
    }
    scores = metrics.bootstrapped({"r2": metrics.r2, "mae": _mae, "rmse": _rmse}, truth, values)
    return Evaluation(metrics.finite(scores), details, np.asarray(outputs, np.float32))


def _mae(truth: np.ndarray, values: np.ndarray) -> float:
    return float(np.mean(np.abs(values - truth)))


def _rmse(truth: np.ndarray, values: np.ndarray) -> float:
    return float(np.sqrt(np.mean((values - truth) ** 2)))


def _per_value(names: tuple[str, ...], truth: np.ndarray, values: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"label": name, "r2": metrics.r2(truth[:, i : i + 1], values[:, i : i + 1]),
         "mae": _mae(truth[:, i], values[:, i]), "rmse": _rmse(truth[:, i], values[:, i])}
        for i, name in enumerate(names)
    ]  # fmt: skip


def _scatter(names: tuple[str, ...], truth: np.ndarray, values: np.ndarray) -> list[dict[str, Any]]:
    places = np.random.default_rng(0).permutation(len(truth))[:DRAWN]
    return [
        {"label": name, "points": np.stack([truth[places, i], values[places, i]], axis=1).tolist()}
        for i, name in enumerate(names)
    ]


def _worst(truth: np.ndarray, values: np.ndarray, error: np.ndarray, ids: Sequence[str]) -> list[dict[str, Any]]:
    order = np.argsort(-error, kind="stable")[:WORST]
    return [
        {"index": i, "id": ids[i], "true": _figures(truth[i]), "predicted": _figures(values[i]),
         "error": float(error[i])}
        for i in order.tolist() if error[i] > 0
    ]  # fmt: skip


def _figures(row: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in row)


def _loss(kind: str, scale: Affine) -> keras.losses.Loss:
    from tlkit.tasks import losses

    return losses.ScaledError(kind, list(scale.offset), list(scale.factor))


def _metrics(scale: Affine) -> list[keras.metrics.Metric]:
    import keras

    def mae(targets: Any, raw: Any) -> Any:
        reshaped = keras.ops.reshape(targets, keras.ops.shape(raw))
        return keras.ops.mean(keras.ops.abs(reshaped - scale(raw)["values"]), axis=-1)

    return [keras.metrics.MeanMetricWrapper(mae, name="mae")]


# -- mean and spread


def _unknown(names: tuple[str, ...], *_: Any) -> Any:
    raise InputError(
        f"Mean and spread of {', '.join(names)} are not known yet: `fit` and `finetune` take them from the training "
        "targets, so go on with the task of their run (`run.task`); or give `regress` both `mean` and `std` (0 and 1 "
        "where the model's outputs are the values)."
    )


def _prepared(arguments: Mapping[str, Any], splits: Splits, say: Callable[[str], None]) -> Task:
    """The task with mean and spread of the training targets, where it was given none."""
    names, train = arguments["names"], splits.train
    targets = np.asarray(train.target_array, np.float64).reshape(len(train), -1)
    mean, std = moments(targets, train.weights)
    scaling = {"mean": mean, "std": std} | {
        key: arguments[key] for key in ("mean", "std") if arguments[key] is not None
    }
    for name, centre, spread, column in zip(names, scaling["mean"], scaling["std"], targets.T, strict=True):
        say(f"{name}: mean {centre:.4g}, spread {spread:.4g} of the training targets")
        if np.ptp(column) == 0:
            say(f"note: every training target of {name} is {column[0]:.6g}, so there is nothing to learn")
        elif spread < COARSE * abs(centre):
            apart = f"{name} varies by {spread:.2g} around {centre:.7g}, which float32 hardly tells apart"
            say(f"note: {apart}: subtract a fixed number from its targets")
    return regress(**{**arguments, **scaling})


def moments(targets: np.ndarray, weights: np.ndarray | None = None) -> tuple[list[float], list[float]]:
    """Mean and deviation of each column; of one that never varies a thousandth of its size, or 1.

    Args:
        targets: float64 (n, k), n > 0.
        weights: (n,) of the rows, or None.

    Example:
        >>> moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
        ([2.0, 5.0], [1.0, 0.005])
    """
    shares = None if weights is None or not np.sum(weights) > 0 else np.asarray(weights, np.float64)
    mean = np.average(targets, axis=0, weights=shares)
    std = np.sqrt(np.average((targets - mean) ** 2, axis=0, weights=shares))
    level = np.where(mean == 0, 1.0, 1e-3 * np.abs(mean))
    return mean.tolist(), np.where((np.ptp(targets, axis=0) > 0) & (std > 0), std, level).tolist()


def _numbers(values: Sequence[float] | None) -> tuple[float, ...]:
    return () if values is None else tuple(float(value) for value in values)


def _check_scaling(names: tuple[str, ...], mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    if not names:
        raise InputError("Regression needs at least one name. Received: names=[].")
    for word, values in (("mean", mean), ("std", std)):
        if values is not None and (np.ndim(values) != 1 or len(values) != len(names)):
            raise InputError(f"`{word}` must have one value for each of the {len(names)} names. Received: {values!r}.")
    centre, scale = _numbers(mean), _numbers(std)
    if not (np.isfinite(centre).all() and np.isfinite(scale).all() and min(scale, default=1.0) > 0):
        raise InputError(f"`mean` must be finite, and `std` positive too. Received: mean={centre!r}, std={scale!r}.")


def _check(names: tuple[str, ...], splits: Splits) -> None:
    check_training(splits)
    for split, examples in named_splits(splits):
        columns = examples.target_array.shape[1] if examples.target_array.ndim == 2 else 1
        if columns != len(names) or not np.issubdtype(examples.target_array.dtype, np.floating):
            raise InputError(
                f"The {split} targets must be float32 (n, {len(names)}), one column a name. "
                f"Received: shape={examples.target_array.shape}, dtype={examples.target_array.dtype}."
            )
        broken = np.flatnonzero(~np.isfinite(examples.target_array.reshape(-1, columns)).all(axis=1))
        if broken.size:
            raise InputError(f"The target of `{examples.ids[broken[0]]}` in the {split} split is not a finite number.")
