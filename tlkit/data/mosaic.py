"""Mosaics: further training images that are each made of parts of four, with their boxes or masks.

Source: Bochkovskiy, Wang and Liao 2020, arXiv:2004.10934 (section 3.3).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tlkit.core.columns import RaggedColumn, ReadColumn, blank, joined
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Column, Examples, Splits
from tlkit.core.files import sha256_bytes
from tlkit.core.numeric import is_number

_MIDDLE = (0.3, 0.7)  # where the four parts meet, in shares of the sides
_ZOOM = (0.5, 1.0)  # share of the largest part of an image that fits, of each side
_KEEP = 0.25  # boxes of which less is left are taken out


@dataclass(frozen=True)
class Part:
    """What one of the four is.

    Attributes:
        index: The example.
        window: Left, top, right and bottom of what is taken of it, in shares of its sides.
        cell: The same of where that goes.
    """

    index: int
    window: tuple[float, float, float, float]
    cell: tuple[float, float, float, float]


def mosaic(splits: Splits, count: int | None = None, seed: int = 0) -> Splits:
    """The same splits with mosaics behind the training examples; they are made when they are read.

    Args:
        splits: Of `data.boxes` or `data.masks`, read at one size: `image_size=`, or `data.image.resized`.
        count: Of mosaics; None is as many as there are training examples.
        seed: Of what is put together.

    Raises:
        InputError: If the images have no one size, or the targets are neither boxes nor masks.
    """
    train = splits.train
    number = len(train) if count is None else count
    if not (is_number(number) and float(number).is_integer() and number >= 1):
        raise InputError(f"`count` must be a whole number, 1 or more. Received: count={count!r}.")
    size = _size(train)
    plans = tuple(_plan(len(train), size, random.Random(f"mosaic/{seed}/{i}")) for i in range(int(number)))
    added = Examples(
        ids=tuple(f"mosaic/{seed}/{i}" for i in range(len(plans))),
        inputs=ReadColumn(_Pixels(train.inputs, plans, size), train.inputs.spec, _digests(train.inputs, plans)),
        targets=_targets(train.targets, plans, size),
    )
    columns = {
        name: joined([column, _rows(column, plans) if name == "ignored" else blank(column, len(plans))])
        for name, column in train.columns.items()
    }
    extended = dataclasses.replace(
        train,
        ids=(*train.ids, *added.ids),
        inputs=joined([train.inputs, added.inputs]),
        targets=_both(train.targets, added.targets),
        columns=columns,
        groups=(*train.groups, *("mosaic" for _ in plans)) if train.groups else (),
        weights=None if train.weights is None else np.concatenate([train.weights, np.ones(len(plans), np.float32)]),
    )
    return dataclasses.replace(splits, train=extended)


def _size(train: Examples) -> tuple[int, int]:
    spec = train.inputs.spec
    shape = spec.shape if isinstance(spec, ArraySpec) else ()
    if len(shape) != 3 or None in shape or spec.dtype != "uint8" or len(train) < 4:
        raise InputError(
            "Mosaics are made of four images or more of one size: read them with image_size=, or "
            f"data.image.resized(splits, 256). Received: {len(train)} of {spec}."
        )
    height, width = (side or 0 for side in shape[:2])
    return height, width


def _plan(count: int, size: tuple[int, int], rng: random.Random) -> tuple[Part, ...]:
    """Four examples, and what is taken of each; cells end at whole pixels."""
    height, width = size
    x, y = (round((_MIDDLE[0] + (_MIDDLE[1] - _MIDDLE[0]) * rng.random()) * side) / side for side in (width, height))
    parts = []
    for left, top, right, bottom in ((0.0, 0.0, x, y), (x, 0.0, 1.0, y), (0.0, y, x, 1.0), (x, y, 1.0, 1.0)):
        zoom = (_ZOOM[0] + (_ZOOM[1] - _ZOOM[0]) * rng.random()) / max(right - left, bottom - top)
        wide, high = (right - left) * zoom, (bottom - top) * zoom
        start_x, start_y = (1 - wide) * rng.random(), (1 - high) * rng.random()
        window = (start_x, start_y, start_x + wide, start_y + high)
        parts.append(Part(int(rng.random() * count), window, (left, top, right, bottom)))
    return tuple(parts)


@dataclass(frozen=True, eq=False)
class _Pixels:
    """Reads mosaics of images, uint8 (H, W, 3), or of masks, uint8 (H, W)."""

    column: Column
    plans: tuple[tuple[Part, ...], ...]
    size: tuple[int, int]
    nearest: bool = False

    def __call__(self, i: int) -> np.ndarray:
        """Mosaic i."""
        height, width = self.size
        method = Image.Resampling.NEAREST if self.nearest else Image.Resampling.BILINEAR
        canvas: np.ndarray | None = None
        for part in self.plans[i]:
            source = np.asarray(self.column[part.index])
            box = [share * side for share, side in zip(part.window, source.shape[1::-1] * 2, strict=True)]
            left, top, right, bottom = (round(s * n) for s, n in zip(part.cell, (width, height) * 2, strict=True))
            cut = Image.fromarray(source).resize((right - left, bottom - top), method, tuple(box))
            canvas = np.zeros((height, width, *source.shape[2:]), np.uint8) if canvas is None else canvas
            canvas[top:bottom, left:right] = np.asarray(cut)
        assert canvas is not None
        return canvas


def _targets(targets: Column, plans: tuple[tuple[Part, ...], ...], size: tuple[int, int]) -> Column:
    spec = targets.spec
    shape = spec.shape if isinstance(spec, ArraySpec) else ()
    if isinstance(targets, RaggedColumn) and shape[1:] == (5,):
        return _rows(targets, plans)
    if shape == size and spec.dtype == "uint8":
        return ReadColumn(_Pixels(targets, plans, size, nearest=True), spec, _digests(targets, plans))
    raise InputError(f"Mosaics are made with boxes, rows of 5, or masks of the images' size. Received: {spec}.")


def _both(first: Column, second: Column) -> Column:
    """Boxes as one ragged column, whose batches have room for all; others as they are, joined."""
    if isinstance(first, RaggedColumn) and isinstance(second, RaggedColumn):
        return RaggedColumn([*first.rows, *second.rows], first.fill)
    return joined([first, second])


def _rows(column: Column, plans: Sequence[tuple[Part, ...]]) -> RaggedColumn:
    rows = [np.concatenate([placed(np.asarray(column[p.index]), p) for p in plan]) for plan in plans]
    return RaggedColumn(rows, getattr(column, "fill", 0))


def placed(rows: np.ndarray, part: Part) -> np.ndarray:
    """Boxes of an example where its part goes, clipped to it.

    Args:
        rows: float32 (k, 5): class, left, top, right, bottom in shares of the sides.
        part: What is taken, and where it goes.

    Example:
        >>> part = Part(0, (0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 1.0, 1.0))
        >>> placed(np.float32([[2, 0, 0, 0.5, 1]]), part).tolist()
        [[2.0, 0.5, 0.5, 0.75, 1.0]]
    """
    window, cell = (np.array(box, np.float64).reshape(2, 2) for box in (part.window, part.cell))
    corners = np.asarray(rows[:, 1:], np.float64).reshape(-1, 2, 2)
    moved = cell[0] + (corners - window[0]) / (window[1] - window[0]) * (cell[1] - cell[0])
    inside = np.clip(moved, cell[0], cell[1])
    whole, remaining = ((ends[:, 1] - ends[:, 0]).prod(axis=1) for ends in (moved, inside))
    stays = (remaining > 0) & (remaining >= _KEEP * whole)
    return np.asarray(np.concatenate([rows[:, :1], inside.reshape(-1, 4)], axis=1)[stays], rows.dtype)


def _digests(column: Column, plans: Sequence[tuple[Part, ...]]) -> tuple[str, ...]:
    digests: Mapping[int, Any] = dict(enumerate(column.digests))
    return tuple(sha256_bytes(repr(plan), *(digests[part.index] for part in plan)) for plan in plans)
