"""Images with boxes around objects, from COCO JSON, Pascal VOC, YOLO, tables, arrays and TFDS builders, as `Splits`.

Targets have one form, wherever they come from: of each image any number of rows float32 (k, 5), class number, left,
top, right, bottom, in shares of the image's width and height, 0 to 1. They are a RaggedColumn; in a batch (b, most, 5)
rows of -1 fill up. An image without objects is an example with no rows.

What the numbers of each format mean stands in `tlkit.data.annotated`. An image is quarantined by name where one of
its boxes cannot be right (outside, corners swapped, other units, an unknown class), as learning from the others would
teach that there is nothing where that one should be. Boxes that reach over the edge are clipped, and those of no size
or given twice left out; a note says so. Crowds (COCO) and difficult objects (VOC) are no targets: where there are any,
the column "ignored" has their rows, which count neither as found nor as missed.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.columns import RaggedColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Quarantined, Splits
from tlkit.core.numeric import is_number
from tlkit.data import annotated as reading
from tlkit.data import labelling
from tlkit.data.annotated import ORDERS, UNITS, Annotated, Annotations, Thing, parts_of, size_of
from tlkit.data.augment import MovingAugmentation, moving
from tlkit.data.image import WHITE
from tlkit.data.image_source import Extra, ImageSize, Options, checked_arrays, from_blobs, from_files
from tlkit.data.labelling import Labelled
from tlkit.data.listing import checked_folder, noted
from tlkit.data.mosaic import mosaic
from tlkit.data.pixels import MAX_PIXELS, Colour, checked_white
from tlkit.data.splitting import PARTS, SHARES, Groups, by_id, shares_of
from tlkit.data.table_formats import read_any

__all__ = [
    "ORDERS",
    "augmentation",
    "from_arrays",
    "from_coco",
    "from_csv",
    "from_folder",
    "from_tfds",
    "from_voc",
    "from_yolo",
    "mosaic",
]


def __dir__() -> list[str]:
    return sorted(__all__)


NOTHING = -1.0  # in the rows that fill up a batch
_UNIT_SLACK = 1e-3  # by which a share may exceed 1 before it is clipped with a note; files round to 4 digits
_COLUMNS = {
    "xyxy": (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2"),
             ("left", "top", "right", "bottom")),
    "xywh": (("left", "top", "width", "height"),),
}  # fmt: skip


def from_folder(
    folder: str | os.PathLike[str],
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
    """A folder in one of the formats, told by what lies in it, which a note says: COCO JSON, Pascal VOC or YOLO.

    Args:
        folder: With a data.yaml (YOLO), XML files (Pascal VOC) or JSON files (COCO); of one kind.
        image_size, split, seed, strict, background, augment, progress, max_pixels, pixel_max: As in `from_coco`.
        groups: As in the loader of the format.

    Raises:
        InputError: If the folder is of none of the formats, or of several; or as the loader of its format.
    """
    root = checked_folder(folder, "annotated images", progress=progress)
    kind = reading.format_of(root)
    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    annotations = (
        {"COCO": reading.coco, "Pascal VOC": reading.voc}[kind](root, None) if kind != "YOLO" else reading.yolo(root)
    )
    note = f"The folder is taken as {kind}: boxes are {', '.join(ORDERS[annotations.order])} in {annotations.unit}."
    return noted(_of_files(annotations, None, options), (note,))


def from_coco(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    labels: Sequence[str] | None = None,
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
    """COCO JSON, as COCO, Label Studio, CVAT and Roboflow write it.

    Args:
        annotations: The JSON; or a folder that holds one, or train, valid and test folders (or files of such names)
            with one each, which are kept as parts.
        images: Folder that the names in the JSON start at. None is the JSON's own, or the one above `annotations/`. A
            name that is not there by its path is taken where one file below has it.
        labels: Names of the classes in the order of their numbers; boxes of others are quarantined. None takes the
            categories that have annotations, in the order of their ids.
        image_size, strict, background, progress, max_pixels, pixel_max: As in `data.image.from_folder`.
        split: As there, where the source does not say.
        seed: As there. Images are divided by the classes that are in them.
        groups: As there, of the names in the JSON.
        augment: `augmentation()`, or that of `data.image`: boxes move with the image. A function (input, seed) must
            not move anything.

    Raises:
        InputError: If the file is no COCO JSON, or there are no boxes.
    """
    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    return _of_files(reading.coco(annotations, images, progress=progress), labels, options)


def from_voc(
    folder: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    labels: Sequence[str] | None = None,
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
    """Pascal VOC: an XML for each image, in `Annotations/` or beside the images.

    Train, valid and test folders, and the lists in `ImageSets/Main`, are kept as parts. Images without an XML are no
    examples, which a note says.

    Args:
        folder: Where the XML files are, and the images unless `images` says otherwise.
        images: Folder of the images.
        labels: As in `from_coco`; None takes the names that occur, sorted.
        image_size, split, seed, strict, background, augment, progress, max_pixels, pixel_max: As in `from_coco`.
        groups: As there, of the XML's path below `folder` without ".xml".

    Raises:
        InputError: If there is no XML, or there are no boxes.
    """
    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    return _of_files(reading.voc(folder, images, progress=progress), labels, options)


def from_yolo(
    data: str | os.PathLike[str],
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
    """YOLO: data.yaml, images in `images/`, and a text of labels for each in `labels/`; of polygons the box is taken.

    Args:
        data: The data.yaml, or its folder. Its train, val and test are kept as parts.
        image_size, split, seed, strict, background, augment, progress, max_pixels, pixel_max: As in `from_coco`.
        groups: As there, of the image's path below the folder of data.yaml.

    Raises:
        InputError: If data.yaml names no classes or images, or there are no boxes.
    """
    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    return _of_files(reading.yolo(data, progress=progress), None, options)


def from_csv(
    table: str | os.PathLike[str],
    *,
    path: str = "path",
    label: str = "label",
    box: Sequence[str] | None = None,
    order: str | None = None,
    unit: str = "pixels",
    labels: Sequence[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    image_size: ImageSize | None = None,
    split: Sequence[float] | str = SHARES,
    seed: int = 0,
    groups: Groups | str | None = None,
    strict: bool = False,
    background: Colour = WHITE,
    augment: Augmenting | None = None,
    progress: bool = True,
    max_pixels: int = MAX_PIXELS,
    pixel_max: float | None = None,
) -> Splits:
    """A table with one row for each box; an image without objects has one row whose label and box are empty.

    Args:
        table, folder, encoding, separator: As in `data.image.from_csv`.
        path: Column of the files' paths, relative to `folder`.
        label: Column of the classes' names.
        box: The four columns of the box, with `order`. None finds xmin ymin xmax ymax, x1 y1 x2 y2, left top right
            bottom, or left top width height, whose names say their order.
        order: What the columns of `box` are: a key of ORDERS.
        unit: "pixels", or "shares" of the sides.
        labels: As in `from_coco`; None takes the names that occur, sorted.
        image_size, seed, strict, background, augment, progress, max_pixels, pixel_max: As in `from_coco`.
        split: Shares, or the column that holds train, val or test.
        groups: As there, of the path as the table writes it; or the column that names the groups.

    Raises:
        InputError: If a column or a file is missing, a cell is no number, or the order of the columns is not known.
    """
    rows = read_any(table, encoding, separator, progress=progress)
    names, cells = rows.texts(path, "path"), rows.texts(label, "label")
    chosen, box_order = _box_columns(list(rows.columns), box, order)
    _check_unit(unit)
    numbers = list(zip(*(rows.texts(name, "box") for name in chosen), strict=True))
    things: dict[str, list[Thing]] = {}
    for i, (name, cell, box_numbers) in enumerate(zip(names, cells, numbers, strict=True)):
        things.setdefault(name, []).extend(_table_thing(i + rows.first, cell, box_numbers))
    paths, notes = rows.files(list(things), table, folder, progress=progress)
    fixed = _one_per_image(names, rows.parts(split)) if isinstance(split, str) else {}
    owners = _one_per_image(names, rows.texts(groups, "groups")) if isinstance(groups, str) else groups
    shares = shares_of(split)
    options = Options(image_size, shares, seed, owners, background, augment, strict, progress, max_pixels, pixel_max)
    images = tuple(
        Annotated(name, file, tuple(things[name]), None, fixed.get(name))
        for name, file in zip(things, paths, strict=True)
    )
    seen_labels = tuple(sorted({cell for cell in cells if cell}))
    return _of_files(Annotations(images, seen_labels, box_order, unit, notes), labels, options)


def _box_columns(header: Sequence[str], box: Sequence[str] | None, order: str | None) -> tuple[Sequence[str], str]:
    if box is not None:
        if order not in ORDERS or len(box) != 4:
            raise InputError(
                f"`box` names four columns, and `order` says what they are: one of {', '.join(ORDERS)}. "
                f"Received: box={list(box)!r:.80}, order={order!r}."
            )
        return list(box), order
    by_name = {name.casefold(): name for name in header}
    for corner_order, choices in _COLUMNS.items():
        for columns in choices:
            if all(column in by_name for column in columns):
                return [by_name[column] for column in columns], corner_order
    raise InputError(
        f"No four columns of the table say by their names what they are: it has {', '.join(map(repr, header[:12]))}. "
        'Name them: box=["x", "y", "w", "h"], order="xywh" (left and top) or "cxcywh" (the centre).'
    )


def _table_thing(row: int, cell: str, numbers: Sequence[str]) -> list[Thing]:
    if not cell and not any(numbers):
        return []
    if not cell or not all(numbers):
        raise InputError(f"Row {row} of the table has a label or a box, and not both: an image without has neither.")
    return [Thing(cell, tuple(map(reading.number, numbers)))]


def _one_per_image(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """What each image's rows say alike.

    Raises:
        InputError: If they say two things.
    """
    by_image: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        if by_image.setdefault(name, value) != value:
            raise InputError(f"The rows of {name!r:.200} name two parts or groups: an image lies in one.")
    return by_image


def from_arrays(
    images: Any,
    boxes: Sequence[Any],
    classes: Sequence[Any],
    *,
    order: str,
    unit: str,
    labels: Sequence[str] | None = None,
    image_size: ImageSize | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    background: Colour = WHITE,
    augment: Augmenting | None = None,
    pixel_max: float | None = None,
) -> Splits:
    """Images in memory, with an array of boxes and one of classes for each.

    Args:
        images, groups, background, pixel_max: As in `data.image.from_arrays`.
        boxes: Of each image (k, 4) numbers.
        classes: Of each image (k,) class numbers or names.
        order: What the four numbers are: "xyxy" (left, top, right, bottom), "yxyx", "xywh" (left, top, width, height)
            or "cxcywh" (the centre first).
        unit: "pixels" or "shares" of the sides.
        labels: Names of the classes, in the order of their numbers.
        image_size, split, seed, augment: As in `from_coco`.

    Raises:
        InputError: If lengths differ, or an array is no image, no box, or no class.
    """
    white = checked_white(pixel_max)
    arrays = list(checked_arrays(images, white))
    _check_unit(unit)
    if order not in ORDERS:
        raise InputError(f"`order` must be one of {', '.join(ORDERS)}. Received: order={order!r}.")
    if not len(arrays) == len(boxes) == len(classes):
        raise InputError(f"There are {len(arrays)} images, {len(boxes)} arrays of boxes and {len(classes)} of classes.")
    names = _class_names(classes, labels)
    pictures = tuple(
        Annotated(str(i), Path(str(i)), _array_things(i, image_boxes, image_classes, names), array.shape[1::-1])
        for i, (array, image_boxes, image_classes) in enumerate(zip(arrays, boxes, classes, strict=True))
    )
    owners = by_id(groups, [str(i) for i in range(len(arrays))])
    options = Options(image_size, split, seed, owners, background, augment, pixel_max=None if white is None else 255.0)
    sizes = [picture.size for picture in pictures]
    judged = _judged(Annotations(pictures, names, order, unit), None, sizes)
    return _assembled(judged, options, lambda rows: arrays.__getitem__)


def _class_names(classes: Sequence[Any], labels: Sequence[str] | None) -> tuple[str, ...]:
    flat = [value for i, image_classes in enumerate(classes) for value in _class_values(i, image_classes)]
    if labels is not None:
        return labelling.checked_names(labels)
    if any(isinstance(value, str) for value in flat):
        return labelling.checked_names(sorted({str(value) for value in flat}))
    highest = max((int(value) for value in flat), default=-1)
    return tuple(str(i) for i in range(highest + 1))


def _class_values(i: int, classes: Any) -> list[Any]:
    """Class numbers or names of image i."""
    try:
        values: list[Any] = np.ravel(classes).tolist()
    except ValueError as error:
        raise InputError(
            f"The classes of image {i} must be (k,) numbers or names. Received: {classes!r:.60}."
        ) from error
    for value in values:
        if not isinstance(value, str | bool) and not (is_number(value) and math.isfinite(value)):
            raise InputError(f"The classes of image {i} must be (k,) numbers or names. Received: {value!r:.60}.")
    return values


def _array_things(i: int, boxes: Any, classes: Any, names: tuple[str, ...]) -> tuple[Thing, ...]:
    try:
        array = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"The boxes of image {i} must be (k, 4) numbers. Received: {boxes!r:.60}.") from error
    if array.size and array.shape[-1:] != (4,):
        raise InputError(f"The boxes of image {i} must be (k, 4) numbers. Received: {array.shape}.")
    rows = array.reshape(-1, 4).tolist()
    labels = [_class_name(value, names) for value in _class_values(i, classes)]
    if len(rows) != len(labels):
        raise InputError(f"Image {i} has {len(rows)} boxes and {len(labels)} classes.")
    return tuple(Thing(name, tuple(row)) for name, row in zip(labels, rows, strict=True))


def _class_name(value: Any, names: tuple[str, ...]) -> str:
    """The name of a class number; of what is none, words that are no label."""
    if isinstance(value, str):
        return value
    whole = float(value).is_integer() and 0 <= value < len(names)
    return names[int(value)] if whole else f"number {value}"


def from_tfds(
    builder: Any,
    *,
    image: str = "image",
    objects: str = "objects",
    box: str = "bbox",
    label: str = "label",
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
    """A TensorFlow Datasets builder with a Sequence of objects, such as "voc/2007" or "coco/2017".

    Args:
        builder: As in `data.image.from_tfds`, like `image`.
        image: Feature that holds the image.
        objects: Feature that holds the Sequence.
        box: Feature of an object that holds its BBoxFeature.
        label: Feature of an object that holds its ClassLabel.
        image_size, split, seed, strict, background, augment, progress, max_pixels, pixel_max: As in `from_coco`.
        groups: As there, of ids such as "train/17".

    Raises:
        InputError: If there is no such builder or feature.
    """
    from tlkit.data.tfds_source import open_objects

    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    table = open_objects(builder, image, objects, box, label)
    parts = table.parts or (None,) * len(table.ids)
    pictures = tuple(
        Annotated(name, Path(name), _tfds_things(image_objects, table.names, box, label), None, part)
        for name, image_objects, part in zip(table.ids, table.objects, parts, strict=True)
    )
    judged = _judged(Annotations(pictures, table.names, "yxyx", "shares"), None, [None] * len(pictures))
    return noted(_assembled(judged, options, lambda rows: lambda i: table.read(rows[i])), table.notes)


def _tfds_things(objects: Mapping[str, Any], names: tuple[str, ...], box: str, label: str) -> tuple[Thing, ...]:
    flags = [objects[key] for key in ("is_crowd", "is_difficult") if key in objects]
    rows, numbers = np.asarray(objects[box], np.float64).reshape(-1, 4), np.ravel(objects[label]).tolist()
    return tuple(
        Thing(_class_name(value, names), tuple(row), any(bool(flag[i]) for flag in flags))
        for i, (row, value) in enumerate(zip(rows.tolist(), numbers, strict=True))
    )


def augmentation(
    flip: bool = True, crop: float = 0.3, colour: float = 0.1, shrink: float = 0.0, keep: float = 0.25
) -> MovingAugmentation:
    """Changed copies of images whose boxes move with them.

    Args:
        flip: Whether half of the copies are mirrored left to right.
        crop: Largest share of each side that is cut away, in [0, 0.9].
        colour: Largest change of brightness, contrast and saturation, in [0, 0.9].
        shrink: How far beyond the image a copy may reach, as a share of each side, in [0, 3]: objects become smaller.
        keep: Boxes of which a smaller share is left by a crop are taken out, in [0, 1].

    Example:
        >>> augment = augmentation()
        >>> drawn = augment.draw(seed=0)
        >>> augment.targets(np.float32([[0, 0.4, 0.4, 0.6, 0.6]]), drawn).shape
        (1, 5)
    """
    return MovingAugmentation(flip, crop, colour, moves="boxes", shrink=shrink, keep=keep)


# -- from what was written to rows


@dataclass(frozen=True, eq=False)
class _Judged:
    """Images whose boxes can be used, with their rows, and what was left out."""

    images: tuple[Annotated, ...]
    places: tuple[int, ...]  # of each among all that were there
    rows: tuple[np.ndarray, ...]
    ignored: tuple[np.ndarray, ...]
    labels: tuple[str, ...]
    quarantine: tuple[Quarantined, ...]
    notes: tuple[str, ...]


def _of_files(annotations: Annotations, labels: Sequence[str] | None, options: Options) -> Splits:
    """Splits of annotated files."""
    options = dataclasses.replace(options, groups=by_id(options.groups, [image.name for image in annotations.images]))
    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(size_of, annotations.images))
    images = tuple(
        dataclasses.replace(image, trouble=image.trouble or trouble)
        for image, (_, trouble) in zip(annotations.images, sizes, strict=True)
    )
    judged = _judged(dataclasses.replace(annotations, images=images), labels, [size for size, _ in sizes])
    return _assembled(judged, options, None)


def _judged(annotations: Annotations, labels: Sequence[str] | None, sizes: Sequence[tuple[int, int] | None]) -> _Judged:
    names = labelling.checked_names(annotations.labels if labels is None else labels)
    if not any(thing.numbers or thing.trouble for annotated in annotations.images for thing in annotated.things):
        raise InputError(
            f"There is no box in the annotations of {len(annotations.images)} images: detection needs some."
        )
    numbers = {name: i for i, name in enumerate(names)}
    _check_units_of_all(annotations)
    usable, quarantine = list[tuple[int, np.ndarray, np.ndarray]](), list[Quarantined]()
    counts, examples = Counter[str](), dict[str, str]()
    for place, (image, size) in enumerate(zip(annotations.images, sizes, strict=True)):
        trouble, rows, ignored, odd = _rows_of(image, size, annotations, numbers)
        if trouble:
            quarantine.append(Quarantined(image.name, trouble))
            continue
        usable.append((place, rows, ignored))
        counts.update(odd)
        examples.update({oddity: image.name for oddity in odd if oddity not in examples})
    odd_notes = [f"Boxes that {oddity}: {count:,} ({examples[oddity]!r} first)." for oddity, count in counts.items()]
    return _Judged(
        tuple(annotations.images[place] for place, _, _ in usable), tuple(place for place, _, _ in usable),
        tuple(rows for _, rows, _ in usable), tuple(ignored for _, _, ignored in usable), names, tuple(quarantine),
        (*annotations.notes, *odd_notes),
    )  # fmt: skip


def _check_units_of_all(annotations: Annotations) -> None:
    """Refuse a source whose numbers are all of the other unit, before every image is quarantined for it."""
    box_numbers = np.array(
        [t.numbers for image in annotations.images for t in image.things if len(t.numbers) == 4], np.float64
    )
    box_numbers = box_numbers[np.isfinite(box_numbers).all(axis=1)] if len(box_numbers) else box_numbers
    if not len(box_numbers):
        return
    if annotations.unit == "pixels" and box_numbers.max() <= 1:
        raise InputError(
            'All boxes lie in 0 to 1, and this format counts pixels: say unit="shares" in data.boxes.from_csv or '
            "from_arrays, or write them in pixels."
        )
    if annotations.unit == "shares" and np.median(box_numbers.max(axis=1)) > 1 + _UNIT_SLACK:
        raise InputError(
            f"Boxes reach to {box_numbers.max():g}, and this format counts shares of the sides, 0 to 1: say "
            'unit="pixels" in data.boxes.from_csv or from_arrays, or divide them by width and height.'
        )


def _rows_of(
    image: Annotated, size: tuple[int, int] | None, annotations: Annotations, numbers: Mapping[str, int]
) -> tuple[str, np.ndarray, np.ndarray, list[str]]:
    """(why it cannot be used, rows, rows to ignore, what is odd about its boxes)."""
    trouble, odd = image.trouble, list[str]()
    rows = {False: list[list[float]](), True: list[list[float]]()}
    for i, thing in enumerate(image.things if not trouble else ()):
        if annotations.unit == "pixels" and size is None:
            break  # the file cannot be read, which the preflight says
        trouble, corners, oddities = _corners(thing, size, annotations, numbers)
        if trouble:
            trouble = f"its box {i + 1}{f' ({thing.label!r:.60})' if thing.label else ''} {trouble}"
            break
        odd += oddities
        row = [float(numbers[thing.label]), *corners] if corners else []
        if row and row in rows[thing.ignored]:
            odd.append("are given twice, and taken once")
        elif row:
            rows[thing.ignored].append(row)
            odd += ["are crowds or difficult, and count neither as found nor as missed"] if thing.ignored else []
    plain, ignored = (np.array(rows[flag], np.float32).reshape(-1, 5) for flag in (False, True))
    return trouble, plain, ignored, odd


def _corners(
    thing: Thing, size: tuple[int, int] | None, annotations: Annotations, numbers: Mapping[str, int]
) -> tuple[str, list[float], list[str]]:
    """(what is wrong, left, top, right and bottom in shares, what is odd); no corners where nothing is left."""
    if thing.trouble or thing.label not in numbers:
        return thing.trouble or "is of a class that is not among the labels", [], []
    if len(thing.numbers) != 4:
        return "has no box", [], []
    if not np.isfinite(thing.numbers).all():
        return f"holds what is no number: {_shown(thing.numbers)}", [], []
    width, height = size if size is not None and annotations.unit == "pixels" else (1, 1)
    left, top, right, bottom = (
        value / side for value, side in zip(edges(thing.numbers, annotations.order), (width, height) * 2, strict=True)
    )
    problem = _impossible(thing, (left, top, right, bottom), annotations)
    if problem:
        return problem, [], []
    if right <= left or bottom <= top:
        return "", [], ["have no width or no height, and are left out"]
    inside = [min(1.0, max(0.0, value)) for value in (left, top, right, bottom)]
    over = max(abs(a - b) for a, b in zip(inside, (left, top, right, bottom), strict=True))
    return "", inside, ["reach over the edge of their image, and are clipped"] if over > _UNIT_SLACK else []


def _impossible(thing: Thing, corners: tuple[float, float, float, float], annotations: Annotations) -> str:
    """What is wrong with a box beyond repair; "" where nothing is."""
    left, top, right, bottom = corners
    numbers = _shown(thing.numbers)
    if annotations.unit == "shares" and max(corners) > 2:
        return f"counts pixels where shares of the sides, 0 to 1, are expected: {numbers}"
    if annotations.unit == "pixels" and 0 < max(thing.numbers) <= 1 and min(thing.numbers) >= 0:
        return f"counts shares of the sides where pixels are expected: {numbers}"
    if right < left or bottom < top:
        problem = "right side lies left of its left one" if right < left else "bottom lies above its top"
        return f"is turned round: its {problem} ({numbers} as {', '.join(ORDERS[annotations.order])})"
    if right <= 0 or bottom <= 0 or left >= 1 or top >= 1:
        return f"lies outside the image: {numbers}"
    return ""


def edges(numbers: Sequence[float], order: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a box in one of the ORDERS.

    Example:
        >>> edges((10, 20, 30, 40), "xywh"), edges((10, 20, 30, 40), "cxcywh"), edges((10, 20, 30, 40), "yxyx")
        ((10, 20, 40, 60), (-5.0, 0.0, 25.0, 40.0), (20, 10, 40, 30))
    """
    a, b, c, d = numbers
    if order == "yxyx":
        return b, a, d, c
    if order == "xywh":
        return a, b, a + c, b + d
    if order == "cxcywh":
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a, b, c, d


