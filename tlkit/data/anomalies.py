"""Good images, and bad ones only to judge by, as `Splits`: for tasks that learn what is normal.

Training sees good images alone. Validation has held-out good ones, by which a threshold is set, and copies of these
with synthetic faults (`tlkit.data.faults`), by which a detector is chosen. Test has good and bad ones.

Targets have one form: uint8 (H, W) of the size at which the image is read, 0 where it is normal, 1 where it is faulty,
255 (`VOID`) in all of a bad image of which nobody says where. A bad image is one whose target is not 0 throughout.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np

from tlkit.core.columns import ReadColumn, TextColumn, joined
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Column, Examples, Splits
from tlkit.core.files import sha256_bytes, url_of
from tlkit.data import faults as synthetic
from tlkit.data import pixels
from tlkit.data.annotated import IMAGES
from tlkit.data.augment import VOID
from tlkit.data.image import WHITE
from tlkit.data.image_source import Extra, ImageSize, Options, checked_arrays, from_blobs, from_files
from tlkit.data.labelling import Labelled
from tlkit.data.listing import checked_folder, escaped, noted
from tlkit.data.masks import at_size, image_files, mask_values, partners
from tlkit.data.pixels import MAX_PIXELS, Colour, checked_white, sides, white_of_files
from tlkit.data.sourcing import file_trouble
from tlkit.data.splitting import SHARES, Groups, by_id, checked_shares, divide, group_names

__all__ = ["VOID", "from_arrays", "from_folder"]


def __dir__() -> list[str]:
    return sorted(__all__)


GOOD = "good"
KIND = "kind"  # the column that says what is wrong with an image; GOOD where nothing is
Folder = str | os.PathLike[str]


def from_folder(
    normal_dir: Folder,
    abnormal_dir: Folder | None = None,
    mask_dir: Folder | None = None,
    *,
    normal_test_dir: Folder | None = None,
    image_size: ImageSize | None = None,
    split: Sequence[float] | None = None,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    background: Colour = WHITE,
    faults: bool = True,
    progress: bool = True,
    max_pixels: int = MAX_PIXELS,
    pixel_max: float | None = None,
) -> Splits:
    """A folder of good images; with folders of bad ones, and of masks that say where these are bad, to judge by.

    Folders inside `abnormal_dir` are kinds of faults, which the report tells apart. A mask lies in `mask_dir` under its
    image's path, with any ending, or with "_mask", "_gt" and the like behind the name; every value but 0 is faulty.
    MVTec's layout is `from_folder("train/good", "test", "ground_truth", normal_test_dir="test/good")`.

    Args:
        normal_dir: Good images.
        abnormal_dir: Bad images, all for test; those below `normal_dir` and `normal_test_dir` are left out.
        mask_dir: Masks of the bad images; one without a mask is judged as a whole.
        normal_test_dir: Good images for test; None takes them out of `normal_dir`.
        image_size, strict, background, progress, max_pixels, pixel_max: As in `data.image.from_folder`.
        split: Shares of training, validation and test of the good images; None is (0.7, 0.15, 0.15), or
            (0.8, 0.2, 0) beside a `normal_test_dir`.
        seed: As there; and of the synthetic faults.
        groups: As there, of the path relative to the folder that an image was found in.
        faults: Whether validation also has a copy of each good image with each kind of synthetic fault.

    Raises:
        InputError: If a folder holds no images or lies inside one of another sort, or there are too few good ones for
            the parts.
    """
    shares = _shares(split, normal_test_dir is not None)
    check_apart(normal_dir=normal_dir, normal_test_dir=normal_test_dir, abnormal_dir=abnormal_dir, mask_dir=mask_dir)
    options = Options(image_size, shares, seed, groups, background, None, strict, progress, max_pixels, pixel_max)
    good = _below(checked_folder(normal_dir, "the good images", progress=progress))
    test_images = []
    if normal_test_dir is not None:
        test_images = _below(checked_folder(normal_test_dir, "the good images for test", progress=progress))
    bad, notes = _bad_images(abnormal_dir, mask_dir, (normal_dir, normal_test_dir), progress)
    marked = (*(_Marked(name, path) for name, path in (*good, *test_images)), *bad)
    fixed = [0] * len(good) + [2] * (len(test_images) + len(bad))
    splits = _assembled(_renamed(marked), fixed, options, None)
    return noted(_with_faults(splits, seed) if faults else splits, notes)


def from_arrays(
    normal: Any,
    abnormal: Any = (),
    masks: Sequence[Any] | None = None,
    kinds: Sequence[str] | None = None,
    *,
    normal_test: Any = (),
    image_size: ImageSize | None = None,
    split: Sequence[float] | None = None,
    seed: int = 0,
    groups: Groups | None = None,
    background: Colour = WHITE,
    faults: bool = True,
    pixel_max: float | None = None,
) -> Splits:
    """Images in memory.

    Args:
        normal: Good images, as in `data.image.from_arrays`.
        abnormal: Bad images, all for test.
        masks: Of each bad image an array (H, W), every value but 0 is faulty, or None where nobody says.
        kinds: What is wrong with each bad image; None is "bad".
        normal_test: Good images for test; () takes them out of `normal`.
        image_size, split, seed, background, faults: As in `from_folder`.
        groups: A group for each image of `normal`: a sequence, or by id, "0", "1", ...
        pixel_max: As in `data.image.from_arrays`.

    Raises:
        InputError: If lengths differ, or an array is no image or no mask.
    """
    white, shares = checked_white(pixel_max), _shares(split, len(normal_test) > 0)
    arrays = [*checked_arrays(normal, white), *checked_arrays(normal_test, white), *checked_arrays(abnormal, white)]
    bad, good = len(abnormal), len(arrays) - len(abnormal)
    for name, values in (("masks", masks), ("kinds", kinds)):
        if values is not None and len(values) != bad:
            raise InputError(f"There are {bad} bad images and {len(values)} `{name}`.")
    where = [None] * bad if masks is None else [None if mask is None else np.asarray(mask) for mask in masks]
    kind_names = ["bad"] * bad if kinds is None else [str(kind) for kind in kinds]
    options = Options(image_size, shares, seed, groups, background, None, pixel_max=white_of_files(white))
    marked = (
        *(_Marked(str(i), array) for i, array in enumerate(arrays[:good])),
        *(_Marked(str(good + i), arrays[good + i], kind_names[i], where[i]) for i in range(bad)),
    )
    fixed = [0] * len(normal) + [2] * (len(normal_test) + bad)
    splits = _assembled(marked, fixed, options, arrays.__getitem__)
    return _with_faults(splits, seed) if faults else splits


# -- what is where


@dataclass(frozen=True, eq=False)
class _Marked:
    """An image, what is wrong with it, and what says where: a file, an array, or None."""

    name: str
    image: Path | np.ndarray
    kind: str = GOOD
    mask: Path | np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        if isinstance(self.image, np.ndarray):
            return self.image.shape[0], self.image.shape[1]
        image_sizes = sides(self.image)
        return (0, 0) if image_sizes is None else (image_sizes[1][1], image_sizes[1][0])


@dataclass(frozen=True, eq=False)
class FaultMasks:
    """What reads where images are faulty: uint8 (H, W), 1 there, 0 elsewhere, VOID where nobody says.

    Attributes:
        marked: The images.
        image_size: (height, width); None is each image's own.
    """

    marked: tuple[_Marked, ...]
    image_size: tuple[int, int] | None = None

    def __call__(self, i: int) -> np.ndarray:
        """The mask of image i."""
        image = self.marked[i]
        if image.mask is not None:
            return at_size(_faulty(image.mask), self.image_size)
        return np.full(self.image_size or image.size, 0 if image.kind == GOOD else VOID, np.uint8)

    def at_size(self, size: tuple[int, int]) -> FaultMasks:
        """The same at another size."""
        return dataclasses.replace(self, image_size=size)


def _faulty(mask: Path | np.ndarray) -> np.ndarray:
    values = np.asarray(mask_values(mask.read_bytes(), coloured=False) if isinstance(mask, Path) else mask)
    if values.ndim == 3:
        values = np.asarray(values.any(axis=-1))
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise InputError(f"its mask must be (H, W) numbers, not {values.dtype} {values.shape}")
    faulty: np.ndarray = (values != 0).astype(np.uint8)
    return faulty


def _mask_trouble(image: _Marked) -> str:
    """Why a mask cannot be used; "" where it can, and where there is none."""
    if image.mask is None:
        return ""
    if isinstance(image.mask, Path) and (trouble := file_trouble(image.mask)):
        return f"its mask {image.mask.name!r}: {trouble}"
    try:
        mask = _faulty(image.mask)
    except InputError as error:
        return str(error)
    except Exception as error:  # Pillow's decoders raise anything on broken data
        return f"its mask: {pixels.explain(error, b'')}"
    (height, width), (rows, columns) = image.size, mask.shape
    if abs(columns * height - rows * width) > max(height, width):
        return f"its mask has {columns} x {rows} pixels, and the image {width} x {height}"
    return "" if mask.any() else "its mask marks nothing, and it lies among the bad images"


# -- folders


_SORTS = {
    "normal_dir": ("good ones", "good"),
    "normal_test_dir": ("good ones for test", "good"),
    "abnormal_dir": ("bad ones", "bad"),
}


def check_apart(**folders: Folder | None) -> None:
    """Refuse a folder that lies inside one of another sort; good images may lie inside the folder of the bad ones.

    Args:
        folders: By the names that they have as arguments.

    Raises:
        InputError: If so.
    """
    places = {name: _place(folder) for name, folder in folders.items() if folder is not None}
    for outer, inner in itertools.permutations(places, 2):
        same = places[inner] == places[outer]
        good_in_bad = outer == "abnormal_dir" and inner != "mask_dir" and not same
        if outer not in _SORTS or good_in_bad or not places[inner].is_relative_to(places[outer]):
            continue
        sort, suggestion = _SORTS[outer]
        raise InputError(
            f"`{inner}` ({str(folders[inner])!r}) {'is also' if same else 'lies inside'} `{outer}` "
            f"({str(folders[outer])!r}), whose files all count as {sort}: give these a folder of their own, such as "
            f"{str(Path(folders[outer] or '') / suggestion)!r}."
        )


def outside(
    files: Sequence[tuple[str, Path]], root: Path, folder: Folder, good: Sequence[Folder | None]
) -> list[tuple[str, Path]]:
    """Files below a folder but for those in the folders of good ones, however these are written.

    Args:
        files: (name, path) of each.
        root: The folder, or its copy on this host.
        folder: The folder as the user writes it.
        good: The folders of good ones.
    """
    places = [_place(place) for place in good if place is not None]
    parents = {path.parent for _, path in files}
    place_of = {parent: _place(Path(folder) / parent.relative_to(root)) for parent in parents}
    good_parents = {parent for parent, place in place_of.items() if any(map(place.is_relative_to, places))}
    return [(name, path) for name, path in files if path.parent not in good_parents]


def _place(folder: Folder) -> PurePath:
    """A folder to compare with others: its URL, or its path without links."""
    if (url := url_of(folder)) is not None:
        return PurePosixPath(url)
    try:
        return Path(folder).expanduser().resolve()
    except (OSError, ValueError, RuntimeError):  # what `checked_folder` puts into words
        return Path(folder)


def _below(folder: Path) -> list[tuple[str, Path]]:
    """(path relative to the folder, path) of each image, sorted.

    Raises:
        InputError: If there is none.
    """
    names = image_files(folder)
    if not names:
        raise InputError(f"{str(folder)!r} holds no images: their names end in {', '.join(IMAGES[:4])} and the like.")
    return [(escaped(name), folder / name) for name in names]


def _bad_images(
    folder: Folder | None, masks: Folder | None, good: Sequence[Folder | None], progress: bool
) -> tuple[tuple[_Marked, ...], tuple[str, ...]]:
    """The bad images but for those in the folders of the good ones, and what there is to say of their masks."""
    if folder is None:
        if masks is not None:
            raise InputError("`mask_dir` says where bad images are bad: give their folder too, `abnormal_dir`.")
        return (), ()
    root = checked_folder(folder, "the bad images", progress=progress)
    images = outside(_below(root), root, folder, good)
    if masks is None:
        return tuple(_Marked(name, path, _kind(name)) for name, path in images), ()
    place = checked_folder(masks, "the masks", progress=progress)
    mask_names, paths = image_files(place), [path.relative_to(root).as_posix() for _, path in images]
    mask_of = {name: place / mask for name, mask in partners(paths, mask_names).items()}
    marked = tuple(
        _Marked(name, path, _kind(name), mask_of.get(relative))
        for relative, (name, path) in zip(paths, images, strict=True)
    )
    return marked, tuple(_mask_notes(marked, {place / name for name in mask_names}))


def _kind(name: str) -> str:
    folder, _, _ = name.partition("/")
    return folder if folder != name else "bad"


def _mask_notes(marked: Sequence[_Marked], masks: set[Path]) -> Iterator[str]:
    without = [image.name for image in marked if image.mask is None]
    lonely = sorted(path.name for path in masks - {image.mask for image in marked if isinstance(image.mask, Path)})
    for names, problem in (
        (without, "bad images have no mask and are judged as a whole"),
        (lonely, "masks have no image"),
    ):
        if names:
            yield f"{len(names):,} {problem}: {', '.join(map(repr, names[:3]))}{', ...' if len(names) > 3 else ''}."


def _renamed(marked: Sequence[_Marked]) -> tuple[_Marked, ...]:
    """With names that differ: the good and the bad folder may have files of one name."""
    used_names: set[str] = set()
    renamed = []
    for image in marked:
        name = image.name if image.name not in used_names else f"{'bad' if image.kind != GOOD else 'test'}/{image.name}"
        used_names.add(name)
        renamed.append(dataclasses.replace(image, name=name))
    return tuple(renamed)


def _shares(split: Sequence[float] | None, own_test: bool) -> tuple[float, ...]:
    if split is None:
        return (0.8, 0.2, 0.0) if own_test else SHARES
    shares = checked_shares(split)
    if own_test and shares[2]:
        raise InputError(f"With `normal_test_dir` the test share of `split` must be 0. Received: split={split!r}.")
    return shares


# -- splits


def _assembled(
    marked: tuple[_Marked, ...], fixed: Sequence[int], options: Options, read: Callable[[int], Any] | None
) -> Splits:
    """Splits whose good images of part 0 are divided by the shares."""
    names = [image.name for image in marked]
    good = [i for i, part in enumerate(fixed) if part == 0]
    groups = by_id(options.groups, [names[i] for i in good])
    owners = group_names(groups, [names[i] for i in good])
    parts = list(fixed)
    divided = divide([names[i] for i in good], [[] for _ in good], options.split, seed=options.seed, groups=owners)
    for i, part in zip(good, divided, strict=True):
        parts[i] = part
    reader = FaultMasks(marked, options.reader(lambda i: b"").image_size)
    digests = tuple(sha256_bytes(str(image.kind == GOOD), _digest(image.mask)) for image in marked)
    targets = ReadColumn(reader, ArraySpec(reader.image_size or (None, None), "uint8"), digests)
    extra = Extra(targets, {KIND: TextColumn([image.kind for image in marked])}, lambda i: _mask_trouble(marked[i]))
    labelled = Labelled(np.array([[image.kind != GOOD] for image in marked], np.float32), (), "values")
    options = dataclasses.replace(options, groups=None)
    if read is None:
        paths = [image.image for image in marked if isinstance(image.image, Path)]
        return from_files(names, paths, labelled, fixed=parts, options=options, extra=extra)
    return from_blobs(names, read, labelled, fixed=parts, options=options, extra=extra)


def _digest(mask: Path | np.ndarray | None) -> str:
    if mask is None:
        return ""
    if isinstance(mask, Path):
        return "" if file_trouble(mask) else sha256_bytes(mask.read_bytes())
    return sha256_bytes(str(mask.shape), np.ascontiguousarray(mask).tobytes())


@dataclass(frozen=True, eq=False)
class _Faulty:
    """What reads copies of images with synthetic faults: of example i the image i // kinds."""

    images: Column
    seed: int
    masks: bool = False
    image_size: tuple[int, int] | None = None

    def __call__(self, i: int) -> np.ndarray:
        row, kind = divmod(i, len(synthetic.KINDS))
        faulty = synthetic.spoilt(self.images[row], list(synthetic.KINDS)[kind], self.seed + row)
        return at_size(faulty.mask.astype(np.uint8), self.image_size) if self.masks else faulty.image

    def at_size(self, size: tuple[int, int]) -> _Faulty:
        return dataclasses.replace(self, image_size=size)


