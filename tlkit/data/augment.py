"""Changed copies of images as a pure function of image and seed, so that caching, resume and replay stay exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tlkit.core.errors import InputError
from tlkit.core.examples import LeavesTargets
from tlkit.core.files import sha256_bytes
from tlkit.core.numeric import is_number

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Augmentation(LeavesTargets):
    """Flip, crop, rotate and recolour: a tlkit.Augment that leaves targets alone. `augment(x, seed)` is one copy.

    Attributes:
        flip: Whether half of the copies are mirrored left to right.
        crop: Largest share of each side that is cut away, in [0, 0.9].
        colour: Largest change of brightness, contrast and saturation, as a share, in [0, 0.9].
        rotate: Largest angle in degrees, in [0, 45]; the copy is enlarged until no corner is empty.
    """

    flip: bool = True
    crop: float = 0.1
    colour: float = 0.1
    rotate: float = 0.0

    def __post_init__(self) -> None:
        for name, limit in (("crop", 0.9), ("colour", 0.9), ("rotate", 45)):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value <= limit):
                raise InputError(f"`{name}` must lie in [0, {limit}]. Received: {name}={value!r}.")

    def __call__(self, x: np.ndarray, seed: int) -> np.ndarray:
        """A changed copy of uint8 (H, W, 3), of the same shape."""
        return self.inputs(x, self.draw(seed))

    def draw(self, seed: int) -> dict[str, float]:
        """ "mirrored" (0 or 1), "side" (share that is kept), "left" and "top", "angle" (radians), and three factors.

        "left" and "top" count in shares of what is cut away.
        """
        flip, scale, left, top, angle, *tones = draws(seed)
        factors = (1 + self.colour * (2 * tone - 1) for tone in tones)
        return {
            "mirrored": float(self.flip and flip < 0.5),
            "side": 1 - self.crop * scale,
            "left": left,
            "top": top,
            "angle": math.radians(self.rotate * (2 * angle - 1)),
            **dict(zip(("brightness", "contrast", "saturation"), factors, strict=True)),
        }

    def inputs(self, value: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
        """A changed copy of uint8 (H, W, 3), of the same shape."""
        x = value
        if x.dtype != np.uint8 or x.ndim != 3 or x.shape[-1] != 3:
            raise InputError(f"Augmentation takes uint8 (H, W, 3). Received: {x.dtype} {x.shape}.")
        if self.crop or self.rotate:
            x = warped(x, bool(drawn["mirrored"]), drawn["side"], (drawn["left"], drawn["top"]), drawn["angle"])
        elif drawn["mirrored"]:
            x = x[:, ::-1]
        if self.colour:
            x = recoloured(x, drawn["brightness"], drawn["contrast"], drawn["saturation"])
        return np.array(x)


def draws(seed: int) -> list[float]:
    """Eight numbers in [0, 1) from a seed, the same on every machine and in every version of NumPy."""
    words = np.frombuffer(bytes.fromhex(sha256_bytes("augment", str(int(seed)))), dtype=">u4")
    return [float(word) / 2**32 for word in words]


def warped(x: np.ndarray, mirrored: bool, side: float, place: tuple[float, float], angle: float) -> np.ndarray:
    """Mirror, rotate and crop in one bilinear step, with every output pixel inside the image.

    Args:
        x: uint8 (H, W, 3).
        mirrored: Whether left and right are swapped.
        side: Share of each side that is kept, in (0, 1].
        place: Where the kept part lies, from left and from top, in [0, 1].
        angle: Radians.
    """
    height, width = x.shape[:2]
    cos, sin = math.cos(angle), math.sin(angle)
    zoom = side / (cos + abs(sin) * max(width / height, height / width))  # a rotated frame that stays inside
    reach_x = zoom * (width * cos + height * abs(sin)) / 2
    reach_y = zoom * (height * cos + width * abs(sin)) / 2
    centre_x = reach_x + place[0] * (width - 2 * reach_x)
    centre_y = reach_y + place[1] * (height - 2 * reach_y)
    a, d = zoom * cos * (-1 if mirrored else 1), zoom * sin * (-1 if mirrored else 1)
    b, e = -zoom * sin, zoom * cos
    offset_x, offset_y = centre_x - a * width / 2 - b * height / 2, centre_y - d * width / 2 - e * height / 2
    picture = Image.fromarray(np.ascontiguousarray(x))
    coefficients = (a, b, offset_x, d, e, offset_y)
    return np.asarray(
        picture.transform((width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    )


def recoloured(x: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Scale brightness, contrast (about the mean luminance) and saturation, rounded once.

    Args:
        x: uint8 (H, W, 3).
        brightness: Factor on all values; 1 changes nothing, here and in the other two.
        contrast: Factor on the distance from the mean luminance.
        saturation: Factor on the distance from each pixel's own luminance.
    """
    mean = float(x.mean(axis=(0, 1)) @ _LUMA)
    mix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * _LUMA)
    offset = brightness * (1 - contrast) * mean
    matrix = [float(value) for row in mix for value in (*row, offset)]
    return np.asarray(Image.fromarray(np.ascontiguousarray(x)).convert("RGB", tuple(matrix)))
