"""Regression: one or several numbers an example."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.errors import InputError
from tlkit.tasks import heads, metrics, recording
from tlkit.types import Evaluation, Examples, Splits, Task

if TYPE_CHECKING:
    import keras

LOSSES = ("mse", "mae", "huber")
WORST = 24
DRAWN = 1000  # points of the scatter plot


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

    With `mean` and `std` of the training targets the head learns standardised values, and outputs come back in the
    targets' own unit; without them a target in the thousands takes the head many epochs to reach.

    Args:
        names: Name of each output, with its unit where it has one.
        hidden: Widths of dense layers between features and outputs.
        dropout: Share of features dropped before each dense layer, in [0, 1).
        activation: Activation of the hidden layers.
        l2: Factor of the squared weights of the head in the loss, >= 0.
        loss: "mse", "mae" or "huber", on the standardised values.
        mean: Of each output's training targets; None is 0.
        std: Of each output's training targets, > 0; None is 1.
        head: Your own head in place of the dense stack: features (batch, d) -> (batch, len(names)).

    Returns:
        A task for `build`, `fit`, `finetune`.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> regress(["age_years"], mean=[38.0], std=[12.5]).output
        'values'
    """
    outputs = tuple(str(name) for name in names)
    recipe = recording.record(
        "tlkit.tasks.regress",
        {"names": outputs, "hidden": hidden, "dropout": dropout, "activation": activation, "l2": l2, "loss": loss,
         "mean": mean, "std": std, "head": head},
    )  # fmt: skip
    centre, scale = _scaling(outputs, mean, std)
    heads.check_stack(hidden, dropout, l2)
    if loss not in LOSSES:
        raise InputError(f"`loss` must be one of {', '.join(LOSSES)}. Received: loss={loss!r}.")
    stack = functools.partial(
        heads.dense_stack, outputs=len(outputs), hidden=tuple(hidden), dropout=dropout, activation=activation, l2=l2
    )
    return Task(
        name="regress",
        labels=outputs,
        head=functools.partial(heads.own_head, head=head, outputs=len(outputs)) if head else stack,
        loss=functools.partial(_loss, loss, centre, scale),
        metrics=functools.partial(_metrics, centre, scale),
        decode=functools.partial(_decode, centre, scale),
        evaluate=functools.partial(evaluate_values, outputs),
        check=functools.partial(_check, outputs),
        output="values",
        recipe=recipe,
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
    truth = np.asarray(examples.targets, np.float64).reshape(len(examples), -1)
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
    return Evaluation(metrics.finite(_scores(truth, values)), details, np.asarray(outputs, np.float32))


def _scores(truth: np.ndarray, values: np.ndarray) -> dict[str, float]:
    figures = {"r2": metrics.r2, "mae": _mae, "rmse": _rmse}
    scores: dict[str, float] = {}
    for name, figure in figures.items():
        low, high = metrics.bootstrap(functools.partial(_drawn, figure, truth, values), len(truth))
        scores |= {name: figure(truth, values), f"{name}_low": low, f"{name}_high": high}
    return scores


def _drawn(
    figure: Callable[[np.ndarray, np.ndarray], float], truth: np.ndarray, values: np.ndarray, indices: np.ndarray
) -> float:
    return figure(truth[indices], values[indices])


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
    shown = np.random.default_rng(0).permutation(len(truth))[:DRAWN]
    return [
        {"label": name, "points": np.stack([truth[shown, i], values[shown, i]], axis=1).tolist()}
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


def _loss(kind: str, mean: list[float], std: list[float]) -> keras.losses.Loss:
    from tlkit.tasks import losses

    return losses.ScaledError(kind, mean, std)


def _metrics(mean: list[float], std: list[float]) -> list[keras.metrics.Metric]:
    import keras

    def mae(targets: Any, raw: Any) -> Any:
        wanted = keras.ops.reshape(targets, keras.ops.shape(raw))
        return keras.ops.mean(keras.ops.abs(wanted - _decode(mean, std, raw)), axis=-1)

    return [keras.metrics.MeanMetricWrapper(mae, name="mae")]


def _decode(mean: list[float], std: list[float], raw: Any) -> Any:
    import keras

    return raw * keras.ops.convert_to_tensor(std, dtype="float32") + keras.ops.convert_to_tensor(mean, dtype="float32")


def _scaling(
    names: tuple[str, ...], mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[list[float], list[float]]:
    if not names:
        raise InputError("Regression needs at least one name. Received: names=[].")
    centre = [0.0] * len(names) if mean is None else [float(value) for value in mean]
    scale = [1.0] * len(names) if std is None else [float(value) for value in std]
    for word, given in (("mean", centre), ("std", scale)):
        if len(given) != len(names):
            raise InputError(f"`{word}` must have one value for each of the {len(names)} names. Received: {given!r}.")
    if not (np.isfinite(centre).all() and np.isfinite(scale).all() and min(scale) > 0):
        raise InputError(f"`mean` must be finite, and `std` positive too. Received: mean={centre!r}, std={scale!r}.")
    return centre, scale


def _check(names: tuple[str, ...], splits: Splits) -> None:
    for split, examples in (("training", splits.train), ("validation", splits.val), ("test", splits.test)):
        if not len(examples) and split == "training":
            raise InputError(f"The {split} split is empty: give more examples, or a larger share of them to it.")
        columns = examples.targets.shape[1] if examples.targets.ndim == 2 else 1
        if columns != len(names) or not np.issubdtype(examples.targets.dtype, np.floating):
            raise InputError(
                f"The {split} targets must be float32 (n, {len(names)}), one column a name. "
                f"Received: shape={examples.targets.shape}, dtype={examples.targets.dtype}."
            )
        broken = np.flatnonzero(~np.isfinite(examples.targets.reshape(-1, columns)).all(axis=1))
        if broken.size:
            raise InputError(f"The target of `{examples.ids[broken[0]]}` in the {split} split is not a finite number.")
