"""Detectors of anomalies: they learn what good images look like, and say where an image differs from them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tlkit.answers.anomaly import anomaly
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.task import Evaluation, HeadOutputs, Inference, Objective, Task
from tlkit.layer import reads
from tlkit.tasks import anomaly_scorers as scorers
from tlkit.tasks import recording
from tlkit.tasks.anomaly_scores import THRESHOLD, AnomalyScorer, areas
from tlkit.tasks.split_checks import check_training, named_splits

if TYPE_CHECKING:
    import keras

Tried = Sequence[Mapping[str, Any]]
Say = Callable[[str], None]


def padim(
    strides: Sequence[int] = (8,),
    n_features: int = 50,
    *,
    shared: bool = False,
    false_alarm_rate: float = 0.05,
    threshold: float | None = None,
    tried: Tried | None = None,
) -> Task:
    """Say where images differ from good ones: by a Gaussian of the features at each place, or one for all places.

    A Gaussian at each place is for parts that always lie in the same place; one for all places is for textures. It is
    computed in closed form from the frozen module's features of good images, so there are no phases. The files give
    "anomaly_map" (batch, height, width) and "pred_score" (batch,), its highest value, as shares of the threshold.

    Targets are as `tlkit.data.anomalies` makes them.

    Args:
        strides: Pixels of the image per place of the feature maps that are joined.
        n_features: Directions, drawn at random, that are left of the features; a Gaussian at each place has
            n_features^2 numbers. One for all places keeps all features.
        shared: Whether one Gaussian is for all places.
        false_alarm_rate: Share of good images that may score above the threshold, in (0, 1): `finetune` sets it by the
            good validation images.
        threshold: Of the raw score; None leaves it to validation.
        tried: What `anomalies` compared before it chose this, for the report.

    Returns:
        A task for image modules that are convolutions.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> padim(n_features=20).reads.name
        'maps(8)'

    Source: Defard et al. 2020, arXiv:2011.08785; in place of drawn features, orthogonal directions as in Kim et al.
    2021, arXiv:2105.14737.
    """
    chosen = _strides(strides)
    check_rules({"n_features": (n_features >= 1, "be 1 or more", n_features)}, of="padim")
    arguments = {
        "strides": chosen, "n_features": int(n_features), "shared": bool(shared),
        "false_alarm_rate": float(false_alarm_rate), "threshold": threshold, "tried": tried,
    }  # fmt: skip
    features = np.iinfo(np.int32).max if shared else int(n_features)
    fit = functools.partial(scorers.fit_gaussian, strides=chosen, n_features=features, shared=bool(shared))
    return _task(padim, arguments, fit)


def patchcore(
    strides: Sequence[int] = (8,),
    coreset_sampling_ratio: float = 0.01,
    num_neighbors: int = 1,
    *,
    false_alarm_rate: float = 0.05,
    threshold: float | None = None,
    tried: Tried | None = None,
) -> Task:
    """Say where images differ from good ones: by the distance to the nearest of the features kept of good images.

    For textures, and for parts that lie anywhere. Otherwise as `padim`.

    Args:
        strides: As there.
        coreset_sampling_ratio: Share of the training images' places that are kept, in (0, 1]; of more than 100,000
            places so many are drawn first.
        num_neighbors: Nearest rows whose distances are averaged, >= 1. (In the paper they weigh the image's score.)
        false_alarm_rate: As there.
        threshold: As there.
        tried: As there.

    Returns:
        A task for image modules that are convolutions.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> patchcore(num_neighbors=3).answers[0].tensors
        ('anomaly_map', 'pred_score')

    Source: Roth et al. 2022, arXiv:2106.08265.
    """
    chosen, ratio = _strides(strides), float(coreset_sampling_ratio)
    rules = {
        "coreset_sampling_ratio": (0 < ratio <= 1, "lie in (0, 1]", coreset_sampling_ratio),
        "num_neighbors": (num_neighbors >= 1, "be 1 or more", num_neighbors),
    }
    check_rules(rules, of="patchcore")
    arguments = {
        "strides": chosen, "coreset_sampling_ratio": ratio, "num_neighbors": int(num_neighbors),
        "false_alarm_rate": float(false_alarm_rate), "threshold": threshold, "tried": tried,
    }  # fmt: skip
    fit = functools.partial(scorers.fit_memory_bank, strides=chosen, ratio=ratio, num_neighbors=int(num_neighbors))
    return _task(patchcore, arguments, fit)


def anomalies(strides: Sequence[int] = (8, 16), *, false_alarm_rate: float = 0.05) -> Task:
    """Say where images differ from good ones, by the detector that sees synthetic faults on held-out good images best.

    `padim` with a Gaussian at each place, on the finest map and on all of them, `padim` with one for all places, and
    `patchcore` on the finest map are fitted and compared: each is said with its figures, and the report shows them.
    What is left is the chosen task.

    Args:
        strides: Pixels of the image per place of the feature maps.
        false_alarm_rate: As in `padim`.

    Returns:
        A task for image modules that are convolutions.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> anomalies().answers[0].name
        'anomaly'
    """
    chosen = _strides(strides)
    arguments = {"strides": chosen, "false_alarm_rate": float(false_alarm_rate)}
    return _task(anomalies, arguments, None, check=_check_faults)


# -- the task


def _task(
    maker: Callable[..., Task],
    arguments: Mapping[str, Any],
    fit: Callable[[HeadOutputs], scorers.Scorer] | None,
    check: Callable[[Splits], None] = lambda splits: None,
) -> Task:
    rate, threshold, strides = arguments["false_alarm_rate"], arguments.get("threshold"), arguments["strides"]
    rules = {
        "false_alarm_rate": (0 < rate < 1, "lie in (0, 1)", rate),
        "threshold": (threshold is None or threshold > 0, "be positive or None", threshold),
    }
    check_rules(rules, of=maker.__name__)
    remade = functools.partial(maker, **arguments)
    return Task(
        name="anomalies",
        made_by=recording.record(f"tlkit.tasks.{maker.__name__}", arguments),
        reads=reads.maps(*strides),
        head=_smoothed,
        objective=Objective(
            loss=functools.partial(_no_loss, maker.__name__), monitor=None, check=functools.partial(_check, check)
        ),
        answers=(anomaly(threshold),),
        scorer=functools.partial(AnomalyScorer, rate, threshold, arguments.get("tried")),
        begin=functools.partial(begun, remade, rate) if threshold is None else None,
        solve=(
            functools.partial(_chosen, strides, rate)
            if fit is None
            else functools.partial(_solved, remade, strides, fit)
        ),
        finish=functools.partial(finished, remade) if threshold is None else None,
    )


def _smoothed(maps: Mapping[int, Any]) -> dict[str, Any]:
    """Each map averaged over 3 x 3 places, so that a place knows its surroundings."""
    from keras import layers

    return {
        str(stride): layers.AveragePooling2D(3, 1, padding="same", dtype="float32", name=f"head_around_{stride}")(x)
        for stride, x in maps.items()
    }


def _no_loss(name: str) -> NoReturn:
    raise InputError(
        f"`{name}` is solved in closed form and has no loss to train by: finetune it by itself, without phases."
    )


def begun(remade: Callable[[], Task], rate: float, splits: Splits, say: Say) -> Task:
    """The task as it is; what so few good validation images cannot promise is said."""
    good = sum(not np.any(splits.val.targets[i]) for i in range(len(splits.val)))
    if not good:
        say(
            "note: without good validation images there is no threshold: scores stay as they are, and 1 means nothing. "
            "Give validation a share of the good images, or `threshold=`."
        )
    elif (good + 1) * rate < 1:
        say(
            f"note: {good} good validation images cannot promise a false alarm rate of {rate:g}, but of "
            f"{1 / (good + 1):.2g}: the threshold will be the highest of their scores."
        )
    return dataclasses.replace(remade(), begin=None)


def _solved(
    remade: Callable[[], Task],
    strides: tuple[int, ...],
    fit: Callable[[HeadOutputs], scorers.Scorer],
    train: HeadOutputs,
    val: HeadOutputs,
    say: Say,
) -> Inference:
    fitted = fit(train)
    return Inference(remade(), functools.partial(_maps_of, fitted, _size(train.examples), strides), _as_they_are)


def _maps_of(fitted: scorers.Scorer, size: tuple[int, int], strides: tuple[int, ...], maps: Mapping[str, Any]) -> Any:
    return scorers.heat_map(fitted(maps), size, min(strides) / 2)


def _as_they_are(splits: Splits) -> Splits:
    return splits


def finished(remade: Callable[..., Task], evaluation: Evaluation) -> Task:
    """The task with the threshold that good validation images set; as it is where there are none."""
    threshold = evaluation.details[THRESHOLD]
    if threshold is not None and threshold <= 0:
        raise InputError(
            "The good validation images score 0, as copies of training images do, so they set no threshold: give "
            "others, or `threshold=`."
        )
    return remade(threshold=threshold)


def _size(examples: Examples) -> tuple[int, int]:
    height, width = examples.targets.spec.shape
    return int(height), int(width)


# -- the choice


def _chosen(strides: tuple[int, ...], rate: float, train: HeadOutputs, val: HeadOutputs, say: Say) -> Inference:
    """What remains of the candidate that sees synthetic faults best."""
    solutions, rows = [], []
    for name, task in _candidates(strides, rate).items():
        assert task.solve is not None
        solution = task.solve(train, val, say)
        image, pixel = _seen(solution, val)
        rows.append({"detector": name, "image_auroc": image, "pixel_auroc": pixel})
        solutions.append((image + pixel, solution))
    best = max(range(len(solutions)), key=lambda i: solutions[i][0])
    for i, row in enumerate(rows):
        row["chosen"] = i == best
        mark = "  <- chosen" if i == best else ""
        figures = f"image {row['image_auroc']:.3f}  pixel {row['pixel_auroc']:.3f}"
        say(f"synthetic faults  {row['detector']:<28}  {figures}{mark}")
    _, solution = solutions[best]
    path, arguments = solution.task.made_by
    task = recording.restore((path, {**arguments, "tried": rows}))
    return Inference(task, solution.outputs, solution.data)


def _candidates(strides: tuple[int, ...], rate: float) -> dict[str, Task]:
    every, finest = "+".join(map(str, strides)), strides[:1]
    tasks = {
        f"padim, stride {finest[0]}": padim(finest, false_alarm_rate=rate),
        f"padim shared, strides {every}": padim(strides, shared=True, false_alarm_rate=rate),
        f"patchcore, stride {finest[0]}": patchcore(finest, false_alarm_rate=rate),
    }
    if len(strides) > 1:
        tasks[f"padim, strides {every}"] = padim(strides, false_alarm_rate=rate)
    return tasks


def _seen(solution: Inference, val: HeadOutputs) -> tuple[float, float]:
    """AUROC of images and of pixels on validation."""
    import keras

    model: keras.Model | None = None
    scorer = solution.task.scorer()
    assert isinstance(scorer, AnomalyScorer)
    for piece, raw in val.batches():
        if model is None:
            inputs = {name: keras.Input(y.shape[1:], name=name) for name, y in raw.items()}
            model = keras.Model(inputs, solution.outputs(inputs))
        decoded = solution.task.decode(model(raw, training=False))
        scorer.update(val.examples.subset(piece.tolist()), {name: np.asarray(y) for name, y in decoded.items()})
    return areas(scorer)


# -- checks


def _strides(strides: Sequence[int]) -> tuple[int, ...]:
    finest = tuple(sorted(int(stride) for stride in strides))
    rule = bool(finest) and min(finest) >= 1 and len(set(finest)) == len(finest)
    check_rules({"strides": (rule, "be different, each 1 or more", tuple(strides))})
    return finest


def _check(further: Callable[[Splits], None], splits: Splits) -> None:
    check_training(splits, "give more good images, or a larger share of them to it")
    for name, examples in named_splits(splits):
        spec = examples.targets.spec
        fine = isinstance(spec, ArraySpec) and len(spec.shape) == 2 and np.dtype(spec.dtype).kind in "biu"
        if len(examples) and not fine:
            raise InputError(
                f"The {name} targets must be masks (height, width) that are 0 where an image is normal, as "
                f"`tlkit.data.anomalies` makes them. Received: {spec}."
            )
    if splits.train.augment is not None:
        raise InputError("A detector of anomalies is not trained, so changed copies have no use: leave `augment` out.")
    bad = next((id_ for i, id_ in enumerate(splits.train.ids) if np.any(splits.train.targets[i])), None)
    if bad is not None:
        raise InputError(f"The training image {bad!r} is marked as bad: a detector of anomalies learns from good ones.")
    further(splits)


def _check_faults(splits: Splits) -> None:
    """A detector can be chosen only where validation has good images and faults on them."""
    marked = [splits.val.targets[i] for i in range(len(splits.val))]
    if all(np.any(mask) for mask in marked) or not any((mask == 1).any() for mask in marked):
        raise InputError(
            "`anomalies` chooses a detector by good validation images and (synthetic) faults on them: read the data "
            "with a validation share and `faults=True`, or name the detector, `padim()` or `patchcore()`."
        )
