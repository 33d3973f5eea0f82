"""Synthetic inspection: images of one part as a jig would hold it, good ones and spoilt ones with masks.

The part is one of Debian's tuxpaint stamps on grey: off by up to 4 pixels and 3 degrees, lit by up to 8 % more or less,
with noise. Faults are scratches, blobs, smears and foreign patches. They are for trying `tasks.anomalies` where nothing
else can be fetched; a score on them says little about any camera and any real fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.numeric import is_number
from tlkit.data import anomalies
from tlkit.datasets import debian

__all__ = ["FAULTS", "PARTS", "parts", "splits_of", "spoilt"]


def __dir__() -> list[str]:
    return sorted(__all__)


PARTS = {  # part -> its stamp
    "coin": "symbols/money/us/coins/025quarter.png",
    "clock": "symbols/clockface.png",
    "apple": "food/fruit/apple_red.png",
}
FAULTS = ("scratch", "blob", "smear", "foreign")
SIDE = 224
VISIBLE, MOST_DRAWS = 8.0, 100  # mean change of a faulty pixel, in 0 to 255; a smear of a plain surface is no fault
_STAMP = 170  # pixels of a part at most
_STAMPS = ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps", "The stamps of Tux Paint")


class Spoilt(NamedTuple):
    """An image uint8 (H, W, 3), and where it was spoilt, bool (H, W)."""

    image: np.ndarray
    mask: np.ndarray


def parts(part: str = "coin", *, good: int = 60, test: int = 30, bad: int = 40, seed: int = 0) -> Splits:
    """images of one part, 224 x 224 pixels, as `data.anomalies` gives them.

    Args:
        part: "coin", "clock" or "apple".
        good: Good images for training and validation, 8 or more.
        test: Good images for test, 1 or more.
        bad: Spoilt images for test, as many of each of FAULTS as go.
        seed: Of everything.

    Raises:
        InputError: If an argument is out of range, or the Debian package is neither installed nor can be fetched.
    """
    if part not in PARTS:
        raise InputError(f"`part` must be one of {', '.join(PARTS)}. Received: part={part!r}.")
    for name, value, least in (("good", good, 8), ("test", test, 1), ("bad", bad, 0)):
        if not (is_number(value) and float(value).is_integer() and value >= least):
            raise InputError(f"`{name}` must be a whole number, {least} or more. Received: {name}={value!r}.")
    rng, stamp = np.random.default_rng([seed, list(PARTS).index(part)]), _stamp(part)
    other_stamps = [_stamp(name) for name in PARTS if name != part]
    foreign = [_picture(other_stamps[i % len(other_stamps)], rng) for i in range(bad)]
    first, second, third = ([_picture(stamp, rng) for _ in range(count)] for count in (good, test, bad))
    return splits_of(first, second, third, foreign, rng, seed)


def splits_of(
    good: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
    bad: Sequence[np.ndarray],
    foreign: Sequence[np.ndarray],
    rng: Any,
    seed: int = 0,
) -> Splits:
    """Splits of images whose last ones are spoilt here, each by the next of FAULTS.

    Args:
        good: For training and validation, uint8 (H, W, 3), all of one size.
        test: Good ones for test.
        bad: That are to be spoilt.
        foreign: Of each of these a image whose patch it may get.
        rng: `np.random.Generator` of the faults.
        seed: Of the division.
    """
    kinds = [FAULTS[i % len(FAULTS)] for i in range(len(bad))]
    copies = [spoilt(image, kind, rng, patch) for image, kind, patch in zip(bad, kinds, foreign, strict=True)]
    return anomalies.from_arrays(
        good, [copy.image for copy in copies], [copy.mask for copy in copies], kinds, normal_test=test, seed=seed
    )


def spoilt(image: np.ndarray, kind: str, rng: Any, foreign: np.ndarray) -> Spoilt:
    """A copy of a image with one fault that changes it: another place is drawn where it would change next to nothing.

    Args:
        image: uint8 (H, W, 3) with sides of 120 or more.
        kind: One of FAULTS.
        rng: `np.random.Generator` of its place and size.
        foreign: Another image of that size, for "foreign".
    """
    for _ in range(MOST_DRAWS):
        candidate = _drawn(image, kind, rng, foreign)
        if np.abs(candidate.image.astype(np.float32) - image)[candidate.mask].mean() >= VISIBLE:
            break
    return candidate


def _drawn(image: np.ndarray, kind: str, rng: Any, foreign: np.ndarray) -> Spoilt:
    shape = _smear_or_blob(image.shape[:2], rng) if kind != "scratch" else _line(image.shape[:2], rng)
    share = np.asarray(shape.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
    x = image.astype(np.float32)
    if kind == "scratch":
        patch = np.full_like(x, x.mean() + rng.choice([-1, 1]) * 60)
    elif kind == "blob":
        patch = np.broadcast_to(np.clip(x.mean((0, 1)) + rng.normal(0, 50, 3), 0, 255).astype(np.float32), x.shape)
    elif kind == "smear":
        patch = _smeared(x)
    else:
        patch = foreign.astype(np.float32)
    mixed = np.clip(x * (1 - share) + patch * share, 0, 255).astype(np.uint8)
    return Spoilt(mixed, np.asarray(shape) > 127)


def _smear_or_blob(size: tuple[int, int], rng: Any) -> Image.Image:
    canvas, (x, y), radius = Image.new("L", size[::-1]), _centre(size, rng), rng.uniform(7, 14)
    ImageDraw.Draw(canvas).ellipse([x - radius, y - radius * 0.8, x + radius, y + radius * 0.8], 255)
    return canvas


def _line(size: tuple[int, int], rng: Any) -> Image.Image:
    canvas, centre = Image.new("L", size[::-1]), np.array(_centre(size, rng))
    angle, half = rng.uniform(0, np.pi), rng.uniform(20, 45)
    reach = half * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple((centre + sign * reach).tolist()) for sign in (-1, 1)]
    ImageDraw.Draw(canvas).line(ends, 255, int(rng.integers(2, 5)))
    return canvas


def _centre(size: tuple[int, int], rng: Any) -> tuple[int, int]:
    return int(rng.integers(50, size[1] - 50)), int(rng.integers(50, size[0] - 50))


def _smeared(x: np.ndarray) -> np.ndarray:
    """Blurred by a Gaussian of 7 pixels along the columns, of 1 along the rows."""
    for axis, sigma in ((0, 7.0), (1, 1.0)):
        reach = round(4 * sigma)
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        padded = np.pad(x, [(reach, reach) if i == axis else (0, 0) for i in range(3)], mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis)
        x = (windows @ (weights / weights.sum())).astype(np.float32)
    return x


def _stamp(part: str) -> Image.Image:
    stamp = Image.open(debian.folder(*_STAMPS) / PARTS[part]).convert("RGBA")
    stamp.thumbnail((_STAMP, _STAMP))
    return stamp


def _picture(stamp: Image.Image, rng: Any) -> np.ndarray:
    """uint8 (SIDE, SIDE, 3): the part as a jig holds it."""
    page = Image.new("RGB", (SIDE, SIDE), (128, 128, 132))
    turned = stamp.rotate(rng.uniform(-3, 3), Image.Resampling.BICUBIC)
    left, top = (int(off) + (SIDE - side) // 2 for off, side in zip(rng.integers(-4, 5, 2), stamp.size, strict=True))
    page.paste(turned, (left, top), turned)
    lit = np.asarray(page) * rng.uniform(0.92, 1.08) + rng.normal(0, 3, (SIDE, SIDE, 3))
    picture: np.ndarray = np.clip(lit, 0, 255).astype(np.uint8)
    return picture
