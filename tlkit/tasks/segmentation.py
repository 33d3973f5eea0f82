"""Segmentation: a label for each pixel, from feature maps of any image module."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.masks import masks
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Column, Splits
from tlkit.core.task import Objective, Task
from tlkit.data.augment import VOID, check_moving
from tlkit.layer import reads
from tlkit.tasks import recording
from tlkit.tasks.segmentation_scores import SegmentationScorer
from tlkit.tasks.split_checks import check_labels, check_training, named_splits

if TYPE_CHECKING:
    import keras

COUNTED = 500  # training masks by which classes are weighted
LOOKED_AT = 20  # masks of each split whose numbers are checked


def segment(
    labels: Sequence[str],
    strides: Sequence[int] = (4, 8, 16, 32),
    width: int = 64,
    *,
    dice: float = 1.0,
    class_weights: str | Mapping[str, float] | None = None,
) -> Task:
    """Say which label each pixel of an image has.

    The head goes up from the coarsest feature map to the finest, adding each on the way, and then to the image's size
    (a U-Net's way up). The loss is cross-entropy plus Dice. Targets are uint8 (height, width) numbers of labels, 255
    where none is known; `tlkit.data.masks` makes them.

    Args:
        labels: Name of each label, in the order of the targets' numbers; the first is often the background.
        strides: Pixels of the image per place of the feature maps. Thin structures gain from 2 as the finest; the
            coarsest map is often the widest, and half of what is cached.
        width: Channels of the head.
        dice: Weight of the Dice loss beside the cross-entropy, >= 0.
        class_weights: Weight of each label's pixels in the cross-entropy: None, "balanced" (by their counts in at most
            500 training masks), or label -> weight, where a label left out weighs 1.

    Returns:
        A task for image modules that are convolutions; it gives "mask", float32 (batch, height, width, labels).

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> segment(["ground", "field"]).reads.name
        'maps(4, 8, 16, 32)'

    Source: Ronneberger et al. 2015, arXiv:1505.04597 (U-Net); Milletari et al. 2016, arXiv:1606.04797 (Dice loss).
    """
    names, finest = tuple(str(label) for label in labels), tuple(sorted(int(stride) for stride in strides))
    width, dice = int(width), float(dice)
    arguments = {"labels": names, "strides": finest, "width": width, "dice": dice, "class_weights": class_weights}
    _check_arguments(names, finest, width, dice, class_weights)
    answer, weights = masks(names), _weights(names, class_weights)
    return Task(
        name="segment",
        made_by=recording.record("tlkit.tasks.segment", arguments),
        reads=reads.maps(*finest),
        head=functools.partial(_decoder, labels=len(names), width=width),
        objective=Objective(
            loss=functools.partial(_loss, len(names), dice, weights),
            metrics=functools.partial(_metrics, len(names)),
            monitor=("val_miou", "max"),
            check=functools.partial(_check, names),
        ),
        answers=(answer,),
        scorer=functools.partial(SegmentationScorer, names),
        begin=functools.partial(_balanced, arguments) if class_weights == "balanced" else None,
    )


def _decoder(maps: Mapping[int, Any], labels: int, width: int) -> Any:
    """Logits (batch, height, width, labels) of the image's own size."""
    from keras import layers

    logits = layers.Conv2D(labels, 1, dtype="float32", name="head_logits")(pyramid(maps, width))
    return layers.UpSampling2D(min(maps), interpolation="bilinear", dtype="float32", name="head_full")(logits)


def pyramid(maps: Mapping[int, Any], width: int) -> Any:
    """The finest map with what all coarser ones say, (batch, height, width, `width`), by a U-Net's way up."""
    from keras import layers

    x = None
    for stride in sorted(maps, reverse=True):
        side = layers.Conv2D(width, 1, use_bias=False, name=f"head_side_{stride}")(maps[stride])
        side = _normalized(side, f"head_side_{stride}")
        x = side if x is None else layers.Add(name=f"head_add_{stride}")([side, _enlarged(x, side, stride)])
        x = layers.ReLU(6.0, name=f"head_relu_{stride}")(x)
        x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False, name=f"head_conv_{stride}")(x)
        x = layers.ReLU(6.0, name=f"head_out_{stride}")(_normalized(x, f"head_conv_{stride}"))
    return x


def _normalized(x: Any, name: str) -> Any:
    from keras import layers

    return layers.BatchNormalization(momentum=0.9, dtype="float32", name=f"{name}_norm")(x)


