"""Synthetic faults on good images, by which a detector of anomalies is chosen where nobody has bad ones. NumPy, Pillow.

They say which of several detectors sees changes of a few pixels best on these images, and not how well it will do on
real faults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

VERSION = 2  # of what is drawn, as cached features know it: raise it with every change
Fault = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


class Spoilt(NamedTuple):
    """An image uint8 (H, W, 3) with a fault, and where that is, bool (H, W)."""

    image: np.ndarray
    mask: np.ndarray


def spoilt(image: np.ndarray, kind: str, seed: int) -> Spoilt:
    """A copy of an image with one fault; the same for the same seed.

    Args:
        image: uint8 (H, W, 3).
        kind: One of KINDS: "patch" (another place of the image, in other colours), "scar" (a thin turned stroke of it),
            "stain" (a soft blot of a colour).
        seed: Of place, size and colour.

    Example:
        >>> grey = np.full((64, 64, 3), 128, np.uint8)
        >>> found = spoilt(grey, "patch", seed=0)
        >>> bool((found.image[~found.mask] == 128).all() and (found.image[found.mask] != 128).any())
        True

    Source: Li et al. 2021, arXiv:2104.04015 (CutPaste: patch and scar); Zavrtanik et al. 2021, arXiv:2108.07610 (soft
    shapes).
    """
    rng = np.random.default_rng([seed, *kind.encode()])
    other, share = KINDS[kind](image, rng)
    mixed = image + share[..., None] * (other - image.astype(np.float32))
    return Spoilt(np.clip(np.rint(mixed), 0, 255).astype(np.uint8), share > 0.5 * share.max())


def _patch(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    area, ratio = rng.uniform(0.002, 0.015), np.exp(rng.uniform(-1, 1))
    return _moved(image, rng), _turned(image.shape[:2], np.sqrt(area * ratio), np.sqrt(area / ratio), 0.0, rng)


def _scar(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    thin, long = rng.uniform(0.01, 0.03), rng.uniform(0.06, 0.2)
    return _moved(image, rng), _turned(image.shape[:2], thin, long, rng.uniform(0, np.pi), rng)


def _stain(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    height, width = rng.uniform(0.04, 0.1), rng.uniform(0.04, 0.1)
    share = _turned(image.shape[:2], height, width, rng.uniform(0, np.pi), rng)
    soft = Image.fromarray((share * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(min(share.shape) * 0.012))
    colour = np.clip(image.mean((0, 1)) + rng.normal(0, 50, 3), 0, 255)
    return np.broadcast_to(colour.astype(np.float32), image.shape), np.asarray(soft) / 255 * rng.uniform(0.2, 0.6)


KINDS: dict[str, Fault] = {"patch": _patch, "scar": _scar, "stain": _stain}


def _moved(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image from another place on, float32, with each colour scaled and shifted a little."""
    by = [int(side * rng.uniform(0.2, 0.8)) for side in image.shape[:2]]
    scale, shift = rng.uniform(0.9, 1.1, 3), rng.choice([-1, 1]) * rng.uniform(5, 15, 3)
    moved = np.roll(image, by, axis=(0, 1)).astype(np.float32)
    changed: np.ndarray = moved * scale.astype(np.float32) + shift.astype(np.float32)
    return changed


def _turned(shape: tuple[int, ...], height: float, width: float, angle: float, rng: np.random.Generator) -> np.ndarray:
    """float32 (H, W), 1 inside a turned rectangle whose sides are shares of the image's shorter one, and which covers a
    pixel at least.
    """
    side = min(shape)
    half = np.array([max(1.0, width * side / 2), max(1.0, height * side / 2)])
    centre = np.array([rng.uniform(0.15, 0.85) * shape[1], rng.uniform(0.15, 0.85) * shape[0]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = centre + (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half) @ turn.T
    canvas = Image.new("L", (shape[1], shape[0]))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in corners], fill=255)
    return np.asarray(canvas, np.float32) / 255
