"""Anomalies in sequences: in recordings by what a module hears in them, in series by their windows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from tlkit.answers.anomaly import anomaly
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Splits
from tlkit.core.task import HeadOutputs, Inference, Objective, Task
from tlkit.layer import reads
from tlkit.tasks import recording
from tlkit.tasks.anomaly_detection import begun, finished
from tlkit.tasks.anomaly_scorers import coreset
from tlkit.tasks.anomaly_scores import AnomalyScorer
from tlkit.tasks.split_checks import check_training, named_splits

SHRINKAGE = 0.1  # of a covariance towards its mean variance: there are few recordings for so many numbers
MOST_WINDOWS = 4096  # kept of good series: each is compared with all of them
LARGEST_WINDOW = 2048  # numbers in a window of which a reconstruction is made, as it is a matrix of their square
Score = Callable[[Any], Any]


def sequence_anomalies(
    method: str = "moments",
    window: int = 1,
    *,
    num_neighbors: int = 1,
    n_components: int = 10,
    false_alarm_rate: float = 0.05,
    threshold: float | None = None,
) -> Task:
    """Say where sequences differ from good ones, by the vectors that a module gives a step.

    It is computed in closed form from the frozen module's vectors of good sequences, so there are no phases. The files
    give "anomaly_map" (batch, 1, steps) and "pred_score" (batch,), its highest value, as shares of the threshold.
    Targets are as `tlkit.data.sequence_anomalies` makes them.

    Args:
        method: "moments", for recordings: a Gaussian of each one's means and deviations over its steps, which gives one
            value a recording. For series, which `zoo:series-values` gives as they are: "nearest", the distance to the
            nearest window of good ones (a discord, as the matrix profile has it); or "reconstruction", what their first
            principal components leave of a window. A step's value is the mean over the windows that it lies in.
        window: Steps of a window; half a period or a whole one of what repeats. Of "moments" it is 1.
        num_neighbors: Of "nearest": windows whose distances are averaged, >= 1.
        n_components: Of "reconstruction", fewer than the numbers of a window.
        false_alarm_rate: Share of good sequences that may score above the threshold, in (0, 1): `finetune` sets it by
            the good validation examples.
        threshold: Of the raw score; None leaves it to validation.

    Returns:
        A task for modules that give a vector a step.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> sequence_anomalies("nearest", window=4).reads.name
        'steps()'

    Source: Yeh et al. 2016, doi:10.1109/ICDM.2016.0179 (discords); Jackson and Mudholkar 1979, doi:10.2307/1267757
    (residuals of principal components); Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4 (shrinkage).
    """
    rules = {
        "method": (method in FITS, f"be one of {', '.join(FITS)}", method),
        "window": (window >= 1 and (method != "moments" or window == 1), "be 1 or more, and 1 of moments", window),
        "num_neighbors": (num_neighbors >= 1, "be 1 or more", num_neighbors),
        "n_components": (n_components >= 1, "be 1 or more", n_components),
        "false_alarm_rate": (0 < false_alarm_rate < 1, "lie in (0, 1)", false_alarm_rate),
        "threshold": (threshold is None or threshold > 0, "be positive or None", threshold),
    }
    check_rules(rules, of="sequence_anomalies")
    arguments: dict[str, Any] = {
        "method": method, "window": int(window), "num_neighbors": int(num_neighbors),
        "n_components": int(n_components), "false_alarm_rate": float(false_alarm_rate), "threshold": threshold,
    }  # fmt: skip
    remade = functools.partial(sequence_anomalies, **arguments)
    return Task(
        name="sequence_anomalies",
        made_by=recording.record("tlkit.tasks.sequence_anomalies", arguments),
        reads=reads.steps(),
        head=_steps,
        objective=Objective(loss=_no_loss, monitor=None, check=_check),
        answers=(anomaly(threshold),),
        scorer=functools.partial(AnomalyScorer, false_alarm_rate, threshold, None),
        begin=functools.partial(begun, remade, false_alarm_rate) if threshold is None else None,
        solve=functools.partial(_solved, remade, functools.partial(FITS[method], arguments)),
        finish=functools.partial(finished, remade) if threshold is None else None,
    )


def _steps(features: Any) -> Any:
    from keras import layers

    return layers.Identity(dtype="float32", name="head_steps")(features)


def _no_loss() -> NoReturn:
    raise InputError(
        "`sequence_anomalies` is solved in closed form and has no loss to train by: finetune it by itself, without "
        "phases."
    )


def _solved(
    remade: Callable[[], Task], fit: Callable[[np.ndarray], Score], train: HeadOutputs, _val: HeadOutputs, _say: Any
) -> Inference:
    score = fit(np.concatenate([raw for _, raw in train.batches()]).astype(np.float64))
    return Inference(remade(), score, lambda splits: splits)


# -- methods: from good sequences (n, steps, d) to what turns (batch, steps, d) into a raw map (batch, 1, steps, 1)


def _moments(_arguments: Mapping[str, Any], good: np.ndarray) -> Score:
    rows = np.concatenate([good.mean(axis=1), good.std(axis=1)], axis=1)
    mean = rows.mean(axis=0)
    covariance = np.cov((rows - mean).T).reshape(rows.shape[1], -1)
    variance = np.trace(covariance) / len(mean)
    if not variance > 0:
        raise InputError("All training sequences are the same, so nothing says how much good ones differ.")
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * variance * np.eye(len(mean))
    whitening = np.linalg.inv(np.linalg.cholesky(shrunk)).T
    return functools.partial(_moments_map, in_half(mean), in_half(whitening))


def _moments_map(mean: np.ndarray, whitening: np.ndarray, x: Any) -> Any:
    from keras import layers, ops

    means = ops.mean(x, axis=1, keepdims=True)
    deviations = ops.sqrt(ops.mean(ops.square(x - means), axis=1))
    moments = ops.concatenate([means[:, 0], deviations], axis=-1)
    layer = layers.Dense(len(mean), use_bias=False, trainable=False, dtype="float32", name="anomaly_white")
    white = layer(moments - mean[None])
    layer.set_weights([whitening])
    return ops.sqrt(ops.sum(ops.square(white), axis=-1))[:, None, None, None]


def _nearest(arguments: Mapping[str, Any], good: np.ndarray) -> Score:
    centre, scale = _scaling(good)
    size = arguments["window"]
    bank = np.unique(in_half(_windows((good - centre) / scale, size)), axis=0)
    if len(bank) > MOST_WINDOWS:
        bank = bank[coreset(bank, MOST_WINDOWS)]
    if len(bank) < arguments["num_neighbors"]:
        raise InputError(f"Good sequences have {len(bank)} different windows, fewer than `num_neighbors`.")
    return functools.partial(_nearest_map, size, arguments["num_neighbors"], centre, scale, bank)


def _nearest_map(size: int, neighbors: int, centre: np.ndarray, scale: np.ndarray, bank: np.ndarray, x: Any) -> Any:
    """The nearest rows are found by |b|^2 - 2 w b of all windows w, one convolution along the steps.

    Their distances are computed anew from the rows themselves: as a difference of such squares they would be wrong in
    the fourth digit. The squares are the sum of two numbers that float16 files hold exactly.
    """
    from keras import ops

    scaled, width = _scaled(centre, scale, x), bank.shape[1] // size
    squares = np.square(bank.astype(np.float64)).sum(axis=1)
    rest = in_half(squares - in_half(squares))
    order = _along(scaled, -2 * bank.T.reshape(size, width, len(bank)), in_half(squares), "anomaly_bank") + rest
    chosen = ops.top_k(-order, neighbors)[1]  # Keras' argmin needs an operation that TFLite lacks
    windows = _along(scaled, np.eye(size * width).reshape(size, width, -1), np.zeros(size * width), "anomaly_windows")
    apart = windows[:, :, :, None] - ops.take(bank, chosen, axis=0)
    distances = ops.mean(ops.sqrt(ops.sum(ops.square(apart), axis=-1)), axis=-1, keepdims=True)
    return _by_step(distances, size)


def _reconstruction(arguments: Mapping[str, Any], good: np.ndarray) -> Score:
    centre, scale = _scaling(good)
    size, count = arguments["window"], arguments["n_components"]
    rows = _windows((good - centre) / scale, size)
    width = rows.shape[1]
    if width > LARGEST_WINDOW or not count < min(width, len(rows)):
        raise InputError(
            f"A window has {width} numbers and good sequences {len(rows)} windows: of a reconstruction a window has at "
            f"most {LARGEST_WINDOW}, and `n_components` is less than both. Received: n_components={count}."
        )
    mean = rows.mean(axis=0)
    basis = np.linalg.svd(rows - mean, full_matrices=False)[2][:count]
    left = np.eye(width) - basis.T @ basis
    return functools.partial(_residual_map, size, centre, scale, mean, left)


def _residual_map(size: int, centre: np.ndarray, scale: np.ndarray, mean: np.ndarray, left: np.ndarray, x: Any) -> Any:
    from keras import ops

    kernel = left.reshape(size, -1, len(mean))
    residual = _along(_scaled(centre, scale, x), kernel, -mean @ left, "anomaly_residual")
    return _by_step(ops.sqrt(ops.sum(ops.square(residual), axis=-1, keepdims=True)), size)


FITS: Mapping[str, Callable[[Mapping[str, Any], np.ndarray], Score]] = {
    "moments": _moments,
    "nearest": _nearest,
    "reconstruction": _reconstruction,
}


# -- windows


def _scaling(good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel, 1 for what never changes.

    The deviation is a power of two, and their ratio a number of half precision: float16 files scale as all do.
    """
    rows = good.reshape(-1, good.shape[-1])
    deviation = rows.std(axis=0)
    scale = np.exp2(np.round(np.log2(np.where(deviation > 0, deviation, 1.0))))
    return in_half(rows.mean(axis=0) / scale) * scale, scale


