"""NIfTI volumes (extra `medical`) as slices with a class for each pixel, as `Splits`; those of one stay together."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Splits
from tlkit.core.numeric import is_number
from tlkit.core.remote import local
from tlkit.data import walking
from tlkit.data.annotated import part_of
from tlkit.data.image import WHITE
from tlkit.data.image_source import ImageSize, Options
from tlkit.data.listing import checked_folder, noted
from tlkit.data.masks import VOID, Labels, of_sources, value_table
from tlkit.data.splitting import SHARES, Groups, group_names
from tlkit.data.spool import Selected, spool

__all__ = ["PLANES", "from_nifti"]


def __dir__() -> list[str]:
    return sorted(__all__)


PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}  # axis of the slices, of volumes turned to right, front, up
_ENDINGS = (".nii.gz", ".nii")
_ROUNDING = 0.1  # of a voxel's shortest side: as far as affines of one grid may lie apart


def from_nifti(
    images: str | os.PathLike[str],
    masks: str | os.PathLike[str],
    *,
    labels: Labels,
    plane: str = "axial",
    window: tuple[float, float] | None = None,
    every: int = 1,
    empty: bool = True,
    void: int | None = VOID,
    image_size: ImageSize | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    groups: Groups | None = None,
    strict: bool = False,
    augment: Augmenting | None = None,
    progress: bool = True,
) -> Splits:
    """Slices of NIfTI volumes and of mask volumes of the same names, read once and kept in the cache.

    Volumes are turned so that slices look alike, whatever axes the files have: axial ones with the front of the body
    up, the others with its head up. Train, valid and test folders in both are kept as parts.

    Args:
        images: Folder of the volumes, .nii or .nii.gz; or one file.
        masks: Folder of the masks, of the same names, on the same voxels (which may be stored in another order); or one
            file.
        labels, void, image_size, split, seed, strict, augment, progress: As in `data.masks.from_folder`.
        plane: "axial", "coronal" or "sagittal".
        window: Values that become black and white. None takes those that 0.5 % and 99.5 % of each volume's values above
            its least lie below, which a note says.
        every: Take each so many-th slice, >= 1: neighbours hardly differ.
        empty: Whether slices whose mask has the first class alone are examples.
        groups: What stays on one side, such as a patient: as there, of a slice's id, "VOLUME/0042", where VOLUME is the
            path below `images` without its ending. None keeps the slices of each volume together.

    Raises:
        InputError: If nibabel is missing, there are no volumes, or a volume and its mask differ in shape or affine.
    """
    table = value_table(labels, void)
    if plane not in PLANES:
        raise InputError(f"`plane` must be one of {', '.join(PLANES)}. Received: plane={plane!r}.")
    if not (is_number(every) and float(every).is_integer() and every >= 1):
        raise InputError(f"`every` must be a whole number, 1 or more. Received: every={every!r}.")
    _check_window(window)
    pairs = _pairs(local(images, progress=progress), local(masks, progress=progress))
    slices = _Slices(pairs, PLANES[plane], window, int(every), empty, table)
    spooled, places = spool(iter(slices))
    source, names, volumes = Selected(spooled, places), *zip(*slices.found, strict=True)
    owners = volumes if groups is None else group_names(groups, names)
    options = Options(image_size, split, seed, owners, WHITE, augment, strict, progress)
    parts = [part_of(volume.split("/")[0]) if "/" in volume else None for volume in volumes]
    numbers = value_table(table.names, VOID)
    splits = of_sources(names, lambda i: source(2 * i), lambda i: source(2 * i + 1), numbers, options, parts)
    note = "Black and white are the values that 0.5 % and 99.5 % of each volume lie below: say `window` for one of all."
    return noted(splits, () if window is not None else (note,))


def _check_window(window: Any) -> None:
    if window is None:
        return
    if not (len(window) == 2 and all(map(is_number, window)) and window[0] < window[1]):
        raise InputError(f"`window` must be (black, white), the second one larger. Received: window={window!r}.")


def _pairs(images: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """(name, volume, mask), by name."""
    if images.is_file() and masks.is_file():
        return [(_stem(images.name), images, masks)]
    root, other = checked_folder(images, "NIfTI volumes"), checked_folder(masks, "NIfTI masks")
    volumes, areas = (
        {_stem(path.relative_to(top).as_posix()): path for path in walking.files(top) if _is_volume(path)}
        for top in (root, other)
    )
    missing = sorted(set(volumes) - set(areas))
    if not volumes or missing:
        problem = f"has no mask for {missing[0]!r}" if missing else "and the folder of images hold no .nii or .nii.gz"
        raise InputError(f"The folder {str(other)!r} {problem}.")
    return [(name, volumes[name], areas[name]) for name in sorted(volumes)]


def _is_volume(path: Path) -> bool:
    return path.name.casefold().endswith(_ENDINGS)


def _stem(name: str) -> str:
    ending = next((e for e in _ENDINGS if name.casefold().endswith(e)), "")
    return name[: len(name) - len(ending)]


class _Slices:
    """Slices and their masks in turn, as uint8 arrays; `found` is then the name and the volume of each pair."""

    def __init__(
        self, pairs: list[tuple[str, Path, Path]], axis: int, window: Any, every: int, empty: bool, table: Any
    ) -> None:
        self.pairs, self.axis, self.window = pairs, axis, window
        self.every, self.empty, self.table = every, empty, table
        self.found: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        self.found = []
        for name, image, mask in self.pairs:
            (values, affine), (areas, mask_affine) = _volume(image), _volume(mask)
            if values.shape != areas.shape:
                raise InputError(f"The volume {name!r} has the shape {values.shape}, and its mask {areas.shape}.")
            _check_place(name, affine, mask_affine, values.shape)
            low, high = _window(values) if self.window is None else self.window
            for k in range(0, values.shape[self.axis], self.every):
                try:
                    numbers = self.table(_turned(areas, self.axis, k))
                except InputError as error:
                    raise InputError(f"Slice {k} of {name!r}: {error}.") from error
                if not self.empty and not numbers.any():
                    continue
                shares = (_turned(values, self.axis, k) - low) / max(high - low, 1e-12)
                self.found.append((f"{name}/{k:04d}", name))
                yield np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
                yield numbers
        if not self.found:
            raise InputError("No slice of the volumes has anything but the first class in its mask.")


def _check_place(name: str, affine: np.ndarray, mask_affine: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse a mask whose corners lie elsewhere than those of its volume, by their affines."""
    corners = np.array([*itertools.product(*((0, side - 1) for side in shape), (1,))])
    shift_mm = np.linalg.norm(corners @ (affine - mask_affine)[:3].T, axis=1).max()
    if not shift_mm <= _ROUNDING * np.linalg.norm(affine[:3, :3], axis=0).min():
        raise InputError(
            f"The mask of the volume {name!r} lies elsewhere than the volume, by {shift_mm:.3g} mm as their affines "
            "say: write it with the volume's affine if it was drawn on its voxels, or resample it to them."
        )


