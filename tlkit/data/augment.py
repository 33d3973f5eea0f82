"""Changed copies of images as a pure function of image and seed, so that caching, resume and replay stay exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from PIL import Image

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, LeavesTargets, as_augment
from tlkit.core.files import sha256_bytes
from tlkit.core.numeric import is_number

VOID = 255  # in a mask: pixels that count for nothing
GREY = (128, 128, 128)
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class _Changed:
    """What both augmentations of images share: the settings, the draw and the copy."""

    flip: bool = True
    crop: float = 0.1
    colour: float = 0.1
    rotate: float = 0.0

    def __post_init__(self) -> None:
        _check_limits(self, (("crop", 0.9), ("colour", 0.9), ("rotate", 45)))

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
        if value.dtype != np.uint8 or value.ndim != 3 or value.shape[-1] != 3:
            raise InputError(f"Augmentation takes uint8 (H, W, 3). Received: {value.dtype} {value.shape}.")
        x = self.placed(value, drawn)
        if self.colour:
            x = recoloured(x, drawn["brightness"], drawn["contrast"], drawn["saturation"])
        return np.array(x)

    def placed(self, x: np.ndarray, drawn: Mapping[str, float], fill: int | None = None) -> np.ndarray:
        """Mirrored, rotated and cropped, without a change of colour; as `warped`."""
        if drawn["side"] != 1 or drawn["angle"]:
            place = drawn["left"], drawn["top"]
            return warped(x, bool(drawn["mirrored"]), drawn["side"], place, drawn["angle"], fill)
        return x[:, ::-1] if drawn["mirrored"] else x


@dataclass(frozen=True)
class Augmentation(_Changed, LeavesTargets):
    """Flip, crop, rotate and recolour: a tlkit.Augment that leaves targets alone. `augment(x, seed)` is one copy.

    Attributes:
        flip: Whether half of the copies are mirrored left to right.
        crop: Largest share of each side that is cut away, in [0, 0.9].
        colour: Largest change of brightness, contrast and saturation, as a share, in [0, 0.9].
        rotate: Largest angle in degrees, in [0, 45]; the copy is enlarged until no corner is empty.
    """


@dataclass(frozen=True)
class MovingAugmentation(_Changed):
    """The same, and targets move with the image: boxes, masks or keypoints. `augment(x, seed)` is one copy.

    Attributes:
        flip: As in `Augmentation`, like `crop`, `colour` and `rotate`; only masks can be rotated.
        crop: Largest share of each side that is cut away: the copy is larger.
        colour: Largest change of brightness, contrast and saturation.
        rotate: Largest angle in degrees.
        moves: "boxes" (k, 5), "mask" (H, W) or "points" (k, 3), as `data.boxes`, `data.masks` and `data.keypoints`
            have them.
        shrink: How far beyond the image a copy may reach, as a share of each side, in [0, 3]: the copy is smaller.
            What is not there is grey, and void in masks.
        keep: Boxes of which a smaller share is left are taken out, in [0, 1].
        mirror: For points: which point each is in a mirrored copy ("left eye" is the "right eye"); () changes none.
    """

    moves: str = "boxes"
    shrink: float = 0.0
    keep: float = 0.25
    mirror: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_limits(self, (("shrink", 3), ("keep", 1)))
        if self.rotate and self.moves != "mask":
            raise InputError(
                f"The box around a turned box is too large, and {self.moves} know no sides of their image: leave "
                f"`rotate` at 0. Received: rotate={self.rotate!r}."
            )

    def draw(self, seed: int) -> dict[str, float]:
        """As `Augmentation`; a "side" above 1 reaches beyond the image."""
        drawn = super().draw(seed)
        scale = draws(seed)[1]
        return drawn | {"side": drawn["side"] + self.shrink * (1 - scale)}

    def targets(self, value: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
        """The boxes, mask or points of a copy."""
        if self.moves == "mask":
            return np.array(self.placed(value, drawn, VOID))
        if self.moves == "points":
            return moved_points(value, drawn, self.mirror)
        return moved_boxes(value, drawn, self.keep)


def moving(augment: Any, moves: str, mirror: tuple[int, ...] = ()) -> tuple[Any, tuple[str, ...]]:
    """What a user gave as `augment`, so that it moves targets of this kind too, and notes where it cannot."""
    if isinstance(augment, Augmentation):
        settings = {field.name: getattr(augment, field.name) for field in fields(augment)}
        return MovingAugmentation(**settings, moves=moves, mirror=mirror), ()
    if isinstance(augment, MovingAugmentation) and augment.moves != moves:
        raise InputError(f"`augment` moves {augment.moves}, and these targets are {moves}: take that of their loader.")
    if isinstance(augment, MovingAugmentation) and mirror and not augment.mirror:
        return replace(augment, mirror=mirror), ()
    if augment is None or not isinstance(as_augment(augment), LeavesTargets):
        return augment, ()
    return augment, ("`augment` leaves targets as they are: it must not move what is in the image.",)


def _check_limits(settings: Any, limits: Sequence[tuple[str, float]]) -> None:
    for name, limit in limits:
        value = getattr(settings, name)
        if not (is_number(value) and 0 <= value <= limit):
            raise InputError(f"`{name}` must lie in [0, {limit}]. Received: {name}={value!r}.")


def moved_boxes(rows: np.ndarray, drawn: Mapping[str, float], keep: float) -> np.ndarray:
    """Boxes of a mirrored and cropped copy, clipped to it.

    Args:
        rows: float32 (k, 5): class, left, top, right, bottom in shares of the sides.
        drawn: What `draw` gave, without an angle.
        keep: Boxes of which less than this share is left are taken out.

    Example:
        >>> half = {"mirrored": 1.0, "side": 0.5, "left": 0.0, "top": 0.0, "angle": 0.0}
        >>> moved_boxes(np.float32([[7, 0.125, 0, 0.25, 0.5], [7, 0.75, 0, 1, 1]]), half, 0.25).tolist()
        [[7.0, 0.5, 0.0, 0.75, 1.0]]
    """
    corners = np.asarray(rows[:, 1:], np.float64).reshape(-1, 2, 2)
    whole = _moved(corners, drawn)
    whole = np.stack([whole.min(axis=1), whole.max(axis=1)], axis=1)
    inside = np.clip(whole, 0, 1)
    area, remaining = ((ends[:, 1] - ends[:, 0]).prod(axis=1) for ends in (whole, inside))
    stays = (remaining > 0) & (remaining >= keep * area)
    moved = np.concatenate([rows[:, :1], inside.reshape(-1, 4)], axis=1)[stays]
    return np.asarray(moved, rows.dtype)


def moved_points(rows: np.ndarray, drawn: Mapping[str, float], mirror: tuple[int, ...] = ()) -> np.ndarray:
    """Keypoints of a mirrored and cropped copy; one that falls outside counts as not labelled.

    Args:
        rows: float32 (k, 3): x and y in shares of the sides, and whether the point is labelled (above 0).
        drawn: What `draw` gave, without an angle.
        mirror: Which point each is in a mirrored copy.
    """
    places = _moved(np.asarray(rows[:, :2], np.float64), drawn)
    inside = ((places >= 0) & (places <= 1)).all(axis=1) & (rows[:, 2] > 0)
    moved = np.where(inside[:, None], np.concatenate([places, rows[:, 2:]], axis=1), 0.0)
    return np.asarray(moved[list(mirror)] if drawn["mirrored"] and mirror else moved, rows.dtype)


def _moved(places: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
    """x and y, in shares of the image's sides, as shares of the sides of its copy: what `warped` does, undone."""
    side = drawn["side"]
    centre = side / 2 + np.array([drawn["left"], drawn["top"]]) * (1 - side)
    towards = np.array([-1.0 if drawn["mirrored"] else 1.0, 1.0])
    moved: np.ndarray = (places - centre) / side * towards + 0.5
    return moved


