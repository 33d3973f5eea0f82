"""Labelled images as `Splits`, from class folders, tables, arrays, TFDS builders and tf.data Datasets.

`read(i)` gives uint8 (H, W, 3), upright and composited. Without `image_size` it keeps each image's own size, and
`resized` sets one later: a module knows its own. Every source is checked once before it is used; what is broken goes
to `Splits.quarantine` by name and reason.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Splits
from tlkit.data import labelling
from tlkit.data.augment import Augmentation
from tlkit.data.image_source import (
    ImageSize,
    Options,
    checked_arrays,
    checked_size,
    from_blobs,
    from_files,
    resized_examples,
)
from tlkit.data.listing import Listing, class_folders, listed_splits, noted
from tlkit.data.pixels import MAX_PIXELS, Colour, checked_white, white_of_files
from tlkit.data.splitting import SHARES, Groups, checked_lengths, shares_of
from tlkit.data.spool import Selected, spool
from tlkit.data.table_formats import read_any

__all__ = [
    "MAX_PIXELS",
    "augmentation",
    "from_arrays",
    "from_csv",
    "from_dataset",
    "from_folder",
    "from_listing",
    "from_tfds",
    "resized",
]


def __dir__() -> list[str]:
    return sorted(__all__)


Pair = tuple[Any, Any]

WHITE = (255, 255, 255)


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
    """Images in one folder for each class, or in train, val and test folders of class folders.

    Of train/val/test (also training, validation, valid, dev, testing), one that is missing is taken out of training.
    A file is judged by its content, not its ending. Hidden files, and texts and tables that are no images, are passed
    over; everything else that cannot be read is quarantined.

    Args:
        folder: The folder; names of the class folders become the labels, sorted by code point.
        image_size: (height, width) or one number; None keeps each image's own until `resized` sets one.
        split: Shares of training, validation and test, where the folder does not say; 0 leaves a part empty.
        seed: Another seed gives another division; the same seed gives the same on every machine.
        groups: What must stay on one side: a function of the path relative to `folder`, or a mapping from it.
        strict: Raise on the first preflight that would leave out a file.
        background: Colour, 0 to 255 each, behind transparent pixels.
        augment: A tlkit.Augment for the training images, such as `augmentation()`; or a function (uint8 (H, W, 3),
            seed).
        progress: Say on stderr how the preflight goes, and what it found.
        max_pixels: Larger images are quarantined, and never decoded.
        pixel_max: The value that is white in images of 16 or 32 bits: 4095 for 12 bits, 1.0 for floats in 0 to 1;
            below 255, in those of 8 bits too. None is the fewest of 8, 10, 12, 14 or 16 bits that hold every pixel of
            all the images of 16 bits, which a note says where it is not 16; those of 32 bits are then quarantined.

    Returns:
        Splits of int32 class numbers.

    Raises:
        InputError: If the folder cannot be learned from: missing, empty, one class, a class without usable images,
            fewer images than parts.
    """
    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    return from_listing(class_folders(folder, progress=progress), options)


def from_listing(listing: Listing, options: Options) -> Splits:
    """Splits of listed files: what `from_folder` and the samples share."""
    return listed_splits(listing, from_files, options)


def from_csv(
    table: str | os.PathLike[str],
    *,
    path: str = "path",
    label: str | Sequence[str] = "label",
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
    """Images named in a table: CSV or TSV with a header, JSON Lines, or Parquet (extra `text`).

    Args:
        table: The file: .csv, .tsv, .jsonl or .parquet.
        path: Column of the files' paths, relative to `folder`.
        label: Column of the labels. If any row holds several, separated by `|`, the task is multi-label, and an empty
            cell means none. A sequence of columns gives numbers to regress, float32 (n, k); or classes and labels,
            where several columns hold 0 and 1 alone.
        folder: Where the paths start; by default the table's own folder.
        encoding: Of the table, as in `data.text.from_table`.
        separator: Between the columns, as in `data.text.from_table`.
        image_size, seed, strict, background, augment, progress, max_pixels, pixel_max: As in `from_folder`.
        split: Shares, or the column that holds train, val or test.
        groups: As in `from_folder`, of the path as the table writes it; or the column that names the groups.

    Raises:
        InputError: If a column, a label or a file is missing, or a path appears twice.
    """
    rows = read_any(table, encoding, separator, progress=progress)
    options = Options(
        image_size, shares_of(split), seed, rows.owners(groups), background, augment, strict, progress, max_pixels,
        pixel_max,
    )  # fmt: skip
    fixed, labelled, names = rows.parts(split), rows.labelled(label), rows.texts(path, "path")
    paths, notes = rows.files(names, table, folder, progress=progress)
    return noted(from_files(names, paths, labelled, fixed=fixed, options=options), notes)


def from_arrays(
    images: Any,
    targets: Any,
    *,
    val: Pair | None = None,
    test: Pair | None = None,
    labels: Sequence[str] | None = None,
    image_size: ImageSize | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    background: Colour = WHITE,
    augment: Augmenting | None = None,
    pixel_max: float | None = None,
) -> Splits:
    """Images in memory: one array (n, H, W[, C]) or a sequence of arrays of any sizes.

    Args:
        images: uint8, or other numbers in 0 to 255, which are rounded; in 0 to `pixel_max`, where that is given.
        targets: Class numbers or names (n,), one-hot or multi-label rows (n, k), or floats to regress.
        val: (images, targets) of a validation part of its own; without it, it is taken out of `images`.
        test: The same for test.
        labels: Names of the classes, in the order of their numbers.
        image_size, split, seed, background, augment: As in `from_folder`.
        groups: A group for each image: a sequence over `images`, then `val`, then `test`; or by id, "0", "1", ...
        pixel_max: The value that is white: 4095 for 12 bits in uint16, 1.0 for floats in 0 to 1. None is 255.

    Raises:
        InputError: If lengths differ, or an array is no image; it is named by its position.
    """
    options = Options(
        image_size, split, seed, groups, background, augment, pixel_max=white_of_files(checked_white(pixel_max))
    )
    pairs = {part: pair for part, pair in enumerate(((images, targets), val, test)) if pair is not None}
    checked_lengths(pairs, "images")
    parts = [part for part, (part_images, _) in pairs.items() for _ in range(len(part_images))]
    white = checked_white(pixel_max)
    arrays = list(checked_arrays((array for part_images, _ in pairs.values() for array in part_images), white))
    labelled = labelling.from_parts([answers for _, answers in pairs.values()], labels)
    ids = [str(i) for i in range(len(arrays))]
    return from_blobs(ids, arrays.__getitem__, labelled, fixed=parts if len(pairs) > 1 else [], options=options)


def from_dataset(
    dataset: Iterable[Pair],
    *,
    val: Iterable[Pair] | None = None,
    test: Iterable[Pair] | None = None,
    labels: Sequence[str] | None = None,
    image_size: ImageSize | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    background: Colour = WHITE,
    augment: Augmenting | None = None,
    pixel_max: float | None = None,
) -> Splits:
    """A tf.data.Dataset of (image, target), batched or not: run once, and written to the cache for random access.

    Args:
        dataset: Finite. Images as in `from_arrays`; targets scalars (class numbers, strings, floats) or vectors.
        val: A dataset for validation; without it, it is taken out of `dataset`.
        test: The same for test.
        labels: Names of the classes; by default `dataset.class_names`, where Keras left them, or numbers.
        image_size, split, seed, background, augment: As in `from_folder`.
        pixel_max: As in `from_arrays`.

    Raises:
        InputError: If an element is no pair of an image and a target, or the dataset never ends.
    """
    options = Options(
        image_size, split, seed, None, background, augment, pixel_max=white_of_files(checked_white(pixel_max))
    )
    names = getattr(dataset, "class_names", None) if labels is None else labels
    rows = _Rows([], [])
    store, places = spool(checked_arrays(_images({0: dataset, 1: val, 2: test}, rows), checked_white(pixel_max)))
    ids = _content_ids([store.digests[place] for place in places])
    order = sorted(range(len(ids)), key=lambda i: (rows.parts[i], ids[i]))  # a dataset may shuffle: content decides
    labelled = labelling.from_values([rows.answers[i] for i in order], names)
    source = Selected(store, tuple(places[i] for i in order))
    fixed = [rows.parts[i] for i in order] if len(set(rows.parts)) > 1 else []
    return from_blobs([ids[i] for i in order], source, labelled, fixed=fixed, options=options)


def from_tfds(
    builder: Any,
    *,
    image: str = "image",
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
    """A TensorFlow Datasets builder: a name ("cifar10"), the folder of a prepared one, or a builder object.

    Files in ArrayRecord are read at random; other formats (TFRecord) are run through once and written to the cache.
    The builder's own train, validation and test are kept, and what is missing is taken out of train.

    Args:
        builder: Name, folder or `tfds.core.DatasetBuilder`. A name is downloaded and prepared by tfds where needed.
        image: Feature that holds the image.
        label: Feature that holds the target: a ClassLabel, a Sequence of ClassLabel (multi-label), or numbers.
        image_size, split, seed, strict, background, augment, progress, max_pixels, pixel_max: As in `from_folder`.
        groups: As in `from_folder`, of ids such as "train/17".

    Raises:
        InputError: If there is no such builder, feature or split.
    """
    from tlkit.data.tfds_source import open_table

    options = Options(image_size, split, seed, groups, background, augment, strict, progress, max_pixels, pixel_max)
    table = open_table(builder, image, label)
    return from_blobs(table.ids, table.read, table.labelled, fixed=table.parts, options=options)


def augmentation(flip: bool = True, crop: float = 0.1, colour: float = 0.1, rotate: float = 0.0) -> Augmentation:
    """Changed copies of images, the same for the same seed; see `Augmentation`.

    Args:
        flip: Whether half of the copies are mirrored left to right: not for text, digits or traffic signs.
        crop: Largest share of each side that is cut away, in [0, 0.9].
        colour: Largest change of brightness, contrast and saturation, in [0, 0.9].
        rotate: Largest angle in degrees, in [0, 45].

    Example:
        >>> x = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        >>> augmentation(crop=0, colour=0)(x, seed=0).tolist() in (x.tolist(), x[:, ::-1].tolist())
        True
    """
    return Augmentation(flip, crop, colour, rotate)


def resized(splits: Splits, image_size: ImageSize) -> Splits:
    """The same splits, read at another size, from their sources and not from pixels that were resized before.

    Args:
        splits: Image splits.
        image_size: (height, width) or one number.

    Raises:
        InputError: If the examples are no images, or the size is not positive.
    """
    size = checked_size(image_size)
    train, val, test = (resized_examples(examples, size) for examples in (splits.train, splits.val, splits.test))
    return dataclasses.replace(splits, train=train, val=val, test=test)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """What a dataset gives beside its images; filled while they are written to the cache."""

    answers: list[Any]
    parts: list[int]


def _images(sources: dict[int, Iterable[Pair] | None], rows: _Rows) -> Iterator[np.ndarray]:
    for part, dataset in sources.items():
        for image, answer in [] if dataset is None else _pairs(dataset):
            rows.answers.append(answer.decode() if isinstance(answer, bytes) else answer)
            rows.parts.append(part)
            yield image


def _pairs(dataset: Iterable[Pair]) -> Iterator[Pair]:
    """Single pairs from a dataset that may be batched (its images then have four axes)."""
    if getattr(dataset, "cardinality", int)() == -1:  # tf.data.INFINITE_CARDINALITY
        raise InputError("The dataset never ends: take the .repeat() away.")
    for element in dataset.as_numpy_iterator() if hasattr(dataset, "as_numpy_iterator") else dataset:
        if not isinstance(element, tuple | list) or len(element) != 2:
            raise InputError(f"A dataset must give pairs (image, target). Received: {type(element).__name__}.")
        images, answers = np.asarray(element[0]), element[1]
        if images.ndim == 4:
            yield from zip(images, answers, strict=True)
        else:
            yield images, answers


def _content_ids(digests: Sequence[str]) -> list[str]:
    """Short names from the content, numbered where contents repeat."""
    counts: dict[str, int] = {}
    ids = []
    for digest in digests:
        counts[digest] = counts.get(digest, 0) + 1
        ids.append(digest[:16] if counts[digest] == 1 else f"{digest[:16]}-{counts[digest]}")
    return ids