def _volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values (right, front, up), and the affine from their indices to mm."""
    try:
        import nibabel
    except ImportError as error:
        raise InputError("NIfTI volumes need nibabel: pip install 'tlkit[medical]'.") from error
    try:
        turned = nibabel.as_closest_canonical(nibabel.load(path))
        volume = np.asarray(turned.dataobj, np.float64)
    except Exception as error:  # nibabel raises kinds of its own, and those of gzip
        raise InputError(f"The volume {str(path)!r} cannot be read: {str(error).splitlines()[0][:200]}.") from error
    if volume.ndim == 4 and volume.shape[3] == 1:
        volume = volume[..., 0]
    if volume.ndim != 3:
        raise InputError(f"The volume {str(path)!r} must have three axes. Received: {volume.shape}.")
    return volume, np.asarray(turned.affine, np.float64)


def _window(values: np.ndarray) -> tuple[float, float]:
    above = values[values > values.min()]
    if not above.size:
        return float(values.min()), float(values.min()) + 1
    low, high = np.quantile(above, (0.005, 0.995))
    return float(low), float(high)


def _turned(volume: np.ndarray, axis: int, k: int) -> np.ndarray:
    """A slice as people see it: up, or front, is the first row."""
    return np.rot90(np.take(volume, k, axis=axis))