def _shown(numbers: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in numbers) + "]"


def _check_unit(unit: Any) -> None:
    if unit not in UNITS:
        raise InputError(f"`unit` must be one of {', '.join(UNITS)}. Received: unit={unit!r}.")


def _assembled(
    judged: _Judged, options: Options, source: Callable[[Sequence[int]], Callable[[int], Any]] | None
) -> Splits:
    """Splits of judged images: from their files, or from what `source` gives for their places."""
    augment, moving_notes = moving(options.augment, "boxes")
    options = dataclasses.replace(options, augment=augment)
    names = [image.name for image in judged.images]
    present = np.zeros((len(names), len(judged.labels)), np.float32)
    for row, rows in zip(present, judged.rows, strict=True):
        row[rows[:, 0].astype(int)] = 1
    labelled = Labelled(present, judged.labels, "multi-label")
    any_ignored = any(map(len, judged.ignored))
    extra = Extra(
        RaggedColumn(judged.rows, fill=NOTHING),
        {"ignored": RaggedColumn(judged.ignored, fill=NOTHING)} if any_ignored else {},
    )
    fixed, part_notes = parts_of([image.part for image in judged.images])
    if source is None:
        paths = [image.path for image in judged.images]
        splits = from_files(
            names, paths, labelled, fixed=fixed, options=options, quarantine=judged.quarantine, extra=extra
        )
    else:
        splits = from_blobs(
            names, source(judged.places), labelled, fixed=fixed, options=options, quarantine=judged.quarantine,
            extra=extra,
        )  # fmt: skip
    return noted(splits, (*judged.notes, *part_notes, *moving_notes, *_unlearnable(splits)))


def _unlearnable(splits: Splits) -> Iterator[str]:
    """Notes on classes that a part has no box of.

    Raises:
        InputError: If training has none.
    """
    for name, part in zip(PARTS, (splits.train, splits.val, splits.test), strict=True):
        rows = [part.targets[i] for i in range(len(part))]
        numbers = {int(number) for boxes in rows for number in boxes[:, 0]}
        absent = [label for i, label in enumerate(splits.labels) if i not in numbers]
        if absent and part is splits.train:
            raise InputError(f"The class {absent[0]!r} has no box for training: its output would never learn.")
        if absent and rows:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            yield f"The {name} part has no box of the class {absent[0]!r}{more}."
