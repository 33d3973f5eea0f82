"""Images with a class for each pixel, from mask files, COCO polygons and run lengths, arrays and TFDS, as `Splits`.

Targets have one form, wherever they come from: uint8 (H, W) class numbers, of the size at which the image is read, and
255 (`VOID`) where nothing is known. Masks are read when they are asked for, and resized to the nearest pixel.

What a mask's values mean is said by `labels` and never guessed: names in the order of the numbers 0, 1, ..., or a
table from values, or from colours (red, green, blue), to names. An image is quarantined by name where its mask has a
value that is not in the table, or another shape, or is a JPEG, whose values are not exact.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkit.core.columns import FileColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Augmenting, Column, Splits
from tlkit.core.files import sha256_bytes
from tlkit.data import annotated as reading
from tlkit.data import dicom, labelling, pixels, walking
from tlkit.data.annotated import Annotated, part_of, parts_of
from tlkit.data.augment import VOID, MovingAugmentation, moving
from tlkit.data.image import WHITE
from tlkit.data.image_source import Extra, ImageSize, Options, checked_arrays, from_blobs, from_files
from tlkit.data.labelling import Labelled
from tlkit.data.listing import checked_folder, escaped, noted
from tlkit.data.mosaic import mosaic
from tlkit.data.pixels import MAX_PIXELS, Colour, checked_white, sides, white_of_files
from tlkit.data.sourcing import file_trouble
from tlkit.data.splitting import PARTS, SHARES, Groups, by_id

__all__ = ["VOID", "augmentation", "from_arrays", "from_coco", "from_folder", "from_tfds", "mosaic"]


def __dir__() -> list[str]:
    return sorted(__all__)


BACKGROUND = "background"  # class 0 where objects are drawn
Labels = Sequence[str] | Mapping[Any, str]
ENDINGS = ("_mask", "-mask", "_masks", "_label", "_labels", "_gt", "_seg", "_segmentation", "_L", "_color_mask")


def from_folder(
    images: str | os.PathLike[str],
    masks: str | os.PathLike[str],
    *,
    labels: Labels,
    void: int | Colour | None = VOID,
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
    """A folder of images and one of masks of the same names: palette, grey, RGB or DICOM files.

    Masks may have another ending, and "_mask", "_label", "_gt" and the like behind the name. Train, valid and test
    folders in both are kept as parts. Images without a mask are no examples, which a note says.

    Args:
        images: Folder of the images.
        masks: Folder of the masks: a number or a colour for each pixel. Of a palette the numbers are taken, or its
            colours where `labels` has colours.
        labels: Names of the classes in the order of their numbers, from 0; or a table from value, or (red, green,
            blue), to name: {0: "ground", 255: "cell"}. Values of one name are one class.
        void: Value, or colour, of pixels that count for nothing; None where there is none. A value in `labels` is none.
        image_size: As in `data.image.from_folder`; masks get the same size.
        split: As there, where no folders say so.
        seed: As there. Images are divided by the classes that are in them.
        groups: As there, of the image's path below `images`.
        strict, background, progress, max_pixels, pixel_max: As in `data.image.from_folder`.
        augment: `augmentation()`, or that of `data.image`: masks move with the image. A function (input, seed) must not
            move anything.

    Raises:
        InputError: If a folder holds no images, no image has a mask, or what the values mean is not clear.
    """
    table = value_table(labels, void)
    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    pairs, notes = _pairs(
        checked_folder(images, "the images", progress=progress), checked_folder(masks, "the masks", progress=progress)
    )
    reader = MaskFile(table, options.reader(lambda i: b"").image_size)
    present = np.zeros((len(pairs), len(table.names)), np.float32)
    shapes: set[bool] = set()

    def check(i: int) -> str:
        return _file_trouble(pairs[i], reader, present[i], shapes)

    splits = _assembled(pairs, FileColumn([pair.mask for pair in pairs], reader), present, table, check, options)
    several = ("Some masks are smaller or larger than their images, in the same shape, and are resized.",)
    return noted(splits, (*notes, *(several if shapes else ())))


def from_coco(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
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
    """COCO JSON with polygons or run lengths: class 0 is "background", the others are the categories in order.

    Where objects lie over each other the smaller one is on top. Crowds are void.

    Args:
        annotations, images: As in `data.boxes.from_coco`.
        image_size, split, seed, strict, background, augment, progress, max_pixels, pixel_max: As in `from_folder`.
        groups: As there, of the names in the JSON.

    Raises:
        InputError: If the file is no COCO JSON, or has no areas.
    """
    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    annotated = reading.coco(annotations, images, progress=progress)
    if not any(thing.area for image in annotated.images for thing in image.things):
        raise InputError(f"{str(annotations)!r} has no 'segmentation': of boxes alone make data.boxes.from_coco.")
    names = (BACKGROUND, *annotated.labels)
    if BACKGROUND in annotated.labels:
        raise InputError("A category is called 'background', as is what no object covers: rename one.")
    table = value_table(names, VOID)
    pairs = tuple(_Pair(image.name, image.path, image.path, image.part, image.trouble) for image in annotated.images)
    drawn = Drawn(annotated.images, {name: i for i, name in enumerate(names)}, options.reader(lambda i: b"").image_size)
    present = np.zeros((len(pairs), len(names)), np.float32)
    digests = tuple(sha256_bytes(repr((names, image.things, image.size))) for image in annotated.images)
    column = ReadColumn(drawn, ArraySpec(drawn.image_size or (None, None), "uint8"), digests)

    def check(i: int) -> str:
        return _drawing_trouble(drawn, i, present[i])

    return noted(_assembled(pairs, column, present, table, check, options), annotated.notes)


def from_arrays(
    images: Any,
    masks: Sequence[Any],
    *,
    labels: Labels,
    void: int | None = VOID,
    image_size: ImageSize | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    background: Colour = WHITE,
    augment: Augmenting | None = None,
    pixel_max: float | None = None,
) -> Splits:
    """Images and masks in memory.

    Args:
        images, groups, background, pixel_max: As in `data.image.from_arrays`.
        masks: Of each image whole numbers (H, W), or (H, W, 3) colours.
        labels, void, image_size, split, seed, augment: As in `from_folder`.

    Raises:
        InputError: If lengths differ, or an array is no image or no mask.
    """
    white, table = checked_white(pixel_max), value_table(labels, void)
    arrays = list(checked_arrays(images, white))
    if len(arrays) != len(masks):
        raise InputError(f"There are {len(arrays)} images and {len(masks)} masks.")
    options = Options(image_size, split, seed, groups, background, augment, pixel_max=white_of_files(white))
    ids = [str(i) for i in range(len(arrays))]
    shapes = [array.shape[:2] for array in arrays]
    return of_sources(ids, arrays.__getitem__, list(masks).__getitem__, table, options, (), shapes)


def from_tfds(
    builder: Any,
    *,
    labels: Labels,
    image: str = "image",
    mask: str = "segmentation_mask",
    void: int | None = VOID,
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
    """A TensorFlow Datasets builder whose masks are images of one channel, such as "oxford_iiit_pet".

    Args:
        builder: As in `data.image.from_tfds`.
        labels: As in `from_folder`: {1: "pet", 2: "background", 3: "border"}.
        image: Feature that holds the image.
        mask: Feature that holds the mask, an Image.
        void, image_size, split, seed, strict, background, augment, progress, max_pixels, pixel_max: As in
            `from_folder`.
        groups: As there, of ids such as "train/17".

    Raises:
        InputError: If there is no such builder or feature.
    """
    from tlkit.data.tfds_source import open_masks

    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    source = open_masks(builder, image, mask)
    splits = of_sources(source.ids, source.read, source.mask, value_table(labels, void), options, source.parts)
    return noted(splits, source.notes)


def augmentation(
    flip: bool = True, crop: float = 0.3, colour: float = 0.1, rotate: float = 0.0, shrink: float = 0.0
) -> MovingAugmentation:
    """Changed copies of images whose masks move with them.

    Args:
        flip: Whether half of the copies are mirrored left to right.
        crop: Largest share of each side that is cut away, in [0, 0.9].
        colour: Largest change of brightness, contrast and saturation, in [0, 0.9].
        rotate: Largest angle in degrees, in [0, 45].
        shrink: How far beyond the image a copy may reach, as a share of each side, in [0, 3]; there it is void.

    Example:
        >>> augment = augmentation(colour=0)
        >>> augment.targets(np.ones((4, 6), np.uint8), augment.draw(seed=0)).shape
        (4, 6)
    """
    return MovingAugmentation(flip, crop, colour, rotate, moves="mask", shrink=shrink)


# -- what values mean


@dataclass(frozen=True)
class Table:
    """From the values of masks to class numbers.

    Attributes:
        names: Of the classes.
        numbers: (value, class number) of each value; colours are red * 65536 + green * 256 + blue.
        coloured: Whether values are colours.
        void: Value of pixels that count for nothing; None where there is none.
    """

    names: tuple[str, ...]
    numbers: tuple[tuple[int, int], ...]
    coloured: bool
    void: int | None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """uint8 (H, W) class numbers.

        Args:
            values: Whole numbers (H, W), or colours uint8 (H, W, 3).

        Raises:
            InputError: If one is no value of the table.
        """
        flat = self._flat(values)
        numbering = np.array([*self.numbers, *(() if self.void is None else ((self.void, VOID),))], np.int64)
        if (highest := int(numbering[:, 0].max())) < 1 << 16:
            table = np.full(highest + 2, -1, np.int16)  # the last is what no value is
            table[numbering[:, 0]] = numbering[:, 1]
            class_numbers = table[np.clip(flat, -1, highest + 1)]
        else:
            numbering = numbering[np.argsort(numbering[:, 0])]
            place = np.minimum(np.searchsorted(numbering[:, 0], flat), len(numbering) - 1)
            class_numbers = np.where(numbering[place, 0] == flat, numbering[place, 1], -1)
        strange = flat[class_numbers < 0]
        if strange.size:
            shown = self._shown(int(strange[0]))
            raise InputError(f"its mask holds {shown} in {strange.size:,} pixels, which is neither a label nor void")
        numbers: np.ndarray = class_numbers.astype(np.uint8)
        return numbers

    def _flat(self, values: np.ndarray) -> np.ndarray:
        if values.ndim == 3 and values.shape[-1] == 1:
            values = values[..., 0]
        if values.ndim == 3 and values.shape[-1] in (3, 4):
            return self._of_colours(values)
        if values.ndim != 2 or values.dtype.kind not in "biuf":
            raise InputError(f"its mask must be (H, W) numbers or (H, W, 3) colours, not {values.dtype} {values.shape}")
        if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise InputError("its mask holds numbers that are not whole: class numbers are")
        if self.coloured:
            raise InputError("its mask has one number a pixel, and `labels` has colours: say {0: name, 1: name}")
        integers: np.ndarray = values.astype(np.int64)
        return integers

    def _of_colours(self, values: np.ndarray) -> np.ndarray:
        deep = values[..., :3].astype(np.int64)
        if self.coloured:
            packed: np.ndarray = deep @ np.array([65536, 256, 1])
            return packed
        if (deep != deep[..., :1]).any():
            raise InputError("its mask is coloured, and `labels` has numbers: say {(128, 0, 0): name, ...}")
        grey: np.ndarray = deep[..., 0]
        return grey

    def _shown(self, value: int) -> str:
        return f"the colour {(value >> 16, value >> 8 & 255, value & 255)}" if self.coloured else f"the value {value}"


def value_table(labels: Labels, void: Any) -> Table:
    """The table that a user's `labels` and `void` say.

    Raises:
        InputError: If they are no names, mix numbers and colours, or are too many for bytes.
    """
    pairs = dict(labels) if isinstance(labels, Mapping) else dict(enumerate(labelling.checked_names(labels)))
    names = tuple(dict.fromkeys(map(str, pairs.values())))
    labelling.checked_names(names)
    coloured = {isinstance(value, Sequence | np.ndarray) for value in pairs}
    if len(coloured) != 1:
        raise InputError("`labels` must name numbers, or colours (red, green, blue), and not both.")
    if not 2 <= len(names) < VOID:
        raise InputError(f"`labels` must name 2 to {VOID - 1} classes; background is one. Received: {len(names)}.")
    is_coloured = coloured.pop()
    numbers = {_value(value, "labels"): names.index(str(name)) for value, name in pairs.items()}
    if is_coloured and isinstance(void, int):
        void = None  # 255 is a number, and these are colours
    empty = None if void is None or _value(void, "void") in numbers else _value(void, "void")
    return Table(names, tuple(sorted(numbers.items())), is_coloured, empty)


def _value(value: Any, name: str) -> int:
    """A number, or a colour as one."""
    parts = list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else [value]
    whole = all(isinstance(part, int | np.integer) and not isinstance(part, bool) and part >= 0 for part in parts)
    if not whole or len(parts) not in (1, 3) or (len(parts) == 3 and max(parts) > 255):
        raise InputError(
            f"`{name}` must have whole numbers, or colours of three from 0 to 255. Received: {value!r:.60}."
        )
    return int(parts[0]) if len(parts) == 1 else int(parts[0]) * 65536 + int(parts[1]) * 256 + int(parts[2])


# -- readers


@dataclass(frozen=True)
class MaskFile:
    """What reads a file of a mask; its `repr` is part of the digests.

    Attributes:
        table: What values mean.
        image_size: (height, width); None keeps the mask's own.
    """

    table: Table
    image_size: tuple[int, int] | None = None

    def __call__(self, path: Path) -> np.ndarray:
        """uint8 (H, W) class numbers."""
        return at_size(self.table(mask_values(path.read_bytes(), self.table.coloured)), self.image_size)

    def at_size(self, size: tuple[int, int]) -> MaskFile:
        """The same at another size."""
        return dataclasses.replace(self, image_size=size)


@dataclass(frozen=True, eq=False)
class MaskArrays:
    """What reads masks of a source: arrays, or encoded bytes."""

    source: Callable[[int], Any]
    table: Table
    image_size: tuple[int, int] | None = None

    def __call__(self, i: int) -> np.ndarray:
        """uint8 (H, W) class numbers of example i."""
        value = self.source(i)
        values = mask_values(value, self.table.coloured) if isinstance(value, bytes) else np.asarray(value)
        return at_size(self.table(values), self.image_size)

    def at_size(self, size: tuple[int, int]) -> MaskArrays:
        """The same at another size."""
        return dataclasses.replace(self, image_size=size)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What draws the areas of annotated images.

    Attributes:
        images: With what is annotated in them.
        numbers: Class number by name.
        image_size: (height, width); None keeps the size of the annotations.
    """

    images: tuple[Annotated, ...]
    numbers: Mapping[str, int]
    image_size: tuple[int, int] | None = None

    def __call__(self, i: int) -> np.ndarray:
        """uint8 (H, W) class numbers of example i."""
        image = self.images[i]
        size = image.size or (sides(image.path) or ((0, 0), (0, 0)))[1]
        areas = [(filled(thing.area, size), thing) for thing in image.things]
        mask = np.zeros(size[::-1], np.uint8)
        for area, thing in sorted(areas, key=lambda pair: -int(pair[0].sum())):  # the smaller one on top
            mask[area] = VOID if thing.ignored else self.numbers[thing.label]
        return at_size(mask, self.image_size)

    def at_size(self, size: tuple[int, int]) -> Drawn:
        """The same at another size."""
        return dataclasses.replace(self, image_size=size)