def in_half(values: np.ndarray) -> np.ndarray:
    """Values as float32 that half precision holds exactly, so that float16 files compute with the very same ones.

    Example:
        >>> in_half(np.array([0.1, 2.0])).tolist()
        [0.0999755859375, 2.0]
    """
    limit = float(np.finfo(np.float16).max)
    return np.asarray(np.clip(values, -limit, limit).astype(np.float16), np.float32)


def _windows(sequences: np.ndarray, size: int) -> np.ndarray:
    """(windows, size * d) of all sequences.

    Example:
        >>> _windows(np.arange(4.0).reshape(1, 4, 1), 3).tolist()
        [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]
    """
    if sequences.shape[1] < size:
        raise InputError(f"A window of {size} steps is longer than the sequences, which have {sequences.shape[1]}.")
    cut = np.lib.stride_tricks.sliding_window_view(sequences, size, axis=1)  # (n, windows, d, size)
    return np.ascontiguousarray(cut.transpose(0, 1, 3, 2)).reshape(-1, size * sequences.shape[-1])


def _scaled(centre: np.ndarray, scale: np.ndarray, x: Any) -> Any:
    """(batch, steps, d) in deviations, as an image of one row, (batch, 1, steps, d)."""
    return _along(x[:, None], np.diag(1 / scale)[None], -centre / scale, "anomaly_scaled")


