"""Objects with named points, from COCO JSON, as `Splits`: each example is one object, cut out of its image.

Targets have one form: float32 (points, 3), x and y in shares of the cut-out's width and height, and COCO's visibility:
2 seen, 1 hidden, 0 not labelled (x and y are then 0, and count for nothing). Objects of one image are in one part.

An object is quarantined by name where its points cannot be right: another count of numbers, outside the image, a
visibility that there is not. Crowds and objects without a labelled point are no examples, which a note says.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Quarantined, Splits
from tlkit.core.numeric import is_number
from tlkit.data import annotated as reading
from tlkit.data import labelling, pixels
from tlkit.data.annotated import Annotated, Thing, parts_of, size_of
from tlkit.data.augment import MovingAugmentation, moving
from tlkit.data.image import WHITE
from tlkit.data.image_source import Extra, ImageSize, Options, check_file, from_blobs, read_with_white
from tlkit.data.labelling import Labelled
from tlkit.data.listing import noted
from tlkit.data.pixels import MAX_PIXELS, Colour, Depth, checked_white
from tlkit.data.splitting import SHARES, Groups, by_id, group_names

__all__ = ["augmentation", "from_coco", "mirrored"]


def __dir__() -> list[str]:
    return sorted(__all__)


# l_eye, eye_r, L, R1; LEye; eyeR
_LETTERS = re.compile(
    r"(?<![A-Za-z])[lrLR](?![A-Za-z]) | (?<![A-Za-z])[LR](?=[A-Z][a-z]) | (?<=[a-z])[LR](?![A-Za-z])", re.VERBOSE
)
_OTHER_LETTER = {"l": "r", "r": "l", "L": "R", "R": "L"}


def from_coco(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    margin: float = 0.25,
    mirror: Sequence[tuple[str, str]] | None = None,
    image_size: ImageSize | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    background: Colour = WHITE,
    augment: Augmenting | None = None,
    progress: bool = True,
    max_pixels: int = MAX_PIXELS,
    pixel_max: float | None = None,
) -> Splits:
    """COCO JSON whose categories name keypoints; each annotated object is an example.

    Args:
        annotations, images: As in `data.boxes.from_coco`.
        margin: What is cut out around an object's box on each side, as a share of the box's sides, in [0, 10]; at least
            all its points are in it, and never more than the image.
        mirror: Pairs of points that change places in a mirrored copy. None pairs names by "left" and "right", or "l"
            and "r" set apart (l_eye, eyeR); a note says which points stay what they are.
        image_size, seed, strict, background, progress, max_pixels, pixel_max: As in `data.image.from_folder`.
        split: As there, where the source does not say.
        groups: As there, of the names in the JSON; None keeps the objects of an image together.
        augment: `augmentation()`, or that of `data.image`: points move with the image. A function (input, seed) must
            not move anything.

    Raises:
        InputError: If the file is no COCO JSON, names no keypoints, or no object has any; or if copies are mirrored
            and a point's other side has no name.
    """
    if not (is_number(margin) and 0 <= margin <= 10):
        raise InputError(f"`margin` must lie in [0, 10]. Received: margin={margin!r}.")
    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    annotated = reading.coco(annotations, images, progress=progress)
    if not annotated.points:
        raise InputError(f"No category in {str(annotations)!r} has 'keypoints': it names no points.")
    names = labelling.checked_names(annotated.points)
    order = mirrored(names, mirror)
    augment, moving_notes = moving(options.augment, "points", order)
    if isinstance(augment, MovingAugmentation) and augment.flip and augment.mirror == order and mirror is None:
        _check_sides(names, order)
        moving_notes += _unpaired(names, order)
    with ThreadPoolExecutor() as pool:
        looked = list(pool.map(lambda image: _looked_at(image, options), annotated.images))
    chosen = _chosen(annotated.images, looked, len(names), names, margin)
    owners = by_id(options.groups, [image.name for image in annotated.images])
    kept_together = (
        [cut_out.image.name for cut_out in chosen.objects] if owners is None else _owners(owners, chosen.objects)
    )
    options = dataclasses.replace(options, augment=augment, groups=kept_together)
    depths = [image.depth for image in looked if image.depth is not None]
    return noted(_split(chosen, names, options, depths), (*annotated.notes, *chosen.notes, *moving_notes))


def augmentation(
    flip: bool = True, crop: float = 0.2, colour: float = 0.1, shrink: float = 0.0, mirror: Sequence[int] = ()
) -> MovingAugmentation:
    """Changed copies of images whose points move with them; one that falls outside counts as not labelled.

    Args:
        flip: Whether half of the copies are mirrored left to right.
        crop: Largest share of each side that is cut away, in [0, 0.9].
        colour: Largest change of brightness, contrast and saturation, in [0, 0.9].
        shrink: How far beyond the image a copy may reach, as a share of each side, in [0, 3].
        mirror: Which point each is in a mirrored copy; `from_coco` knows it by itself.
    """
    return MovingAugmentation(flip, crop, colour, moves="points", shrink=shrink, mirror=tuple(mirror))


def mirrored(names: Sequence[str], pairs: Sequence[tuple[str, str]] | None = None) -> tuple[int, ...]:
    """Which point each is in a mirrored copy.

    Args:
        names: Of the points.
        pairs: Points that change places; None pairs names by "left" and "right", or "l" and "r" set apart.

    Raises:
        InputError: If a pair names what is no point, or two pairs one point.

    Example:
        >>> mirrored(["nose", "left_eye", "right_eye"]), mirrored(["LKnee", "RKnee"])
        ((0, 2, 1), (1, 0))
    """
    swaps = [swap for a, b in pairs or () for swap in ((a, b), (b, a))]
    mirror_of = dict(swaps)
    unknown = sorted(set(mirror_of) - set(names))
    if unknown:
        raise InputError(f"`mirror` names {unknown[0]!r}, which is no point: they are {', '.join(names[:20])}.")
    twice = next((a for a, b in swaps if mirror_of[a] != b), None)
    if twice is not None:
        raise InputError(f"`mirror` names {twice!r} in two pairs: a point changes places with one other.")
    if pairs is None:
        mirror_of = {name: swapped for name in names if (swapped := _other_side(name)) in names}
    return tuple(list(names).index(mirror_of.get(name, name)) for name in names)


def _other_side(name: str) -> str:
    """The name with its sides exchanged: the words left and right, or the letters l and r that stand for them."""
    in_words = _other_word(name)
    return in_words if in_words != name else _LETTERS.sub(lambda letter: _OTHER_LETTER[letter[0]], name)


def _other_word(name: str) -> str:
    for a, b in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        if a in name:
            return name.replace(a, b)
        if b in name:
            return name.replace(b, a)
    return name


def _check_sides(names: Sequence[str], order: tuple[int, ...]) -> None:
    alone = [name for name, place in zip(names, order, strict=True) if _other_word(name) != name == names[place]]
    if alone:
        raise InputError(
            f"Copies are mirrored, and the point {alone[0]!r} has no {_other_word(alone[0])!r}: pass `mirror`, or "
            "augmentation(flip=False)."
        )


def _unpaired(names: Sequence[str], order: tuple[int, ...]) -> tuple[str, ...]:
    """A note on points that a mirrored copy does not exchange: names in another language have sides, too."""
    alone = [name for i, name in enumerate(names) if order[i] == i]
    if not alone or len(names) < 2:
        return ()
    shown = ", ".join(map(repr, alone[:5])) + (f" and {len(alone) - 5} more" if len(alone) > 5 else "")
    return (
        f"In mirrored copies these points stay what they are: {shown}. If one lies on a side, name the pairs, "
        "mirror=[(left, right), ...], or pass augmentation(flip=False).",
    )


# -- objects


@dataclass(frozen=True, eq=False)
class _Object:
    """An example: an annotated object, what is cut out, in pixels, and its points in shares of that."""

    name: str
    image: Annotated
    box: tuple[int, int, int, int]
    points: np.ndarray


@dataclass(frozen=True)
class _Chosen:
    """Objects that are examples, those that cannot be, and notes."""

    objects: tuple[_Object, ...]
    quarantine: tuple[Quarantined, ...]
    notes: tuple[str, ...]


class _Looked(NamedTuple):
    """(width, height) of an image upright, why it cannot be used, and the bits of its pixels."""

    size: tuple[int, int] | None
    trouble: str
    depth: Depth | None


def _looked_at(image: Annotated, options: Options) -> _Looked:
    size, trouble = size_of(image)
    checked = check_file(image.path, options.background, options.max_pixels, options.pixel_max)
    reason = image.trouble or trouble or checked.reason or ("it is no image" if checked.ignored else "")
    return _Looked(size, reason, checked.depth)


def _chosen(
    images: Sequence[Annotated], looked: Sequence[_Looked], count: int, names: Sequence[str], margin: float
) -> _Chosen:
    objects, quarantine, left_out = list[_Object](), list[Quarantined](), Counter[str]()
    for image, (size, trouble, _) in zip(images, looked, strict=True):
        if trouble or size is None:
            quarantine.append(Quarantined(image.name, trouble or "it cannot be read"))
            continue
        for number, thing in enumerate(image.things, start=1):
            name = image.name if len(image.things) == 1 else f"{image.name}#{number}"
            problem, points = _points_of(thing, size, count, names)
            if problem:
                quarantine.append(Quarantined(name, problem))
            elif thing.ignored or not (points[:, 2] > 0).any():
                left_out["are crowds" if thing.ignored else "have no labelled point"] += 1
            else:
                objects.append(_cut_out(name, image, thing, points, size, margin))
    notes = tuple(f"{number:,} objects {reason} and are no examples." for reason, number in left_out.items())
    if not objects:
        raise InputError(
            f"No object has a labelled point, of {sum(len(annotated.things) for annotated in images)} in the JSON."
        )
    return _Chosen(tuple(objects), tuple(quarantine), notes)


def _points_of(thing: Thing, size: tuple[int, int], count: int, names: Sequence[str]) -> tuple[str, np.ndarray]:
    """(what is wrong, float64 (points, 3) in pixels)."""
    none = np.zeros((count, 3))
    if not thing.points or thing.ignored:
        return thing.trouble, none
    if len(thing.points) != 3 * count:
        return f"has {len(thing.points)} numbers for {count} points: x, y and visibility of each are expected", none
    points = np.array(thing.points, np.float64).reshape(count, 3)
    if not np.isfinite(points).all():
        return "has points that are no numbers", none
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        return f"has the visibility {points[~np.isin(points[:, 2], (0, 1, 2)), 2][0]:g}: 0, 1 and 2 are known", none
    points[points[:, 2] == 0] = 0
    outside = (points[:, :2] < 0).any(axis=1) | (points[:, :2] > np.array(size)).any(axis=1)
    if outside.any():
        point = int(np.flatnonzero(outside)[0])
        x, y = points[point, :2]
        return f"has its {names[point]!r} outside the image, at x {x:g}, y {y:g}", none
    if (points[:, 2] > 0).any() and points[:, :2].max() <= 1 and min(size) > 4:
        return "has points in 0 to 1, and COCO counts pixels", none
    return "", points


def _cut_out(
    name: str, image: Annotated, thing: Thing, points: np.ndarray, size: tuple[int, int], margin: float
) -> _Object:
    labelled = points[points[:, 2] > 0, :2]
    low, high = labelled.min(axis=0), labelled.max(axis=0)
    if len(thing.numbers) == 4 and np.isfinite(thing.numbers).all() and min(thing.numbers[2:]) > 0:
        corner, sides = np.array(thing.numbers[:2]), np.array(thing.numbers[2:])
    else:
        corner, sides = low, high - low
    first = np.minimum(corner - margin * sides, low)
    last = np.maximum(corner + (1 + margin) * sides, high)
    first = np.clip(np.floor(first), 0, np.array(size) - 1).astype(int)
    last = np.maximum(np.clip(np.ceil(last), 1, size).astype(int), first + 1)
    shares = np.concatenate([(points[:, :2] - first) / (last - first), points[:, 2:]], axis=1)
    shares[points[:, 2] == 0] = 0
    return _Object(name, image, (int(first[0]), int(first[1]), int(last[0]), int(last[1])), shares.astype(np.float32))


@dataclass(frozen=True)
class CutOuts:
    """Reads parts of image files, by position."""

    paths: tuple[Path, ...]
    boxes: tuple[tuple[int, int, int, int], ...]
    background: Colour
    white: float | None
    windows: bool

    def __call__(self, i: int) -> np.ndarray:
        """uint8 (H, W, 3): left, top, right and bottom of box i of its file."""
        image = pixels.decode(self.paths[i].read_bytes(), self.background, self.white, self.windows)
        return np.asarray(image.crop(self.boxes[i]))


def _owners(groups: Groups, objects: Sequence[_Object]) -> list[str]:
    return list(group_names(groups, [cut_out.image.name for cut_out in objects]))


def _split(chosen: _Chosen, names: tuple[str, ...], options: Options, depths: Sequence[Depth]) -> Splits:
    objects, measured = chosen.objects, options.pixel_max is None
    white, note = pixels.whitest(depths) if measured else (checked_white(options.pixel_max), "")
    targets = np.stack([cut_out.points for cut_out in objects])
    labelled = Labelled((targets[..., 2] > 0).astype(np.float32), names, "multi-label")
    source = CutOuts(
        tuple(cut_out.image.path for cut_out in objects), tuple(cut_out.box for cut_out in objects), options.background,
        white, measured,
    )  # fmt: skip
    fixed, part_notes = parts_of([cut_out.image.part for cut_out in objects])
    byte_options = dataclasses.replace(options, pixel_max=255.0)  # cut-outs are bytes
    splits = from_blobs(
        [cut_out.name for cut_out in objects], source, labelled, fixed=fixed, options=byte_options,
        quarantine=chosen.quarantine, extra=Extra(ArrayColumn(targets)),
    )  # fmt: skip
    splits = read_with_white(splits, white, windows=measured and white is not None)
    return noted(splits, (*part_notes, *([note] if note else []), *_unlearnable(splits)))


def _unlearnable(splits: Splits) -> Iterator[str]:
    """Notes on points that no object for training has."""
    labelled = np.any(splits.train.target_array[..., 2] > 0, axis=0)
    for name in (name for i, name in enumerate(splits.labels) if not labelled[i]):
        yield f"No object for training has its {name!r} labelled: it will not be learned."