def _enlarged(x: Any, like: Any, stride: int) -> Any:
    """The coarser map at the size of the finer one; sides that are odd have no whole factor."""
    from keras import layers

    (coarse, fine), name = (tuple(map_.shape[1:3]) for map_ in (x, like)), f"head_up_{stride}"
    factors = [
        big // small if small and big and big % small == 0 else 0 for small, big in zip(coarse, fine, strict=True)
    ]
    if None in fine or all(factors):
        return layers.UpSampling2D(tuple(factors) if all(factors) else 2, interpolation="bilinear", name=name)(x)
    return layers.Resizing(*fine, interpolation="bilinear", name=name)(x)


def _loss(labels: int, dice: float, weights: tuple[float, ...] | None) -> keras.losses.Loss:
    from tlkit.tasks.segmentation_losses import CrossEntropyAndDice

    return CrossEntropyAndDice(labels, dice, None if weights is None else list(weights))


def _metrics(labels: int) -> list[keras.metrics.Metric]:
    from tlkit.tasks.segmentation_losses import WeighedMeanIoU

    return [WeighedMeanIoU(labels, name="miou", ignore_class=VOID, sparse_y_pred=False)]


# -- weights


def _weights(labels: tuple[str, ...], class_weights: str | Mapping[str, float] | None) -> tuple[float, ...] | None:
    return (
        tuple(float(class_weights.get(label, 1.0)) for label in labels) if isinstance(class_weights, Mapping) else None
    )


def _balanced(arguments: Mapping[str, Any], splits: Splits, say: Callable[[str], None]) -> Task:
    """The task with weights by the counts of pixels in the training masks."""
    labels = arguments["labels"]
    counts = pixel_counts(splits.train.targets, len(labels))
    occurring = counts > 0
    weights = np.where(occurring, counts.sum() / np.maximum(1, occurring.sum() * counts), 0.0)
    table = {label: round(float(weight), 4) for label, weight in zip(labels, weights, strict=True)}
    say("class weights: " + ", ".join(f"{label} {weight:.3g}" for label, weight in table.items()))
    return segment(**{**arguments, "class_weights": table})


def pixel_counts(targets: Column, labels: int) -> np.ndarray:
    """Pixels of each label, int64 (labels,), in at most COUNTED masks, evenly spread."""
    rows = np.unique(np.linspace(0, len(targets) - 1, min(len(targets), COUNTED)).astype(np.int64))
    counts = np.zeros(VOID + 1, np.int64)
    for row in rows.tolist():
        counts += np.bincount(np.asarray(targets[row]).reshape(-1), minlength=VOID + 1)[: VOID + 1]
    return counts[:labels]


# -- checks


def _check_arguments(
    labels: tuple[str, ...],
    strides: tuple[int, ...],
    width: int,
    dice: float,
    class_weights: str | Mapping[str, float] | None,
) -> None:
    unknown = sorted(set(class_weights) - set(labels)) if isinstance(class_weights, Mapping) else []
    weights = list(class_weights.values()) if isinstance(class_weights, Mapping) else []
    checks = {
        "labels": (2 <= len(labels) < VOID and len(set(labels)) == len(labels), "be 2 to 254 different names", labels),
        "strides": (strides and min(strides) >= 1 and len(set(strides)) == len(strides), "be different", strides),
        "width": (width >= 1, "be 1 or more", width),
        "dice": (0 <= dice < float("inf"), "be 0 or more", dice),
        "class_weights": (
            class_weights is None or class_weights == "balanced" or isinstance(class_weights, Mapping),
            'be None, "balanced" or a mapping',
            class_weights,
        ),
    }  # fmt: skip
    check_rules(checks, of="segment")
    if unknown or any(not 0 <= weight < float("inf") for weight in weights):
        raise InputError(
            f"`class_weights` must be 0 or more for each label of the task. Received: {unknown or class_weights!r}."
        )


def _check(labels: tuple[str, ...], splits: Splits) -> None:
    check_labels(labels, splits, "segment")
    check_training(splits)
    for name, examples in named_splits(splits):
        spec = examples.targets.spec
        fine = isinstance(spec, ArraySpec) and len(spec.shape) == 2 and np.dtype(spec.dtype).kind in "iu"
        if len(examples) and not fine:
            raise InputError(
                f"The {name} targets must be masks (height, width) of whole numbers, as `tlkit.data.masks` makes them. "
                f"Received: {spec}."
            )
        largest = int(max((_largest(examples.targets[row]) for row in _some(len(examples))), default=0))
        if largest >= len(labels):
            raise InputError(
                f"A {name} mask has the number {largest}, and the task {len(labels)} labels from 0 (255 is no label): "
                f"name it, or read the masks with `labels=`. Received: {', '.join(labels)}."
            )
    check_moving(splits.train, "masks")


def _some(count: int) -> list[int]:
    """At most LOOKED_AT positions, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64)).tolist() if count else []


def _largest(mask: np.ndarray) -> int:
    numbers = mask[mask != VOID]
    return int(numbers.max()) if numbers.size else 0