def _along(x: Any, kernel: np.ndarray, bias: np.ndarray, name: str) -> Any:
    """A convolution along the steps, (steps of the kernel, d, units), where it fits, by weights that never train.

    Rows of an image, as TFLite's converter refuses wide convolutions of one dimension.
    """
    from keras import layers

    layer = layers.Conv2D(kernel.shape[2], (1, kernel.shape[0]), trainable=False, dtype="float32", name=name)
    y = layer(x)
    layer.set_weights([kernel[None].astype(np.float32), bias.astype(np.float32)])
    return y


def _by_step(distances: Any, size: int) -> Any:
    """Distances of windows (batch, 1, windows, 1) as the mean of those that each step lies in, (batch, 1, steps, 1)."""
    from keras import ops

    count = distances.shape[2]
    covered = np.convolve(np.ones(count), np.ones(size)).astype(np.float32)
    padded = ops.pad(distances, [[0, 0], [0, 0], [size - 1, size - 1], [0, 0]])
    sums = _along(padded, np.ones((size, 1, 1)), np.zeros(1), "anomaly_steps")
    return sums / covered[:, None]


# -- checks


def _check(splits: Splits) -> None:
    check_training(splits, "give more good sequences, or a larger share of them to it")
    for name, examples in named_splits(splits):
        spec = examples.targets.spec
        if len(examples) and not (isinstance(spec, ArraySpec) and len(spec.shape) == 2 and spec.shape[0] == 1):
            raise InputError(
                f"The {name} targets must be masks (1, steps) that are 0 where a sequence is normal, as "
                f"`tlkit.data.sequence_anomalies` makes them. Received: {spec}."
            )
    bad = next((id_ for i, id_ in enumerate(splits.train.ids) if np.any(splits.train.targets[i])), None)
    if bad is not None:
        raise InputError(f"The training sequence {bad!r} is marked as bad: only good ones are learned from.")
