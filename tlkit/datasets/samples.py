"""Data that travel with the package, under their own licences (tlkit/datasets/bundled/NOTICE.md)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Splits
from tlkit.core.files import cache_dir, kept_folder, sha256_file
from tlkit.data import image
from tlkit.data.image_source import ImageSize, Options
from tlkit.data.listing import Listed, Listing
from tlkit.data.pixels import Colour
from tlkit.data.splitting import SHARES

__all__ = ["emoji10", "folder"]


def __dir__() -> list[str]:
    return sorted(__all__)


_STYLES = ("noto", "twemoji")


def folder(name: str = "emoji10", style: str = "noto") -> Path:
    """Folder of a sample's files, unpacked into the cache once.

    Args:
        name: "emoji10".
        style: "noto" or "twemoji", folders of class folders; "both" gives the folder that holds the two.

    Raises:
        InputError: If there is no such sample or style.
    """
    if name != "emoji10":
        raise InputError(f"There is no sample {name!r}: there is 'emoji10'.")
    if style not in (*_STYLES, "both"):
        raise InputError(f'`style` must be "noto", "twemoji" or "both". Received: style={style!r}.')
    root = _unpacked(Path(__file__).parent / "bundled" / f"{name}.zip")
    return root if style == "both" else root / style


def emoji10(
    style: str = "noto",
    *,
    image_size: ImageSize | None = None,
    split: Sequence[float] = SHARES,
    seed: int = 0,
    background: Colour = image.WHITE,
    augment: Augmenting | None = None,
    progress: bool = False,
) -> Splits:
    """303 emoji in 10 classes, 64 x 64: small, real, and hard enough to tell methods apart.

    Args:
        style: "noto", "twemoji", or "both": then the two drawings of one emoji stay on one side.
        image_size: As in `data.image.from_folder`, like all below.
        split: Shares of training, validation and test.
        seed: Another seed gives another division.
        background: Colour behind the transparent parts.
        augment: For the training images.
        progress: Say on stderr what the preflight found.

    Raises:
        InputError: If there is no such style, or an argument is out of its range.

    Example:
        >>> splits = emoji10()
        >>> len(splits.train) + len(splits.val) + len(splits.test), len(splits.labels)
        (303, 10)
    """
    groups = (lambda name: name.partition("/")[2]) if style == "both" else None
    options = Options(image_size, split, seed, groups, background, augment, progress=progress)
    return image.from_listing(_listing(folder("emoji10", style)), options)


def _listing(root: Path) -> Listing:
    """The class is the folder that holds the file, whether or not a folder for the style is above it."""
    paths = sorted(root.rglob("*.png"))
    files = tuple(Listed(path.relative_to(root).as_posix(), path, path.parent.name) for path in paths)
    return Listing(files, tuple(sorted({file.label for file in files})))


def _unpacked(archive: Path) -> Path:
    def fill(partial: Path) -> None:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(partial)

    return kept_folder(cache_dir() / "samples" / f"{archive.stem}-{sha256_file(archive)[:12]}", fill)