def at_size(mask: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """A mask at (height, width): each pixel is the one that its centre falls on."""
    if size is None or mask.shape == size:
        return mask
    return np.array(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))


def mask_values(data: bytes, coloured: bool) -> np.ndarray:
    """Numbers (H, W) or colours (H, W, 3) of a mask's file; of a palette its indices, or its colours.

    Raises:
        Exception: Whatever Pillow raises for broken data; InputError for a reason of our own.
    """
    if dicom.is_dicom(data[:132]):
        pixels.check_header(io.BytesIO(data), MAX_PIXELS)
        return dicom.numbers(data, coloured)
    image = pixels.open_header(io.BytesIO(data))
    if image.format in ("JPEG", "JPEG2000", "AVIF"):
        raise InputError(f"its mask is a {image.format} file, whose values are not exact: write PNG")
    pixels.check_size(image, MAX_PIXELS)
    image.load()
    if image.mode in ("P", "PA"):
        return np.asarray(image.convert("RGB") if coloured else image.getchannel(0))
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("LA", "RGBA"):
        if np.asarray(image.getchannel("A")).min() < 255:
            raise InputError("its mask is transparent in places, which is no value: write it without alpha")
        image = image.convert(image.mode[:-1])
    return np.asarray(image)


def filled(area: Any, size: tuple[int, int]) -> np.ndarray:
    """Where an object of COCO's "segmentation" is: bool (height, width).

    Args:
        area: Polygons [[x, y, x, y, ...], ...] in pixels, or run lengths {"size": [height, width], "counts": ...}.
        size: (width, height).

    Raises:
        InputError: If it is neither.
    """
    if isinstance(area, Mapping):
        return _of_runs(area, size)
    mask = np.zeros(size[::-1], bool)
    if not isinstance(area, list) or not area:
        raise InputError("has no area: its 'segmentation' is empty")
    for polygon in area:
        corners = np.array(
            [reading.number(value) for value in polygon] if isinstance(polygon, list) else [], np.float64
        )
        if corners.size < 6 or corners.size % 2 or not np.isfinite(corners).all():
            raise InputError("has a polygon that is not three points or more of two numbers each")
        mask |= _inside(corners.reshape(-1, 2), size)
    return mask


