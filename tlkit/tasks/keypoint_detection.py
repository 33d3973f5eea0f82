"""Keypoints: where named points lie in an image, on feature maps of any image module."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.points import POINTS, points
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.task import Decoded, Evaluation, Objective, Task
from tlkit.data.augment import check_moving
from tlkit.layer import reads
from tlkit.tasks import metrics, recording
from tlkit.tasks.gathering import gathered
from tlkit.tasks.split_checks import check_labels, check_training, named_splits

if TYPE_CHECKING:
    import keras

WORST = 12  # images that the report shows
FARTHEST = 1.0  # of a labelled point from the image's middle, in sides: what lies further is no share
SIGMA = 0.05  # of object keypoint similarity: how far people are apart on a point, in shares of the object


def keypoints(
    names: Sequence[str], strides: Sequence[int] = (4, 8, 16, 32), width: int = 64, *, within: float = 0.05
) -> Task:
    """Find named points: targets are float32 (k, 3), x and y in shares of the sides and 0 where none is labelled.

    One object per image, as `tlkit.data.keypoints` cuts them out. The head goes up the module's feature maps to the
    finest and gives a heat map a point; the point lies at the mean place under it, so it is finer than the map.

    Args:
        names: Of the points, in the targets' order.
        strides: Pixels of the image per place of the feature maps.
        width: Channels of the head.
        within: Distance in shares of the sides within which a point counts as found, in (0, 1).

    Returns:
        A task for image modules that are convolutions; it gives "points" and "scores", as `answers.points` says.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> keypoints(["nose", "tail"]).reads.name
        'maps(4, 8, 16, 32)'

    Source: Sun et al. 2018, arXiv:1711.08229 (the mean place under a heat map).
    """
    labels, finest = tuple(str(name) for name in names), tuple(sorted(int(stride) for stride in strides))
    width, within = int(width), float(within)
    _check_arguments(labels, finest, width, within)
    arguments = {"names": labels, "strides": finest, "width": width, "within": within}
    return Task(
        name="keypoints",
        made_by=recording.record("tlkit.tasks.keypoints", arguments),
        reads=reads.maps(*finest),
        head=functools.partial(_heat, count=len(labels), width=width),
        objective=Objective(loss=_loss, check=functools.partial(_check, labels)),
        answers=(points(labels, within),),
        scorer=gathered(functools.partial(evaluate_points, labels, within)),
    )


def evaluate_points(names: tuple[str, ...], within: float, examples: Examples, decoded: Decoded) -> Evaluation:
    """Scores of points: share that is found, object keypoint similarity, mean distance, with bootstrap intervals.

    Args:
        names: Of the k points.
        within: Distance in shares of the sides within which a point is found.
        examples: Their targets are float (n, k, 3).
        decoded: With "points", float (n, k, 2).

    Returns:
        Scores pck, oks and distance over all labelled points, the first two with 95 % intervals over images.

    Source: Yang and Ramanan 2013, doi:10.1109/TPAMI.2012.261 (PCK); Lin et al. 2014, arXiv:1405.0312 (OKS of COCO, with
    one deviation for all points, and the image as the object).
    """
    targets = np.asarray(examples.target_array, np.float64)
    labelled = targets[..., 2] > 0
    apart = np.linalg.norm(decoded[POINTS] - targets[..., :2], axis=-1)
    figures = {"pck": (apart < within) * 1.0, "oks": np.exp(-(apart**2) / (2 * (2 * SIGMA) ** 2))}
    scores: dict[str, float] = {"distance": _mean(apart, labelled)}
    for name, values in figures.items():
        interval = metrics.bootstrap(lambda drawn, v=values: _mean(v[drawn], labelled[drawn]), len(targets))  # type: ignore[misc]
        scores |= metrics.with_interval(name, _mean(values, labelled), interval)
    rows = [
        {"label": name, "labelled": int(labelled[:, i].sum()), "pck": _mean(figures["pck"][:, i], labelled[:, i]),
         "distance": _mean(apart[:, i], labelled[:, i])}
        for i, name in enumerate(names)
    ]  # fmt: skip
    worst = np.argsort(-np.where(labelled, apart, 0.0).max(axis=1, initial=0.0), kind="stable")[:WORST]
    details = {
        "headline": metrics.headline("pck", "Points found", "bootstrap"),
        "keypoints": {
            "rows": rows,
            "within": within,
            "worst": [
                {"id": examples.ids[i], "points": _drawn(targets[i], decoded[POINTS][i])} for i in worst.tolist()
            ],
        },
    }
    return Evaluation(metrics.finite(scores), details, np.asarray(decoded[POINTS], np.float32))


def _drawn(rows: np.ndarray, predicted: np.ndarray) -> list[dict[str, list[float]]]:
    """Labelled points of an image and what is said of them, in per cent of the sides."""
    return [
        {"true": [100 * float(v) for v in row[:2]], "said": [100 * float(v) for v in point]}
        for row, point in zip(rows, predicted, strict=True)
        if row[2] > 0
    ]


def _mean(values: np.ndarray, labelled: np.ndarray) -> float:
    return float(values[labelled].mean()) if labelled.any() else 0.0


def _heat(maps: Mapping[int, Any], count: int, width: int) -> Any:
    """Heat maps (batch, height, width, points) of the finest map's size."""
    from keras import layers

    from tlkit.tasks.segmentation import pyramid

    x = pyramid(maps, width)
    return layers.Conv2D(count, 1, dtype="float32", name="head_heat")(x)


def _loss() -> keras.losses.Loss:
    from tlkit.tasks.keypoint_losses import HeatAndDistance

    return HeatAndDistance()


def _check_arguments(names: tuple[str, ...], strides: tuple[int, ...], width: int, within: float) -> None:
    checks = {
        "names": (bool(names) and len(set(names)) == len(names), "be different names", names),
        "strides": (strides and min(strides) >= 1 and len(set(strides)) == len(strides), "be different", strides),
        "width": (width >= 1, "be 1 or more", width),
        "within": (0 < within < 1, "lie in (0, 1)", within),
    }
    check_rules(checks, of="keypoints")


def _check(names: tuple[str, ...], splits: Splits) -> None:
    check_labels(names, splits, "keypoints")
    check_training(splits)
    for name, examples in named_splits(splits):
        spec = examples.targets.spec
        if len(examples) and not (isinstance(spec, ArraySpec) and spec.shape == (len(names), 3)):
            raise InputError(
                f"The {name} targets must be ({len(names)}, 3) an image: x, y and whether it is labelled of each "
                f"point, as `tlkit.data.keypoints` makes them. Received: {spec}."
            )
    targets = splits.train.target_array
    labelled = targets[targets[..., 2] > 0]
    if not len(labelled):
        raise InputError("No point of the training images is labelled: there is nothing to learn.")
    if not (np.abs(labelled[:, :2] - 0.5) <= FARTHEST).all():
        raise InputError(
            "Points must be shares of the image's sides, from 0 to 1, and not pixels. Received: x and y from "
            f"{labelled[:, :2].min():g} to {labelled[:, :2].max():g}."
        )
    check_moving(splits.train, "keypoints")
