"""Detection: any number of labelled objects per image, on feature maps of any image module."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.boxes import boxes
from tlkit.core.checks import check_rules
from tlkit.core.columns import ArrayColumn, RaggedColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.task import Objective, Task
from tlkit.data.augment import check_moving
from tlkit.layer import reads
from tlkit.tasks import recording
from tlkit.tasks.detection_scores import DetectionScorer
from tlkit.tasks.split_checks import check_labels, check_training, named_splits

if TYPE_CHECKING:
    import keras

LOOKED_AT = 2000  # images of each split whose boxes are read before training, where each has to be read from disk
UNSURE = -math.log(0.99 / 0.01)  # logit at each place before anything is learned: nearly all are background


def detect(
    labels: Sequence[str],
    strides: Sequence[int] = (8, 16, 32),
    width: int = 64,
    *,
    depth: int = 2,
    overlap: float = 0.6,
    head: str = "one_stage",
    tap: str = "last",
) -> Task:
    """Find objects: which label each has, and the box around it.

    An anchor-free head on a light pyramid of the module's feature maps: each place says which label the box around it
    has and how far the box reaches. Targets are rows (label, left, top, right, bottom) in shares of the sides, any
    number of them per image; `tlkit.data.boxes` makes them.

    Args:
        labels: Name of each label, in the order of the targets' numbers.
        strides: Pixels of the image per place of the feature maps. A map answers for boxes whose farthest side is up to
            8 of its places away, the coarsest for all larger ones, and training begins with how many that is for each;
            the coarsest map is often the widest, and half of what is cached.
        width: Channels of the head.
        depth: Convolutions of the head behind the pyramid, >= 1; maps share them.
        overlap: Intersection over union from which of two boxes of one label the better one is kept, in (0, 1).
        head: "one_stage"; "two_stage", where a box head looks at the surest 32 boxes again (RoIAlign on the pyramid,
            Faster R-CNN's second stage); or "module" for one that is a detector already, such as "zoo:centernet-coco":
            its neck, its box branch and its logits are kept, and the head learns what to add. Labels that it has begin
            with its logits of the same name (in small letters), new ones from nothing; `strides` are the module's.
        tap: Which of the maps at a stride: "last", or "narrow", the last of half as many channels as the widest has,
            where there is one, as `reads.maps` has it: it costs less to keep and to train on.

    Returns:
        A task for image modules that are convolutions. It gives "boxes" (top, left, bottom, right), "classes",
        "scores" and "count", as `answers.boxes` says.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> detect(["cat", "dog"]).reads.name
        'maps(8, 16, 32)'

    Source: Tian et al. 2019, arXiv:1904.01355 (FCOS, without its centerness); Lin et al. 2017, arXiv:1612.03144
    (feature pyramid).
    """
    names, finest = tuple(str(label) for label in labels), tuple(sorted(int(stride) for stride in strides))
    width, depth, overlap = int(width), int(depth), float(overlap)
    _check_arguments(names, finest, width, depth, overlap, head)
    check_rules({"tap": (tap in reads.TAPS, f"be one of {', '.join(reads.TAPS)}", tap)}, of="detect")
    arguments: dict[str, Any] = {
        "labels": names, "strides": finest, "width": width, "depth": depth, "overlap": overlap, "head": head,
        "tap": tap,
    }  # fmt: skip
    return Task(
        name="detect",
        made_by=recording.record("tlkit.tasks.detect", arguments),
        reads=reads.detector() if head == "module" else reads.maps(*finest, tap=tap),
        head=functools.partial(HEADS[head], labels=names, width=width, depth=depth),
        objective=Objective(loss=_two_losses if head == "two_stage" else _loss, check=functools.partial(_check, names)),
        answers=(boxes(names, overlap),),
        scorer=functools.partial(DetectionScorer, names),
        begin=None if head == "module" else functools.partial(_sized, functools.partial(detect, **arguments), finest),
    )


def _sized(remade: Callable[[], Task], strides: tuple[int, ...], splits: Splits, say: Callable[[str], None]) -> Task:
    """The task as it is; how large the training boxes are, and which maps answer for them, is said."""
    from tlkit.tasks.detection_losses import REACH

    spec = splits.train.inputs.spec
    shape = spec.shape if isinstance(spec, ArraySpec) else (None, None)  # feature maps are no images
    chosen = _looked_at(splits.train)
    rows = np.concatenate([np.zeros((0, 5)), *(np.asarray(splits.train.targets[i], np.float64) for i in chosen)])
    rows = rows[rows[:, 0] >= 0]
    source = "" if len(chosen) == len(splits.train) else f" in {len(chosen):,} of {len(splits.train):,} images"
    if len(rows) and None not in shape[:2]:
        longer = ((rows[:, 3:5] - rows[:, 1:3]) * [shape[1], shape[0]]).max(axis=1)
        ends = np.append(REACH * np.array(strides[:-1]), np.inf)
        counts = np.bincount(np.searchsorted(ends, longer / 2), minlength=len(strides))
        low, high = np.percentile(longer, [5, 95])
        maps = ", ".join(f"{count:,} at stride {stride}" for stride, count in zip(strides, counts, strict=True))
        sizes = f"{low:.0f} to {high:.0f}" if round(low) < round(high) else f"{low:.0f}"
        say(f"boxes   {len(rows):,}{source}, nine tenths of {sizes} pixels; by the map that answers: {maps}")
        if tiny := int((longer < strides[0]).sum()):
            say(
                f"note: {tiny:,} of the boxes are smaller than a place of the finest map, {strides[0]} pixels: add a "
                f"finer one, `strides={(strides[0] // 2, *strides)}`, or read the images larger, `image_size=`."
            )
    return dataclasses.replace(remade(), begin=None)


def _looked_at(examples: Examples) -> list[int]:
    """Whose boxes are looked at before training: all where they are in memory, else LOOKED_AT, evenly spread."""
    if isinstance(examples.targets, ArrayColumn | RaggedColumn):
        return list(range(len(examples)))
    evenly = np.linspace(0, len(examples) - 1, min(len(examples), LOOKED_AT)).astype(np.int64)
    return [int(index) for index in np.unique(evenly)]


def _two_stages(maps: Mapping[int, Any], labels: tuple[str, ...], width: int, depth: int) -> dict[str, Any]:
    """Raw outputs of both stages."""
    from keras import initializers, layers

    from tlkit.tasks.detection_regions import Moved, Regions

    sides = _sides(maps, width)
    raw = _branches(sides, labels, width, depth)
    inputs = {**raw, **{f"map_{stride}": side for stride, side in sides.items()}}
    regions, x = Regions(dtype="float32", name="head_regions")(inputs)
    for number in range(2):
        x = layers.Dense(2 * width, activation="relu", name=f"head_region_dense_{number}")(x)
    sure = initializers.Constant(UNSURE / 2)  # of 32 regions more are objects than of all places
    logits = layers.Dense(len(labels), bias_initializer=sure, dtype="float32", name="head_region_labels")(x)
    moves = layers.Dense(4, kernel_initializer="zeros", dtype="float32", name="head_region_moves")(x)
    boxes = Moved(dtype="float32", name="head_region_boxes")([regions, moves])
    return {**raw, "regions": regions, "region_labels": logits, "region_boxes": boxes}


def _added(module_outputs: Mapping[str, Any], labels: tuple[str, ...], width: int, depth: int) -> dict[str, Any]:
    """What a detector says, its labels by their names, with what is learned besides; the latter begins with nothing."""
    from keras import initializers, layers

    matched = np.array(named_alike(labels, module_outputs["names"]))
    kernel = (matched[None] == np.arange(len(module_outputs["names"]))[:, None]).astype(np.float32)
    doubt = np.where(matched < 0, UNSURE, 0.0).astype(np.float32)
    label_conv = layers.Conv2D(
        len(labels), 1, kernel_initializer=initializers.Constant(kernel), bias_initializer=initializers.Constant(doubt),
        dtype="float32", name="head_named_alike",
    )  # fmt: skip
    raw = _pyramid(module_outputs["neck"], labels, width, depth, beside=True)
    for stride in module_outputs["neck"]:
        sides = {"labels": label_conv(module_outputs["labels"][stride]), "reach": module_outputs["reach"][stride]}
        for kind, side in sides.items():
            raw[f"{kind}_{stride}"] = layers.Add(dtype="float32", name=f"head_added_{kind}_{stride}")(
                [raw[f"{kind}_{stride}"], side]
            )
    return raw


def named_alike(labels: Sequence[str], others: Sequence[str]) -> list[int]:
    """Which of the others each label is, whatever its capitals and the spaces in it; -1 for none.

    Example:
        >>> named_alike(["Dog", "coffee_cup", "yak"], ["dog", "Coffee cup"])
        [0, 1, -1]
    """
    plain = [_plain(name) for name in others]
    return [plain.index(_plain(label)) if _plain(label) in plain else -1 for label in labels]


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _pyramid(
    maps: Mapping[int, Any], labels: tuple[str, ...], width: int, depth: int, *, beside: bool = False
) -> dict[str, Any]:
    """Raw outputs of each map, as `answers.boxes` reads them; `beside` others they begin as 0."""
    return _branches(_sides(maps, width), labels, width, depth, beside=beside)


def _branches(
    sides: Mapping[int, Any], labels: tuple[str, ...], width: int, depth: int, *, beside: bool = False
) -> dict[str, Any]:
    from keras import initializers, layers

    towers = [
        layers.SeparableConv2D(width, 3, padding="same", use_bias=False, name=f"head_tower_{i}") for i in range(depth)
    ]
    sure = initializers.Constant(0.0 if beside else UNSURE)
    small = initializers.Zeros() if beside else initializers.RandomNormal(stddev=0.01)
    reach_bias = initializers.Constant(0.0 if beside else 1.0)
    label_conv = layers.Conv2D(
        len(labels),
        3,
        padding="same",
        kernel_initializer=small,
        bias_initializer=sure,
        dtype="float32",
        name="head_labels",
    )
    reach = layers.Conv2D(
        4, 3, padding="same", kernel_initializer=small, bias_initializer=reach_bias, dtype="float32", name="head_reach"
    )
    raw: dict[str, Any] = {}
    for stride, side in sides.items():
        x = side
        for number, tower in enumerate(towers):
            x = _normalized(tower(x), f"head_tower_{number}_{stride}")
        raw |= {f"labels_{stride}": label_conv(x), f"reach_{stride}": reach(x)}
    return raw


def _sides(maps: Mapping[int, Any], width: int) -> dict[int, Any]:
    """Each map with what the coarser ones say, at `width` channels, the finest first."""
    from keras import layers

    x, sides = None, {}
    for stride in sorted(maps, reverse=True):
        side = layers.Conv2D(width, 1, use_bias=False, name=f"head_side_{stride}")(maps[stride])
        side = layers.BatchNormalization(momentum=0.9, dtype="float32", name=f"head_side_{stride}_norm")(side)
        if x is not None:
            side = layers.Add(name=f"head_add_{stride}")([side, _enlarged(x, side, stride)])
        x = side
        smooth = layers.SeparableConv2D(width, 3, padding="same", use_bias=False, name=f"head_smooth_{stride}")(side)
        sides[stride] = _normalized(smooth, f"head_smooth_{stride}")
    return dict(sorted(sides.items()))


def _normalized(x: Any, name: str) -> Any:
    from keras import layers

    x = layers.BatchNormalization(momentum=0.9, dtype="float32", name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _enlarged(x: Any, like: Any, stride: int) -> Any:
    """The coarser map at the size of the finer one, by its nearest places."""
    from keras import layers

    return layers.Resizing(*like.shape[1:3], interpolation="nearest", name=f"head_up_{stride}")(x)


def _loss() -> keras.losses.Loss:
    from tlkit.tasks.detection_losses import FocalAndGIoU

    return FocalAndGIoU()


def _two_losses() -> keras.losses.Loss:
    from tlkit.tasks.detection_regions import TwoStages

    return TwoStages()


HEADS: Mapping[str, Callable[..., dict[str, Any]]] = {"one_stage": _pyramid, "two_stage": _two_stages, "module": _added}


# -- checks


def _check_arguments(
    labels: tuple[str, ...], strides: tuple[int, ...], width: int, depth: int, overlap: float, head: str
) -> None:
    checks = {
        "labels": (bool(labels) and len(set(labels)) == len(labels), "be different names", labels),
        "strides": (strides and min(strides) >= 1 and len(set(strides)) == len(strides), "be different", strides),
        "width": (width >= 1, "be 1 or more", width),
        "depth": (depth >= 1, "be 1 or more", depth),
        "overlap": (0 < overlap < 1, "lie in (0, 1)", overlap),
        "head": (head in HEADS, f"be one of {', '.join(HEADS)}", head),
    }
    check_rules(checks, of="detect")


def _check(labels: tuple[str, ...], splits: Splits) -> None:
    check_labels(labels, splits, "detect")
    check_training(splits)
    for name, examples in named_splits(splits):
        spec = examples.targets.spec
        if len(examples) and not (isinstance(spec, ArraySpec) and len(spec.shape) == 2 and spec.shape[1] == 5):
            raise InputError(
                f"The {name} targets must be rows of 5 per image: label, left, top, right, bottom, as "
                f"`tlkit.data.boxes` makes them. Received: {spec}."
            )
        _check_rows(name, examples, len(labels))
    if not any(len(splits.train.targets[i]) for i in range(len(splits.train))):
        raise InputError("No training image has an object: there is nothing to learn.")
    check_moving(splits.train, "boxes")


def _check_rows(name: str, examples: Examples, labels: int) -> None:
    for index in _looked_at(examples) if len(examples) else ():
        rows = examples.targets[index]
        rows = rows[rows[:, 0] >= 0]
        if not len(rows):
            continue
        if rows[:, 0].max() >= labels:
            raise InputError(
                f"`{examples.ids[index]}` of the {name} split has the label {int(rows[:, 0].max())}, and the task "
                f"{labels} labels from 0."
            )
        sides = rows[:, 1:]
        if not ((sides >= 0) & (sides <= 1)).all() or not (sides[:, :2] < sides[:, 2:]).all():
            raise InputError(
                f"`{examples.ids[index]}` of the {name} split has a box that is no left, top, right, bottom in shares "
                f"of the sides: {sides[0].tolist()}. `tlkit.data.boxes` makes them of pixels."
            )