def draws(seed: int) -> list[float]:
    """Eight numbers in [0, 1) from a seed, the same on every machine and in every version of NumPy."""
    words = np.frombuffer(bytes.fromhex(sha256_bytes("augment", str(int(seed)))), dtype=">u4")
    return [float(word) / 2**32 for word in words]


def warped(
    x: np.ndarray, mirrored: bool, side: float, place: tuple[float, float], angle: float, fill: int | None = None
) -> np.ndarray:
    """Mirror, rotate and crop in one step, with every output pixel inside the image where `side` is at most 1.

    Args:
        x: uint8 (H, W, 3), or a mask (H, W).
        mirrored: Whether left and right are swapped.
        side: Share of each side that is kept, above 0.
        place: Where the kept part lies, from left and from top, in [0, 1].
        angle: Radians.
        fill: None takes the pixels between (bilinear), and grey where there are none; a number takes the nearest
            pixel, and this number where there is none.
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
    filter_ = Image.Resampling.BILINEAR if fill is None else Image.Resampling.NEAREST
    outside = GREY if fill is None else fill
    return np.asarray(
        picture.transform((width, height), Image.Transform.AFFINE, coefficients, filter_, fillcolor=outside)
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


def check_moving(examples: Examples, kind: str) -> None:
    """Refuse an augmentation that moves images and leaves what is drawn on them behind.

    Args:
        examples: For training.
        kind: "boxes", "masks" or "keypoints".

    Raises:
        InputError: If so.
    """
    augmentation = examples.augment
    if isinstance(augmentation, Augmentation) and (augmentation.flip or augmentation.crop or augmentation.rotate):
        raise InputError(
            f"The augmentation moves images and leaves their {kind} behind: take tlkit.data.{kind}.augmentation()."
        )