def _with_faults(splits: Splits, seed: int) -> Splits:
    """The same with copies of the good validation images, each with one synthetic fault of each kind."""
    val, kinds = splits.val, list(synthetic.KINDS)
    if not len(val):
        return splits
    size = val.inputs.spec.shape[:2]
    how = [f"{synthetic.VERSION} {seed + i}" for i in range(len(val))]
    digests = tuple(
        sha256_bytes(digest, kind, way) for digest, way in zip(val.digests, how, strict=True) for kind in kinds
    )
    copies = Examples(
        ids=tuple(f"{name} with a synthetic {kind}" for name in val.ids for kind in kinds),
        inputs=ReadColumn(_Faulty(val.inputs, seed), val.inputs.spec, digests),
        targets=ReadColumn(_Faulty(val.inputs, seed, masks=True), ArraySpec(size, "uint8"), digests),
        modality=val.modality,
        columns={KIND: TextColumn([f"synthetic {kind}" for _ in val.ids for kind in kinds])},
    )
    extended = dataclasses.replace(
        val,
        ids=val.ids + copies.ids,
        inputs=joined([val.inputs, copies.inputs]),
        targets=joined([val.targets, copies.targets]),
        columns={KIND: joined([val.columns[KIND], copies.columns[KIND]])},
        groups=(),
    )
    note = (
        f"Validation has {len(val)} good images and {len(copies)} copies of them with synthetic faults: by these a "
        "detector may be chosen, and they say nothing about real faults."
    )
    return dataclasses.replace(splits, val=extended, notes=(*splits.notes, note))
