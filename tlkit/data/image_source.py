"""Where an image's bytes come from, how they are checked, and what is made of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from tlkit.core.columns import FileColumn, JoinedColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Augmenting, Column, Examples, Pipeline, Quarantined, Splits
from tlkit.core.numeric import is_number
from tlkit.data import pixels, walking
from tlkit.data.labelling import Labelled
from tlkit.data.pixels import Colour, Depth
from tlkit.data.preflight import Checked
from tlkit.data.sourcing import Division, FileSource, Unchecked, checked_splits, file_trouble
from tlkit.data.splitting import Groups, checked_shares
from tlkit.data.spool import Blob, blob_digest

ImageSize = int | tuple[int, int]

IMAGE = "image"  # the modality, and the step of the pipeline
_HEAD_BYTES = 512
_UNIT = 1.05  # floats in 0 to 1 end below it: bicubic resizing goes a little beyond what was there
_PASSED_OVER = (
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".log"),
    *(".ini", ".cfg", ".py", ".ipynb", ".db", ".npy", ".npz"),
)


@dataclass(frozen=True, eq=False)
class ImageReader:
    """What reads images: a source of files' bytes or uint8 arrays, and what is made of them.

    Safe to call from many threads; Pillow releases the interpreter's lock while it decodes and resizes. `windows` is
    whether DICOM files keep the windows that they say, as `white` was measured in the other files.
    """

    source: Callable[[int], Blob]
    background: Colour
    image_size: tuple[int, int] | None = None
    white: float | None = None
    windows: bool = False

    def __call__(self, i: int) -> np.ndarray:
        """uint8 (H, W, 3) of example i."""
        blob = self.source(i)
        if isinstance(blob, bytes):
            picture = pixels.decode(blob, self.background, self.white, self.windows)
        else:
            picture = pixels.from_array(blob, self.background)
        return np.array(picture if self.image_size is None else pixels.resize(picture, self.image_size))

    @property
    def spec(self) -> ArraySpec:
        """Shape and dtype of what it gives; None where each image has its own size."""
        return ArraySpec((*(self.image_size or (None, None)), 3), "uint8")

    @property
    def pipeline(self) -> Pipeline:
        """Everything that decides the pixels, besides the content of the files."""
        return Pipeline().then(
            IMAGE,
            version=pixels.VERSION,
            size=None if self.image_size is None else list(self.image_size),
            resize="stretch,bilinear,antialias",
            background=list(self.background),
            white=self.white,
            **({"windows": True} if self.windows else {}),
        )


@dataclass(frozen=True, eq=False)
class Extra:
    """What images have besides labels.

    Attributes:
        targets: What is to be predicted, where that is not what they are divided by.
        columns: What travels with them.
        check: Why what belongs to image i cannot be used, "" where it can; asked of sound images, in many threads.
    """

    targets: Column | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    check: Callable[[int], str] | None = None


@dataclass(frozen=True)
class Options:
    """What all image sources take, checked before anything is read; `data.image.from_folder` says what each means."""

    image_size: ImageSize | None
    split: Sequence[float]
    seed: int
    groups: Groups | None
    background: Colour
    augment: Augmenting | None
    strict: bool = False
    progress: bool = False
    max_pixels: int = pixels.MAX_PIXELS
    pixel_max: float | None = None

    def __post_init__(self) -> None:
        checked_shares(self.split)
        self.reader(lambda i: b"")

    def reader(self, source: Callable[[int], Blob]) -> ImageReader:
        """The reader of a source, at the size and on the background that were asked for."""
        size = None if self.image_size is None else checked_size(self.image_size)
        return ImageReader(source, checked_colour(self.background), size, pixels.checked_white(self.pixel_max))


def checked_size(image_size: Any) -> tuple[int, int]:
    """(height, width) from one number or two.

    Example:
        >>> checked_size(224)
        (224, 224)
    """
    size = tuple(image_size) if isinstance(image_size, Sequence | np.ndarray) else (image_size, image_size)
    if len(size) != 2 or not all(isinstance(side, int | np.integer) and side > 0 for side in size):
        raise InputError(f"`image_size` must be positive, a number or (height, width). Received: {image_size!r}.")
    if int(size[0]) * int(size[1]) > pixels.MAX_PIXELS:
        raise InputError(
            f"`image_size` of {size[0]} x {size[1]} pixels are too many: at most {pixels.MAX_PIXELS:,} fit into memory."
        )
    return int(size[0]), int(size[1])


def checked_colour(colour: Any) -> Colour:
    """Three whole numbers from 0 to 255."""
    values = tuple(colour) if isinstance(colour, Sequence | np.ndarray) else ()
    if len(values) != 3 or not all(is_number(value) and 0 <= value <= 255 for value in values):
        raise InputError(f"`background` must be three numbers from 0 to 255. Received: background={colour!r:.60}.")
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def from_files(
    names: Sequence[str],
    paths: Sequence[Path],
    labelled: Labelled,
    *,
    fixed: Sequence[int],
    options: Options,
    quarantine: Sequence[Quarantined] = (),
    extra: Extra | None = None,
) -> Splits:
    """Splits of files: looked at once, the broken ones left out. `quarantine` holds what was left out before."""

    def check(i: int) -> Checked:
        return check_file(paths[i], options.background, options.max_pixels, options.pixel_max)

    return _splits(names, FileSource(paths), check, labelled, fixed, options, quarantine, extra or Extra())


def from_blobs(
    ids: Sequence[str],
    source: Callable[[int], Blob],
    labelled: Labelled,
    *,
    fixed: Sequence[int],
    options: Options,
    quarantine: Sequence[Quarantined] = (),
    extra: Extra | None = None,
) -> Splits:
    """Splits of encoded bytes or uint8 arrays that a source gives by position."""

    def check(i: int) -> Checked:
        return check_blob(source(i), options.background, options.max_pixels, options.pixel_max)

    return _splits(ids, source, check, labelled, fixed, options, quarantine, extra or Extra())


def _of_white(splits: Splits, depths: Iterable[Depth], options: Options) -> Splits:
    """The splits with one value that is white in all pictures: what is said, or what their bits say together."""
    if options.pixel_max is not None:
        return splits
    white, note = pixels.whitest(depths)
    if white is not None:
        splits = read_with_white(splits, white, windows=True)
    return dataclasses.replace(splits, notes=(*splits.notes, note)) if note else splits


def read_with_white(splits: Splits, white: float | None, *, windows: bool) -> Splits:
    """The same images with another value as white, for all files or for all but DICOM files, which have windows."""
    parts = (splits.train, splits.val, splits.test)
    train, val, test = (_reread(examples, white=white, windows=windows) or examples for examples in parts)
    return dataclasses.replace(splits, train=train, val=val, test=test)


def check_file(path: Path, background: Colour, max_pixels: int, white: float | None = None) -> Checked:
    """Look at one file: read its header, then its content, and decode it. Never raises."""
    trouble = file_trouble(path)
    if trouble:
        return Checked(reason=trouble)
    head = b""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            file.seek(0)
            pixels.check_header(file, max_pixels)  # before the content of a huge file is read
            file.seek(0)
            data = file.read()
        depth = pixels.verify(data, background, max_pixels, white)
    except Exception as error:  # Pillow's decoders raise anything on broken data
        return _refused(path, error, head)
    return Checked(digest=blob_digest(data), depth=depth)


def check_blob(blob: Blob, background: Colour, max_pixels: int, white: float | None = None) -> Checked:
    """Look at one image in memory. Never raises."""
    try:
        if isinstance(blob, bytes):
            depth = pixels.verify(blob, background, max_pixels, white)
        else:
            depth = pixels.Depth(8, float(blob.max()), float(blob.max()))
    except Exception as error:  # as above
        head = blob[:_HEAD_BYTES] if isinstance(blob, bytes) else b""
        return Checked(reason=pixels.explain(error, head) if head else "empty: it has 0 bytes")
    return Checked(digest=blob_digest(blob), depth=depth)


def checked_arrays(arrays: Iterable[Any], white: float | None = None) -> Iterator[np.ndarray]:
    """uint8 forms of image arrays, one by one; `white` is the value that is white instead of 255.

    Raises:
        InputError: Naming the array that is no image; or at the end, if all lay in 0 to 1, or some fractions did.
    """
    largest, fractions, is_unit = 0.0, list[int](), True
    for i, array in enumerate(arrays):
        try:
            image = pixels.as_uint8(array, white)
        except InputError as error:
            raise InputError(f"Image {i} cannot be used: {error}.") from error
        values = np.asarray(array)
        peak = float(values.max())
        largest, is_unit = max(largest, peak), is_unit and values.dtype.kind == "f" and peak <= _UNIT
        if peak <= _UNIT and (values % 1).any():
            fractions.append(i)
        yield image
    if white is None and is_unit and largest > 0:
        raise InputError(
            "All images hold floats in 0 to 1, and pixels count from 0 to 255: multiply them by 255, or "
            "say pixel_max=1."
        )
    if white is None and fractions:
        raise InputError(
            f"{len(fractions):,} of {i + 1:,} images hold floats in 0 to 1, such as image {fractions[0]}, and others "
            f"go up to {largest:g}: pixels count from 0 to 255 in all; multiply those by 255."
        )


def resized_examples(examples: Examples, size: tuple[int, int]) -> Examples:
    """The same examples read at another size, by whoever reads them."""
    reread = _reread(examples, image_size=size)
    if reread is not None:
        return reread
    spec = examples.inputs.spec
    if not isinstance(spec, ArraySpec) or len(spec.shape) != 3 or spec.dtype != "uint8":
        raise InputError(f"Only images, uint8 (H, W, 3), can be resized. Received: {spec}.")
    read = functools.partial(_read_resized, examples.inputs, size)
    return dataclasses.replace(
        examples,
        inputs=ReadColumn(read, ArraySpec((*size, 3), "uint8"), examples.digests),
        targets=_retargeted(examples.targets, size),
        modality=IMAGE,
        pipeline=examples.pipeline.then("resize", size=list(size)),
    )


def _reread(examples: Examples, **changes: Any) -> Examples | None:
    """The same examples by a changed ImageReader; None where they are read otherwise."""
    column = examples.inputs
    if not isinstance(column, ReadColumn) or not isinstance(column.read, ImageReader):
        return None
    reader = dataclasses.replace(column.read, **changes)
    inputs = dataclasses.replace(column, read=reader, spec=reader.spec)
    targets = _retargeted(examples.targets, changes.get("image_size"))
    return dataclasses.replace(examples, inputs=inputs, targets=targets, pipeline=reader.pipeline)


def _retargeted(targets: Column, size: tuple[int, int] | None) -> Column:
    """Masks at the size at which their images are read; other targets as they are."""
    if size is not None and isinstance(targets, JoinedColumn):
        return dataclasses.replace(targets, parts=tuple(_retargeted(part, size) for part in targets.parts))
    if size is None or not isinstance(targets, ReadColumn | FileColumn) or not hasattr(targets.read, "at_size"):
        return targets
    reader: Any = targets.read.at_size(size)
    if isinstance(targets, FileColumn):
        return dataclasses.replace(targets, read=reader)
    return dataclasses.replace(targets, read=reader, spec=ArraySpec(size, "uint8"))


def read_at(examples: Examples) -> tuple[int, int] | None:
    """(height, width) that whoever read the images asked for; None where nobody did."""
    size = (examples.pipeline.get(IMAGE) or {}).get("size")
    return None if size is None else (int(size[0]), int(size[1]))


def _read_resized(pictures: Column, size: tuple[int, int], i: int) -> np.ndarray:
    return np.array(pixels.resize(Image.fromarray(pictures[i]), size))


def _refused(path: Path, error: Exception, head: bytes) -> Checked:
    ignored = isinstance(error, UnidentifiedImageError) and passed_over(path)
    return Checked(ignored=True) if ignored else Checked(reason=pixels.explain(error, head))


def passed_over(path: Path) -> bool:
    """Whether a file that is no image never claimed to be one, such as notes.txt or Thumbs.db."""
    return path.suffix.lower() in _PASSED_OVER or (not path.suffix and walking.is_note(path.name))


def _splits(
    ids: Sequence[str],
    source: Callable[[int], Blob],
    check: Callable[[int], Checked],
    labelled: Labelled,
    fixed: Sequence[int],
    options: Options,
    quarantine: Sequence[Quarantined],
    extra: Extra,
) -> Splits:
    depths: dict[int, Depth] = {}

    def check_all(i: int) -> Checked:
        """A look at the image, then at what belongs to it."""
        checked = check(i)
        if extra.check is not None and not checked.reason and not checked.ignored and (reason := extra.check(i)):
            return Checked(reason=reason)
        depths.update({} if checked.depth is None else {i: checked.depth})
        return checked

    reader = options.reader(source)
    unchecked = Unchecked(
        ids, labelled, reader, check_all, reader.spec, IMAGE, reader.pipeline, "images", fixed, quarantine,
        targets=extra.targets, columns=extra.columns,
    )  # fmt: skip
    division = Division(options.split, options.seed, options.groups, options.strict, options.progress)
    return _of_white(checked_splits(unchecked, division, options.augment), depths.values(), options)