def _inside(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which pixels' centres lie in a polygon, by the even-odd rule."""
    width, height = size
    x0, y0 = corners.T
    x1, y1 = np.roll(corners, -1, axis=0).T
    change = np.zeros((height, width + 1), bool)
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    for i in np.flatnonzero(low < high):
        first, last = max(0, int(np.ceil(low[i] - 0.5))), min(height, int(np.ceil(high[i] - 0.5)))
        rows = np.arange(first, last)
        x = x0[i] + (rows + 0.5 - y0[i]) * (x1[i] - x0[i]) / (y1[i] - y0[i])
        change[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)] ^= True
    inside: np.ndarray = np.logical_xor.accumulate(change, axis=1)[:, :width]
    return inside


def _of_runs(area: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """COCO's run lengths: 0 first, column by column."""
    counts, shape = area.get("counts"), area.get("size")
    if list(shape or []) != [size[1], size[0]]:
        raise InputError(f"has run lengths of an image of {shape} (height, width), and its image is {size[::-1]}")
    runs = _unpacked(counts) if isinstance(counts, str | bytes) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise InputError("has run lengths that cannot be read")
    if sum(runs) != size[0] * size[1]:
        raise InputError(f"has run lengths for {sum(runs):,} pixels, and its image has {size[0] * size[1]:,}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size[0], size[1]).T


def _unpacked(code: str | bytes) -> list[int]:
    """COCO's compressed counts: five bits a character, least first, each count from the third on less that two before.

    Source: rleFrString in the COCO API's maskApi.c.
    """
    text = code.encode() if isinstance(code, str) else code
    counts, value, shift = list[int](), 0, 0
    for character in text:
        chunk = character - 48
        value |= (chunk & 0x1F) << shift
        shift += 5
        if not chunk & 0x20:
            value -= (1 << shift) if chunk & 0x10 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return counts


# -- pairs of files


@dataclass(frozen=True)
class _Pair:
    """An image and where its mask is; `trouble` says why there is none."""

    name: str
    path: Path
    mask: Path
    part: int | None = None
    trouble: str = ""


def _pairs(images: Path, masks: Path) -> tuple[tuple[_Pair, ...], tuple[str, ...]]:
    within = images.samefile(masks)
    image_names, mask_names = image_files(images), image_files(masks)
    mask_of = partners(image_names, mask_names, within)
    pairs = tuple(
        _Pair(escaped(name), images / name, masks / mask_of[name], part_of(name.split("/")[0]) if "/" in name else None)
        for name in image_names
        if name in mask_of
    )
    if not pairs:
        raise InputError(
            f"No image in {str(images)!r} has a mask of its name in {str(masks)!r}: there are {len(image_names)} "
            f"images and {len(mask_names)} masks."
        )
    rest = set(image_names) - set(mask_of) - (set(mask_of.values()) if within else set())
    ends_as_mask = {name for name in rest if within and reading.without_ending(name).endswith(ENDINGS)}
    lonely = ends_as_mask if within else set(mask_names) - set(mask_of.values())
    stems = [(reading.without_ending(mask), reading.without_ending(name)) for name, mask in mask_of.items()]
    behind = {mask.removeprefix(name) for mask, name in stems} - {""}
    notes = _pairing_notes(sorted(rest - ends_as_mask), sorted(map(reading.without_ending, lonely)), behind)
    return pairs, tuple(notes)


def image_files(folder: Path) -> list[str]:
    """Paths of the images below a folder, relative to it, sorted."""
    return [path.relative_to(folder).as_posix() for path in sorted(walking.files(folder)) if reading.is_image(path)]


def partners(images: Sequence[str], masks: Sequence[str], within: bool = False) -> dict[str, str]:
    """The mask of each image that has one, by their paths: of the same name, or with one of ENDINGS behind it.

    A mask of an image's own name is never that of another one.

    Args:
        images: Relative to their folder.
        masks: Relative to theirs.
        within: Whether that is the same folder: what has a mask is then an image, whatever its name ends in.

    Raises:
        InputError: If two masks are one image's, or one is two images'.

    Example:
        >>> partners(["a/hand.jpg", "a/hand_L.jpg"], ["a/hand_mask.png", "a/hand_L.png"])
        {'a/hand.jpg': 'a/hand_mask.png', 'a/hand_L.jpg': 'a/hand_L.png'}
    """
    by_stem = defaultdict[str, list[str]](list)
    for mask in masks:
        by_stem[reading.without_ending(mask)].append(mask)
    stems = {name: reading.without_ending(name) for name in images}
    unmarked = {stem for stem in stems.values() if not within or any(stem + ending in by_stem for ending in ENDINGS)}
    mask_of, image_of = dict[str, str](), dict[str, str]()
    for name, stem in stems.items():
        candidates = [
            *([] if within else [stem]),
            *(stem + ending for ending in ENDINGS if stem + ending not in unmarked),
        ]
        chosen = sorted(next((by_stem[candidate] for candidate in candidates if candidate in by_stem), []))
        if len(chosen) > 1:
            raise InputError(
                f"The masks {chosen[0]!r} and {chosen[1]!r} are both of the image {name!r}: remove one of them."
            )
        if chosen and image_of.setdefault(chosen[0], name) != name:
            raise InputError(
                f"The images {image_of[chosen[0]]!r} and {name!r} share the mask {chosen[0]!r}: rename or remove one "
                "of them."
            )
        if chosen:
            mask_of[name] = chosen[0]
    return mask_of


def _pairing_notes(without: Sequence[str], lonely: Sequence[str], behind: set[str]) -> Iterator[str]:
    if behind:
        yield f"Masks are those of an image's name with {', '.join(map(repr, sorted(behind)))} behind it."
    for names, problem in ((without, "images have no mask and are no examples"), (lonely, "masks belong to no image")):
        if names:
            more = ", ..." if len(names) > 3 else ""
            yield f"{len(names):,} {problem}: {', '.join(map(repr, names[:3]))}{more}."


def _file_trouble(pair: _Pair, reader: MaskFile, present: np.ndarray, shapes: set[bool]) -> str:
    """What is wrong with a mask's file; fills in which classes are there."""
    trouble = file_trouble(pair.mask)
    if trouble:
        return f"its mask {pair.mask.name!r}: {trouble}"
    try:
        mask = reader.table(mask_values(pair.mask.read_bytes(), reader.table.coloured))
    except InputError as error:
        return str(error)
    except Exception as error:  # Pillow's decoders raise anything on broken data
        return f"its mask {pair.mask.name!r}: {pixels.explain(error, b'')}"
    image_sizes, height, width = sides(pair.path), *mask.shape
    if image_sizes is not None and image_sizes[1] != (width, height):
        stored, upright = image_sizes
        if (width, height) == stored:
            return "its mask was drawn before it is turned as its EXIF data say: turn the image, or its mask"
        if abs(width * upright[1] - height * upright[0]) > max(upright):
            return f"its mask has {width} x {height} pixels, and the image {upright[0]} x {upright[1]}"
        shapes.add(True)
    return _seen(mask, present)


def _drawing_trouble(drawn: Drawn, i: int, present: np.ndarray) -> str:
    image = drawn.images[i]
    sizes = sides(image.path)
    if image.trouble or sizes is None:
        return image.trouble
    if image.size is not None and image.size != sizes[1]:
        return f"its annotations are of an image of {image.size[0]} x {image.size[1]} pixels, and it has {sizes[1]}"
    for number, thing in enumerate(image.things, start=1):
        try:
            problem = thing.trouble or ("" if filled(thing.area, image.size or sizes[1]).any() else "covers no pixel")
        except InputError as error:
            problem = str(error)
        if problem:
            return f"its object {number} ({thing.label!r:.60}) {problem}"
    return _seen(dataclasses.replace(drawn, image_size=None)(i), present)


def _seen(mask: np.ndarray, present: np.ndarray) -> str:
    counts = np.bincount(mask.reshape(-1), minlength=VOID + 1)
    present[:] = counts[: len(present)] > 0
    return "" if present.any() else "all of its mask is void"


def of_sources(
    ids: Sequence[str],
    read: Callable[[int], Any],
    mask: Callable[[int], Any],
    table: Table,
    options: Options,
    parts: Sequence[int | None] = (),
    shapes: Sequence[tuple[int, int]] | None = None,
) -> Splits:
    """Splits of images and masks that sources give by position.

    Args:
        ids: A name for each.
        read: Gives images, as encoded bytes or uint8 arrays.
        mask: Gives masks, as encoded bytes or arrays of values.
        table: What values mean.
        options: As all loaders of images have them.
        parts: The part of each, where the source says so.
        shapes: (height, width) of each image, where masks must have the same.
    """
    part_of_each = parts or [None] * len(ids)
    pairs = tuple(_Pair(name, Path(name), Path(name), part) for name, part in zip(ids, part_of_each, strict=True))
    reader = MaskArrays(mask, table, options.reader(lambda i: b"").image_size)
    present = np.zeros((len(ids), len(table.names)), np.float32)
    digests = tuple(sha256_bytes(repr(table), _digest(mask(i))) for i in range(len(ids)))
    column = ReadColumn(reader, ArraySpec(reader.image_size or (None, None), "uint8"), digests)

    def check(i: int) -> str:
        try:
            class_numbers = dataclasses.replace(reader, image_size=None)(i)
        except InputError as error:
            return str(error)
        if shapes is not None and class_numbers.shape != shapes[i]:
            return f"its mask is {class_numbers.shape} (height, width), and the image {shapes[i]}"
        return _seen(class_numbers, present[i])

    return _assembled(pairs, column, present, table, check, options, read)


def _digest(value: Any) -> str:
    if isinstance(value, bytes):
        return sha256_bytes(value)
    array = np.ascontiguousarray(value)
    return sha256_bytes(f"{array.dtype} {array.shape}", array.tobytes())


def _assembled(
    pairs: Sequence[_Pair],
    column: Column,
    present: np.ndarray,
    table: Table,
    check: Callable[[int], str],
    options: Options,
    read: Callable[[int], Any] | None = None,
) -> Splits:
    """Splits of pairs, divided by the classes in their masks, which `check` fills in."""
    augment, moving_notes = moving(options.augment, "mask")
    names = [pair.name for pair in pairs]
    options = dataclasses.replace(options, augment=augment, groups=by_id(options.groups, names))
    labelled = Labelled(present, table.names, "multi-label")
    fixed, part_notes = parts_of([pair.part for pair in pairs])
    extra = Extra(column, check=check)
    if read is None:
        splits = from_files(names, [pair.path for pair in pairs], labelled, fixed=fixed, options=options, extra=extra)
    else:
        splits = from_blobs(names, read, labelled, fixed=fixed, options=options, extra=extra)
    by_name = dict(zip(names, present, strict=True))
    return noted(splits, (*part_notes, *moving_notes, *_unlearnable(splits, by_name, table)))


def _unlearnable(splits: Splits, present: Mapping[str, np.ndarray], table: Table) -> Iterator[str]:
    """Notes on classes that a part has no pixel of.

    Raises:
        InputError: If training has none.
    """
    trained = np.any([present[id_] for id_ in splits.train.ids], axis=0)
    if trained.sum() < 2:
        hint = f" If 255 is a class, and not void, say so: labels={{0: {table.names[0]!r}, 255: ...}}."
        raise InputError(
            f"All known pixels for training are of one class, {table.names[int(trained.argmax())]!r}: there is nothing "
            f"to tell apart.{hint if table.void == VOID else ''}"
        )
    for name, part in zip(PARTS, (splits.train, splits.val, splits.test), strict=True):
        occurring = (
            np.any([present[id_] for id_ in part.ids], axis=0) if len(part) else np.ones(len(splits.labels), bool)
        )
        absent = [label for label, occurs in zip(splits.labels, occurring, strict=True) if not occurs]
        if absent and part is splits.train:
            raise InputError(f"The class {absent[0]!r} has no pixel for training: its output would never learn.")
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            yield f"The {name} part has no pixel of the class {absent[0]!r}{more}."
